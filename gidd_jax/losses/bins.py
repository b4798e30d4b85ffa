"""Averages over noise levels, shown by noise level too."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Real

from gidd_jax import schedules
from gidd_jax.types import Mean

T_BINS = 10
"""Bins of equal width over t in (0,1); every average over noise levels is also shown by them."""


def by_time(value: Real[Array, "B S"] | Bool[Array, "B S"], where: Bool[Array, "B S"], t: ArrayLike) -> Mean:
    """Mean of ``value`` over the cells of ``where`` in each bin of t, [10]; t in (0,1) is a scalar, [B] or [B,S]."""
    t = schedules.over_cells(t)
    # Cells that share a time are summed first, so that the usual time per sequence costs B * 10.
    shared = tuple(axis for axis, size in enumerate(t.shape) if size == 1)
    bins = jax.nn.one_hot((t.squeeze(shared) * T_BINS).astype(jnp.int32).clip(0, T_BINS - 1), T_BINS)

    def gathered(cells: Float[Array, "B S"]) -> Float[Array, "N"]:
        # A sum and not a matrix product: that would be rounded to fewer digits on some accelerators.
        return (cells.sum(shared)[..., None] * bins).sum(tuple(range(bins.ndim - 1)))

    return Mean(gathered(jnp.where(where, value.astype(jnp.float32), 0.0)), gathered(where.astype(jnp.float32)))
