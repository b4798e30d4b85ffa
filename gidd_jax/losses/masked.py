"""Masked diffusion (MDLM, LLaDA): the ELBO is a cross-entropy over masked cells, weighted 1/t."""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Integer

from gidd_jax import schedules
from gidd_jax.losses.divergence import compute_dtype, divergences


def masked_elbo(
    logits: Float[ArrayLike, "B S V"],
    x: Integer[ArrayLike, "B S"],
    z: Integer[ArrayLike, "B S"],
    t: ArrayLike,
    mask_id: int,
) -> Float[Array, "B S"]:
    """[z = mask] (-log softmax(logits without the mask)_x) / t of every cell, nats; t: scalar, [B] or [B,S], >= 1e-6.

    The ELBO of ``schedules.linear`` at p_uniform 0 is this.
    Sources: MDLM, arXiv 2406.07524, eq. 11; LLaDA, arXiv 2502.09992, eq. 3.
    """
    logits, x, z = jnp.asarray(logits), jnp.asarray(x), jnp.asarray(z)
    dtype = compute_dtype(logits)
    ids = (logits.shape[-1], mask_id)
    # Without uniform noise KL = keep (-log f_x): at keep = 1 it is the cross-entropy, with the one-pass backward.
    cross_entropy = divergences(*ids, logits, x, z, jnp.ones(x.shape, dtype), jnp.zeros(x.shape, dtype)).kl
    t = jnp.maximum(schedules.over_cells(t), schedules.WEIGHT_EPS).astype(dtype)
    return jnp.where(z == mask_id, cross_entropy / t, 0.0)
