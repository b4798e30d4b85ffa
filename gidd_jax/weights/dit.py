"""Weights of the text diffusion transformers of GIDD and of MDLM -> parameters of ``models.dit``.

The two share an architecture and the names of its tensors (MDLM's stand under ``backbone.``). GIDD conditions on t;
MDLM conditions on the total noise sigma, and in its published models on sigma = 0 always.
"""

import dataclasses
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gidd_jax.errors import InputError
from gidd_jax.models import dit
from gidd_jax.models.layers import line_angles
from gidd_jax.types import Tree
from gidd_jax.weights.tensors import Tensors, agreed, fitted, read, settings, stripped

# Our paths -> their names (``tensors.fitted``).
LAYER = {
    "norm_attention/scale": "norm1.weight",
    "qkv/kernel": "attn_qkv.weight",
    "out/kernel": "attn_out.weight",
    "norm_feed/scale": "norm2.weight",
    "up/kernel": "mlp.0.weight",
    "up/bias": "mlp.0.bias",
    "down/kernel": "mlp.2.weight",
    "down/bias": "mlp.2.bias",
    "modulation/kernel": "adaLN_modulation.weight",
    "modulation/bias": "adaLN_modulation.bias",
}
OUTSIDE = {
    "token": "vocab_embed.embedding",
    "time/in/kernel": "sigma_map.mlp.0.weight",
    "time/in/bias": "sigma_map.mlp.0.bias",
    "time/out/kernel": "sigma_map.mlp.2.weight",
    "time/out/bias": "sigma_map.mlp.2.bias",
    "norm/scale": "output_layer.norm_final.weight",
    "modulation/kernel": "output_layer.adaLN_modulation.weight",
    "modulation/bias": "output_layer.adaLN_modulation.bias",
    "head/kernel": "output_layer.linear.weight",
    "head/bias": "output_layer.linear.bias",
}
WRAPPERS = ("module.", "_orig_mod.")

GIDD_NOTE = (
    "The checkpoint does not say which version of its authors' code trained it. Before v1.1.0 (June 2025; checkpoints "
    "were first published in March 2025) mixing schedule and ELBO weights differed from schedules.hybrid by O(1/V)."
)
MDLM_NOTES = {
    False: "Trained without time: what its time embedding gives at 0 is the constant conditioning of this model.",
    True: "Its time is the total noise sigma = -log(1 - (1 - 1e-3) t), not t: give sigma where apply takes t.",
}


class Imported(NamedTuple):
    """Parameters, their config, and what else the checkpoint tells: for ``export.save``."""

    params: Tree
    config: dit.DitConfig
    about: dict[str, Any]


def from_gidd(path: Any, heads: int | None = None, vocab_size: int | None = None) -> Imported:
    """A checkpoint of GIDD (arXiv 2503.04482): its code's ``model.pt`` or the Hugging Face export, a file or a folder.

    heads, vocab_size: where the checkpoint does not tell them. Raises InputError where it is none of GIDD's.
    """
    tensors, told = stripped(read(path), WRAPPERS), settings(path)
    if np.any(tensors.pop("logit_bias", 0)):
        raise InputError(f"{path}: adds a logit_bias to the logit of the input token, which this model does not")
    config = _config(tensors, told, path, heads, vocab_size, 512)
    noise = {name: told[name] for name in ("p_uniform", "t_eps") if name in told}
    return Imported(
        fitted(tensors, dit.shapes(config), OUTSIDE, LAYER, path), config, {"notes": [GIDD_NOTE], "noise": noise}
    )


def from_mdlm(
    path: Any, heads: int | None = None, vocab_size: int | None = None, time_conditioning: bool | None = None
) -> Imported:
    """A checkpoint of MDLM (arXiv 2406.07524) with the DiT backbone: the Hugging Face export or a Lightning file.

    heads, vocab_size, time_conditioning: where the checkpoint does not tell them. Raises InputError where it is none of
    MDLM's.
    """
    tensors, told = stripped(read(path), WRAPPERS), settings(path)
    if not any(name.startswith("backbone.") for name in tensors):
        raise InputError(f"{path}: no tensors named backbone.*, so not a model of MDLM; is it for import-gidd?")
    tensors = stripped(tensors, ("backbone.",))
    time = agreed("time_conditioning", path, config=told.get("time_conditioning"), flag=time_conditioning)
    config = _config(tensors, told, path, heads, vocab_size, 1024)
    params = fitted(tensors, dit.shapes(config), OUTSIDE, LAYER, path)
    if not time:
        embedding = jax.tree.map(jnp.asarray, params.pop("time"))
        with jax.default_matmul_precision("highest"):
            params["condition"] = np.asarray(
                dit.TimeEmbedding(config.cond).apply({"params": embedding}, jnp.zeros(1))[0]
            )
        config = dataclasses.replace(config, time=False)
    return Imported(params, config, {"notes": [MDLM_NOTES[time]]})


def _config(
    tensors: Tensors, told: dict, path: Any, heads: int | None, vocab: int | None, length: int
) -> dit.DitConfig:
    """The shape of the model, from its tensors and what its settings and flags say; takes the rotary table out."""
    rows, width = _shape(tensors, "vocab_embed.embedding", path)
    cond, _ = _shape(tensors, "sigma_map.mlp.0.weight", path)
    table = _rotary(tensors, path)
    if vocab is None and "vocab_size" not in told and rows % 128:
        vocab = rows  # Not rounded up, so no row is padding.
    said = told.get("num_attention_heads", told.get("n_heads"))
    return dit.DitConfig(
        vocab_size=agreed("vocab_size", path, settings=told.get("vocab_size"), flag=vocab),
        layers=len({match[1] for name in tensors if (match := re.match(r"blocks\.(\d+)\.", name))}),
        d_model=width,
        heads=agreed("heads", path, rotary=table and width // max(table[1], 1), settings=said, flag=heads),
        cond=cond,
        max_length=(table and table[0]) or told.get("max_seq_len", told.get("model_length", length)),
        padded_vocab=rows,
    )


def _rotary(tensors: Tensors, path: Any) -> tuple[int, int] | None:
    """(length or 0, width of a head) of the stored rotary table, None where there is none; it must be ours."""
    cosines = tensors.pop("rotary_emb.cos_cached", None)
    tensors.pop("rotary_emb.sin_cached", None)
    frequencies = tensors.pop("rotary_emb.inv_freq", None)
    if frequencies is not None:
        size = 0, 2 * frequencies.size
        ours = line_angles(2, size[1])[1]
    elif cosines is not None and cosines.ndim == 5:  # [1,S,qkv,1,d_head], both halves alike
        size = cosines.shape[1], cosines.shape[4]
        frequencies, ours = cosines[0, :, 0, 0, : size[1] // 2], np.cos(line_angles(*size))
    else:
        return None
    # As loose as a table that was rounded to bfloat16.
    if not np.allclose(frequencies.astype(np.float32), ours, rtol=0, atol=1e-2):
        raise InputError(f"{path}: rotary positions of another kind than base 10000")
    return size


def _shape(tensors: Tensors, name: str, path: Any) -> tuple[int, int]:
    if name not in tensors or tensors[name].ndim != 2:
        raise InputError(f"{path}: no matrix {name} in it, so not a diffusion transformer of GIDD or MDLM")
    return tensors[name].shape
