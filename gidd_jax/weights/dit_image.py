"""Weights of the diffusion transformers of DiT (arXiv 2212.09748) -> parameters of ``models.dit_image``.

Two programs name the tensors of one model: DiT's own code, and the library diffusers (``DiTTransformer2DModel``), which
keeps queries, keys and values apart, repeats the embeddings of step and class in every block, and stores no positions.
"""

import pathlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from gidd_jax.errors import InputError
from gidd_jax.models import dit_image
from gidd_jax.types import Tree
from gidd_jax.weights.tensors import Tensors, agreed, fitted, read, settings, stripped


class Layout(NamedTuple):
    """Our paths -> the names one program gives them (``tensors.fitted``)."""

    blocks: str
    layer: Mapping[str, str]
    outside: Mapping[str, str]
    positions: str
    note: str


def _named(**names: str) -> dict[str, str]:
    """Kernel and bias of each linear map; a path of two parts is written with two underscores."""
    both = {"kernel": "weight", "bias": "bias"}
    return {
        f"{ours.replace('__', '/')}/{part}": f"{theirs}.{other}"
        for ours, theirs in names.items()
        for part, other in both.items()
    }


LAST_CLASS = "Its last class is taken for the one of no class (as in the published models, trained with 10 % of them)."
WAVES = "Steps are embedded at the frequencies of DiT's own code, 10000^(-i/128); diffusers' are 10000^(-i/127)."
DIT = Layout(
    "blocks",
    _named(qkv="attn.qkv", out="attn.proj", up="mlp.fc1", down="mlp.fc2", modulation="adaLN_modulation.1"),
    _named(
        patch="x_embedder.proj",
        time__in="t_embedder.mlp.0",
        time__out="t_embedder.mlp.2",
        modulation="final_layer.adaLN_modulation.1",
        head="final_layer.linear",
    )
    | {"label": "y_embedder.embedding_table.weight"},
    "pos_embed",
    LAST_CLASS,
)
EMBEDDING = "transformer_blocks.0.norm1.emb"
DIFFUSERS = Layout(
    "transformer_blocks",
    _named(qkv="attn1.to_q|k|v", out="attn1.to_out.0", up="ff.net.0.proj", down="ff.net.2", modulation="norm1.linear"),
    _named(
        patch="pos_embed.proj",
        time__in=f"{EMBEDDING}.timestep_embedder.linear_1",
        time__out=f"{EMBEDDING}.timestep_embedder.linear_2",
        modulation="proj_out_1",
        head="proj_out_2",
    )
    | {"label": f"{EMBEDDING}.class_embedder.embedding_table.weight"},
    "pos_embed.pos_embed",
    f"{LAST_CLASS} {WAVES}",
)
HEADS = {sizes["d_model"]: sizes["heads"] for sizes in dit_image.PRESETS.values()}


class Imported(NamedTuple):
    """Parameters, their config, and what else is to be said: for ``export.save``."""

    params: Tree
    config: dit_image.DitImageConfig
    about: dict[str, Any]


def from_dit(path: Any, heads: int | None = None) -> Imported:
    """A checkpoint of DiT's own code (a published ``DiT-XL-2-*.pt``, one of its trainer: ``ema``), or of diffusers.

    Of diffusers: the folder of a pipeline or of its transformer, whose ``config.json`` tells heads and size. heads:
    attention heads, where nothing tells them; those of the published model of that width if not given. Raises
    InputError where a name or a shape is neither's, positions are others, or blocks have embeddings of their own.
    """
    path = pathlib.Path(path)
    path = path / "transformer" if (path / "transformer").is_dir() else path
    tensors, told, layout = stripped(read(path), ("module.", "_orig_mod.")), {}, DIT
    if DIFFUSERS.outside["patch/kernel"] in tensors:
        tensors, told, layout = _joined(tensors, path), _settings(path), DIFFUSERS
    kernel, positions = layout.outside["patch/kernel"], layout.positions
    width, channels, patch, _ = _shape(tensors, kernel, 4, path)
    classes, _ = _shape(tensors, layout.outside["label"], 2, path)
    made, _ = _shape(tensors, layout.outside["head/kernel"], 2, path)
    size = told["sample_size"] if told else round(_shape(tensors, positions, 3, path)[1] ** 0.5) * patch
    said = told.get("num_attention_heads")
    published = None if said or heads else HEADS.get(width)
    numbered = re.compile(rf"{layout.blocks}\.(\d+)\.")
    config = dit_image.DitImageConfig(
        size=size,
        channels=channels,
        patch=patch,
        classes=classes - 1,
        layers=len({match[1] for name in tensors if (match := numbered.match(name))}),
        d_model=width,
        heads=agreed("heads", path, config=said, flag=heads, published=published),
        learned_variance=made == 2 * patch**2 * channels,
    )
    table, ours = tensors.pop(positions, None), dit_image.positions(config.side, width)[None]
    # As loose as a table that was rounded to half precision.
    if table is not None and not (table.shape == ours.shape and np.abs(table.astype(np.float32) - ours).max() <= 1e-2):
        raise InputError(f"{path}: its table of positions is not the fixed one of DiT")
    tensors[kernel] = tensors[kernel].reshape(width, -1)
    params = fitted(tensors, dit_image.shapes(config), layout.outside, layout.layer, path, layout.blocks)
    return Imported(params, config, {"notes": [layout.note]})


def _joined(tensors: Tensors, path: Any) -> Tensors:
    """With queries, keys and values of a block in one tensor, and the embeddings of the first block alone."""
    found = dict(tensors)
    for name, value in tensors.items():
        block, _, part = name.partition(".norm1.emb.")
        if part and f"{block}.norm1.emb" != EMBEDDING:
            if not np.array_equal(value, tensors.get(f"{EMBEDDING}.{part}")):
                raise InputError(f"{path}: {block} embeds steps or classes by itself; this model does so once for all")
            del found[name]
        if ".attn1.to_q." in name:
            three = [name.replace("to_q", f"to_{which}") for which in "qkv"]
            if {getattr(tensors.get(each), "shape", None) for each in three} == {value.shape}:
                found[name.replace("to_q", "to_q|k|v")] = np.concatenate([found.pop(each) for each in three])
    return found


def _settings(path: Any) -> dict[str, Any]:
    """What ``config.json`` beside a checkpoint of diffusers tells; nothing in its tensors tells the size of images."""
    told = settings(path)
    for name, ours in (("activation_fn", "gelu-approximate"), ("norm_type", "ada_norm_zero")):
        if told.get(name, ours) != ours:
            raise InputError(f"{path}: its {name} is {told[name]!r}; this model has {ours!r}")
    if not isinstance(told.get("sample_size"), int):
        raise InputError(f"{path}: no sample_size told; its config.json is to lie beside it")
    return told


def _shape(tensors: Tensors, name: str, axes: int, path: Any) -> tuple[int, ...]:
    if name not in tensors or tensors[name].ndim != axes:
        raise InputError(f"{path}: no {name} of {axes} axes in it, so not a diffusion transformer of DiT")
    return tensors[name].shape
