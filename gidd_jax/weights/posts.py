"""Weights of the posts' PyTorch models of Sudoku -> parameters of ``models.two_head``.

The posts are those of harry-david-brown/sudoku-diffusive-uniform, whose ``diffusion.py`` and ``diffusion_baseline.py``
define the three models: two heads (jump and holding), one head under uniform noise, one head under masked noise.
"""

import math
import re
from typing import Any, NamedTuple

import jax
import numpy as np

from gidd_jax.data.sudoku.board import Box
from gidd_jax.errors import InputError
from gidd_jax.models import two_head
from gidd_jax.train import path_name
from gidd_jax.types import Tree
from gidd_jax.weights.tensors import Tensors, read, stripped, take

# Our paths below blocks_i -> their names below transformer.layers.i; kernels are stored transposed there.
LAYER = {
    "attention/qkv/kernel": "self_attn.in_proj_weight",
    "attention/qkv/bias": "self_attn.in_proj_bias",
    "attention/out/kernel": "self_attn.out_proj.weight",
    "attention/out/bias": "self_attn.out_proj.bias",
    "feed/up/kernel": "linear1.weight",
    "feed/up/bias": "linear1.bias",
    "feed/out/kernel": "linear2.weight",
    "feed/out/bias": "linear2.bias",
    "norm_attention/scale": "norm1.weight",
    "norm_attention/bias": "norm1.bias",
    "norm_feed/scale": "norm2.weight",
    "norm_feed/bias": "norm2.bias",
}
OUTSIDE = {"token/embedding": "embedding.weight", "position/embedding": "pos_embedding.weight"}
TWO_HEADS = {
    "jump/kernel": "jump_chain.weight",
    "jump/bias": "jump_chain.bias",
    "holding/kernel": "holding.weight",
    "holding/bias": "holding.bias",
}
ONE_HEAD = {"jump/kernel": "output.weight", "jump/bias": "output.bias"}

ONE_HEAD_NOTE = (
    "The model has one head: the jump's logits are those of its digits (the class 0, which it never learnt to give, is "
    "left out), and the holding head is 0, a score of 1/2 everywhere, so what is told of holding tells nothing."
)
GATED_NOTE = "The model knows a MASK that its noise never shows: the gate reads it, and is shut here (gate 0)."


class Imported(NamedTuple):
    """Parameters and their shape; the noise they learnt, "uniform" or "masked"; whether there is a holding head."""

    params: Tree
    config: two_head.TwoHeadConfig
    noise: str
    two_heads: bool
    notes: list[str]


def from_posts(path: Any, heads: int = 4) -> Imported:
    """A state dict of the posts' models, ``torch.save(model.state_dict(), path)`` or the same as safetensors.

    Which model it is follows from its tensors: ``jump_chain`` and ``holding`` or one ``output``; a row of
    ``embedding`` for each digit and 0, and one more for MASK. heads: attention heads, which a state dict does not tell;
    4 in all of the posts' code. Raises InputError where it is none of these.
    """
    tensors = stripped(read(path), ("module.", "_orig_mod."))
    cells, width = _shape(tensors, "pos_embedding.weight", path)
    vocab, _ = _shape(tensors, "embedding.weight", path)
    box = Box.of(cells)
    if vocab not in (box.size + 1, box.size + 2):
        raise InputError(f"{path}: {vocab} tokens for boards of {cells} cells; {box.size + 1}, or one more for MASK")
    two_heads, mask = "output.weight" not in tensors, vocab == box.size + 2
    config = two_head.TwoHeadConfig(
        cells,
        box.size,
        box.rows,
        box.cols,
        mask_token=mask,
        d_model=width,
        layers=len({match[1] for name in tensors if (match := re.match(r"transformer\.layers\.(\d+)\.", name))}),
        heads=heads,
        d_ff=_shape(tensors, "transformer.layers.0.linear1.weight", path)[0],
        trunk="shared",
        norm="post",
        given=False,
        gated=mask and two_heads,
        dropout=0.1,
    )
    notes = [] if two_heads else [ONE_HEAD_NOTE]
    notes += [GATED_NOTE] if config.gated else []
    noise = "masked" if mask and not two_heads else "uniform"
    return Imported(_params(tensors, config, two_heads, path), config, noise, two_heads, notes)


def _params(tensors: Tensors, config: two_head.TwoHeadConfig, two_heads: bool, path: Any) -> Tree:
    """Every parameter, from exactly the tensors that are there; a head the model lacks is 0."""
    outside = OUTSIDE | (TWO_HEADS if two_heads else ONE_HEAD)
    names, wanted = {}, {}
    for keys, leaf in jax.tree_util.tree_leaves_with_path(two_head.shapes(config)):
        ours, shape = path_name(keys), leaf.shape[1:]  # without the axis of towers, of which there is one
        block = re.fullmatch(r"blocks_(\d+)/(.*)", ours)
        name = f"transformer.layers.{block[1]}.{LAYER[block[2]]}" if block else outside.get(ours)
        if name is None:
            continue
        shape = shape[::-1] if ours.endswith("kernel") else shape
        # The one head also has a class for 0, before the digits.
        names[ours], wanted[name] = name, shape if name not in ONE_HEAD.values() else (shape[0] + 1, *shape[1:])
    taken = take(tensors, wanted, path)

    def leaf(keys: tuple, like: Any) -> np.ndarray:
        ours = path_name(keys)
        if ours not in names:
            return np.zeros(like.shape, np.float32)
        value = taken[names[ours]]
        value = value[1:] if names[ours] in ONE_HEAD.values() else value
        return (value.T if ours.endswith("kernel") else value)[None]

    return jax.tree_util.tree_map_with_path(leaf, two_head.shapes(config))


def _shape(tensors: Tensors, name: str, path: Any) -> tuple[int, int]:
    if name not in tensors or tensors[name].ndim != 2 or not math.prod(tensors[name].shape):
        raise InputError(f"{path}: no matrix {name} in it, so not a model of the posts")
    return tensors[name].shape
