"""Weights of the diffusion transformers of DiT (arXiv 2212.09748) -> parameters of ``models.dit_image``."""

import re
from typing import Any, NamedTuple

import numpy as np

from gidd_jax.errors import InputError
from gidd_jax.models import dit_image
from gidd_jax.types import Tree
from gidd_jax.weights.tensors import Tensors, fitted, read, stripped

# Our paths -> their names (``tensors.fitted``).
LAYER = {
    "qkv/kernel": "attn.qkv.weight",
    "qkv/bias": "attn.qkv.bias",
    "out/kernel": "attn.proj.weight",
    "out/bias": "attn.proj.bias",
    "up/kernel": "mlp.fc1.weight",
    "up/bias": "mlp.fc1.bias",
    "down/kernel": "mlp.fc2.weight",
    "down/bias": "mlp.fc2.bias",
    "modulation/kernel": "adaLN_modulation.1.weight",
    "modulation/bias": "adaLN_modulation.1.bias",
}
OUTSIDE = {
    "patch/kernel": "x_embedder.proj.weight",
    "patch/bias": "x_embedder.proj.bias",
    "time/in/kernel": "t_embedder.mlp.0.weight",
    "time/in/bias": "t_embedder.mlp.0.bias",
    "time/out/kernel": "t_embedder.mlp.2.weight",
    "time/out/bias": "t_embedder.mlp.2.bias",
    "label": "y_embedder.embedding_table.weight",
    "modulation/kernel": "final_layer.adaLN_modulation.1.weight",
    "modulation/bias": "final_layer.adaLN_modulation.1.bias",
    "head/kernel": "final_layer.linear.weight",
    "head/bias": "final_layer.linear.bias",
}
HEADS = {sizes["d_model"]: sizes["heads"] for sizes in dit_image.PRESETS.values()}
NOTE = "Its last class is taken for the one of no class (as in the published models, trained with 10 % of them)."


class Imported(NamedTuple):
    """Parameters, their config, and what else is to be said: for ``export.save``."""

    params: Tree
    config: dit_image.DitImageConfig
    about: dict[str, Any]


def from_dit(path: Any, heads: int | None = None) -> Imported:
    """A checkpoint of DiT's own code: a published ``DiT-XL-2-*.pt``, one of its trainer (``ema``), or safetensors.

    heads: attention heads, which no tensor tells; those of the published model of that width if not given. Raises
    InputError where a name or a shape is not DiT's, or its table of positions is another.
    """
    tensors = stripped(read(path), ("module.", "_orig_mod."))
    width, channels, patch, _ = _shape(tensors, "x_embedder.proj.weight", 4, path)
    _, tokens, _ = _shape(tensors, "pos_embed", 3, path)
    classes, _ = _shape(tensors, "y_embedder.embedding_table.weight", 2, path)
    made, _ = _shape(tensors, "final_layer.linear.weight", 2, path)
    if heads is None and width not in HEADS:
        raise InputError(f"{path}: nothing in it tells heads; give --heads")
    side = round(tokens**0.5)
    config = dit_image.DitImageConfig(
        size=side * patch,
        channels=channels,
        patch=patch,
        classes=classes - 1,
        layers=len({match[1] for name in tensors if (match := re.match(r"blocks\.(\d+)\.", name))}),
        d_model=width,
        heads=heads or HEADS[width],
        learned_variance=made == 2 * patch**2 * channels,
    )
    table, ours = tensors.pop("pos_embed"), dit_image.positions(side, width)
    # As loose as a table that was rounded to half precision.
    if table.shape != (1, *ours.shape) or not np.allclose(table[0].astype(np.float32), ours, rtol=0, atol=1e-2):
        raise InputError(f"{path}: its table of positions is not the fixed one of DiT")
    tensors["x_embedder.proj.weight"] = tensors["x_embedder.proj.weight"].reshape(width, -1)
    params = fitted(tensors, dit_image.shapes(config), OUTSIDE, LAYER, path)
    return Imported(params, config, {"notes": [NOTE]})


def _shape(tensors: Tensors, name: str, axes: int, path: Any) -> tuple[int, ...]:
    if name not in tensors or tensors[name].ndim != axes:
        raise InputError(f"{path}: no {name} of {axes} axes in it, so not a diffusion transformer of DiT")
    return tensors[name].shape
