"""Masked diffusion (MDLM, LLaDA): the ELBO is a cross-entropy over masked cells, weighted 1/t."""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Integer

from gidd_jax import schedules
from gidd_jax.losses.divergence import compute_dtype
from gidd_jax.losses.head import LazyLogits, cell_divergences


def cross_entropy(
    logits: Float[ArrayLike, "B S V"] | LazyLogits, x: Integer[ArrayLike, "B S"], mask_id: int
) -> Float[Array, "B S"]:
    """-log softmax(logits without the mask)_x of every cell, nats, at least in float32; 0 where x is the mask."""
    logits = logits if isinstance(logits, LazyLogits) else jnp.asarray(logits)
    x, dtype = jnp.asarray(x), compute_dtype(logits)
    # Without uniform noise KL = keep (-log f_x): at keep = 1 it is the cross-entropy, with the one-pass backward.
    noise = jnp.ones(x.shape, dtype), jnp.zeros(x.shape, dtype)
    return cell_divergences(logits.shape[-1], mask_id, logits, x, x, *noise).kl


def masked_elbo(
    logits: Float[ArrayLike, "B S V"] | LazyLogits,
    x: Integer[ArrayLike, "B S"],
    z: Integer[ArrayLike, "B S"],
    t: ArrayLike,
    mask_id: int,
) -> Float[Array, "B S"]:
    """[z = mask] (-log softmax(logits without the mask)_x) / t of every cell, nats; t: scalar, [B] or [B,S], >= 1e-6.

    The ELBO of ``schedules.linear`` at p_uniform 0 is this.
    Sources: MDLM, arXiv 2406.07524, eq. 11; LLaDA, arXiv 2502.09992, eq. 3.

    >>> x, z = jnp.array([[0, 1]]), jnp.array([[2, 1]])
    >>> print(losses.masked_elbo(jnp.zeros((1, 2, 3)), x, z, t=0.5, mask_id=2).round(4))  # 2 ln 2 where masked
    [[1.3863 0.    ]]
    """
    nats = cross_entropy(logits, x, mask_id)
    t = jnp.maximum(schedules.over_cells(t), schedules.WEIGHT_EPS).astype(nats.dtype)
    return jnp.where(jnp.asarray(z) == mask_id, nats / t, 0.0)
