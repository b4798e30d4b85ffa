"""Checkpoints of other programs -> {name: array}, and the check that an architecture finds exactly what it needs."""

import json
import math
import pathlib
import pickle
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gidd_jax.errors import InputError
from gidd_jax.train import path_name
from gidd_jax.types import Tree

Tensors = dict[str, np.ndarray]

# What a folder may hold, in the order of preference.
PLACES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model.bin",
    "model.pt",
)
NESTED = ("state_dict", "model_state_dict", "model")


def read(path: str | pathlib.Path) -> Tensors:
    """Every tensor of a checkpoint, on the host, in the dtype it was saved in.

    path: a .safetensors, .pt, .pth, .bin or .ckpt file, or a folder with one (in shards too). Torch files are read as
    plain tensors only; no code in them runs. A running average of the weights (``ema``) replaces the weights. Raises
    InputError where there is no such file, it is damaged, or the package that reads it is not installed.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        found = [path / name for name in PLACES if (path / name).is_file()]
        if not found:
            raise InputError(f"{path}: no checkpoint in this folder; looked for {', '.join(PLACES)}")
        path = found[0]
    if not path.is_file():
        raise InputError(f"{path}: no such file or folder")
    if path.name.endswith(".index.json"):
        return _shards(path)
    if path.suffix not in READERS:
        raise InputError(f"{path}: not a checkpoint; give a {', '.join(READERS)} file or a folder with one")
    return READERS[path.suffix](path)


def settings(path: str | pathlib.Path) -> dict[str, Any]:
    """The ``config.json`` or ``config.yaml`` in or beside a checkpoint (its ``model`` section if it has one), or {}."""
    path = pathlib.Path(path)
    folder = path if path.is_dir() else path.parent
    try:
        if (path := folder / "config.json").is_file():
            found = json.loads(path.read_text())
        elif (path := folder / "config.yaml").is_file():
            import yaml

            found = yaml.safe_load(path.read_text())
        else:
            return {}
    except Exception as error:
        raise InputError(f"{path}: not readable ({_line(error)})") from error
    found = found.get("model", found) if isinstance(found, dict) else found
    if not isinstance(found, dict):
        raise InputError(f"{path}: holds no settings")
    return found


def stripped(tensors: Tensors, prefixes: Iterable[str]) -> Tensors:
    """Without the prefixes that every name has: what wrapped a model when it was saved leaves its name there."""
    for prefix in prefixes:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def take(tensors: Tensors, wanted: Mapping[str, tuple[int, ...]], where: Any, spare: Iterable[str] = ()) -> Tensors:
    """The wanted tensors (name -> shape) in float32; raises one InputError that names all that is wrong.

    Wrong is a tensor that is missing, misshapen, not of real numbers or not finite, and one that is neither wanted nor
    in ``spare``.
    """
    wrong = {
        "missing": [name for name in wanted if name not in tensors],
        "of another shape": [
            f"{name} {tensors[name].shape} for {tuple(shape)}"
            for name, shape in wanted.items()
            if name in tensors and tensors[name].shape != tuple(shape)
        ],
        "unexpected": sorted(tensors.keys() - wanted.keys() - set(spare)),
        "not of finite real numbers": [name for name in wanted if name in tensors and not _finite(tensors[name])],
    }
    if any(wrong.values()):
        told = "; ".join(f"{len(names)} {what}: {_some(names)}" for what, names in wrong.items() if names)
        raise InputError(f"{where}: not the tensors of this architecture: {told}")
    return {name: tensors[name].astype(np.float32) for name in wanted}


def fitted(
    tensors: Tensors,
    shapes: Tree,
    outside: Mapping[str, str],
    layer: Mapping[str, str],
    where: Any,
    blocks: str = "blocks",
) -> Tree:
    """Parameters of the given shapes from exactly the tensors that are there (``take``); raises as that does.

    outside, layer: our paths -> their names. A path ``blocks/PATH`` stands for one tensor ``{blocks}.I.NAME`` a layer,
    stacked; kernels are stored transposed there.
    """
    names, wanted = {}, {}
    for keys, leaf in jax.tree_util.tree_leaves_with_path(shapes):
        ours, shape = path_name(keys), leaf.shape
        if ours.startswith("blocks/"):
            names[ours] = [f"{blocks}.{i}.{layer[ours.removeprefix('blocks/')]}" for i in range(shape[0])]
            shape = shape[1:]
        else:
            names[ours] = [outside[ours]]
        wanted |= dict.fromkeys(names[ours], shape[::-1] if ours.endswith("kernel") else shape)
    taken = take(tensors, wanted, where)

    def leaf(keys: tuple, _: Any) -> np.ndarray:
        ours = path_name(keys)
        values = [taken[name].T if ours.endswith("kernel") else taken[name] for name in names[ours]]
        return np.stack(values) if ours.startswith("blocks/") else values[0]

    return jax.tree_util.tree_map_with_path(leaf, shapes)


def agreed(what: str, where: Any, **sayings: Any) -> Any:
    """The one value that the sources (keyword=value or None) give; InputError where they differ or all are silent."""
    said = {source: value for source, value in sayings.items() if value is not None}
    if len(set(said.values())) > 1:
        told = ", ".join(f"{source} says {value}" for source, value in said.items())
        raise InputError(f"{where}: which {what}? {told}")
    if not said:
        raise InputError(f"{where}: nothing in it tells {what}; give --{what.replace('_', '-')}")
    return next(iter(said.values()))


def _safetensors(path: pathlib.Path) -> Tensors:
    try:
        from safetensors.numpy import load_file
    except ImportError as error:
        raise InputError(f"{path}: pip install gidd-jax[import] to read safetensors") from error
    try:
        return load_file(path)
    except Exception as error:
        raise InputError(f"{path}: damaged or not safetensors ({_line(error)})") from error


def _torch(path: pathlib.Path) -> Tensors:
    try:
        import torch
    except ImportError as error:
        raise InputError(f"{path}: pip install torch to read this file, or give a .safetensors file") from error
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: damaged, or holds objects that could run code; if you trust it, load it with weights_only=False "
            "and save its state_dict (and ema) alone"
        ) from error
    except Exception as error:
        raise InputError(f"{path}: damaged or not a torch file ({_line(error)})") from error
    if not isinstance(loaded, dict):
        raise InputError(f"{path}: holds a {type(loaded).__name__}, no state dict")
    state = next((loaded[name] for name in NESTED if isinstance(loaded.get(name), dict)), loaded)

    def array(tensor: Any) -> np.ndarray:
        # Numpy has no bfloat16 of torch's.
        return (tensor.float() if tensor.is_floating_point() else tensor).numpy()

    tensors = {name: array(value) for name, value in state.items() if torch.is_tensor(value)}
    average = loaded.get("ema") or {}
    if average and all(torch.is_tensor(value) for value in average.values()):
        return {name: array(value) for name, value in average.items()}
    average = average.get("shadow_params", [])
    return _averaged(tensors, [array(value) for value in average], path)


def _averaged(tensors: Tensors, average: list[np.ndarray], path: pathlib.Path) -> Tensors:
    """The tensors with their running average in their place; it has their order, but neither names nor buffers."""
    waiting, found = average[::-1], {}
    for name, value in tensors.items():
        found[name] = waiting.pop() if waiting and waiting[-1].shape == value.shape else value
    if waiting:
        raise InputError(f"{path}: its running averages do not fit its weights; save its state_dict alone")
    return found


def _shards(index: pathlib.Path) -> Tensors:
    try:
        names = json.loads(index.read_text())["weight_map"]
        files = sorted({pathlib.PurePath(file).name for file in names.values()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{index}: not the index of a checkpoint in shards ({_line(error)})") from error
    tensors = {name: value for file in files for name, value in read(index.parent / file).items()}
    if missing := sorted(names.keys() - tensors.keys()):
        raise InputError(f"{index}: {len(missing)} tensors are in no shard: {_some(missing)}")
    return tensors


READERS: dict[str, Callable[[pathlib.Path], Tensors]] = {
    ".safetensors": _safetensors,
    ".pt": _torch,
    ".pth": _torch,
    ".bin": _torch,
    ".ckpt": _torch,
}


def _finite(value: np.ndarray) -> bool:
    return jnp.issubdtype(value.dtype, jnp.floating) and math.isfinite(np.sum(value, dtype=np.float64))


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
