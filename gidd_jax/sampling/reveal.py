"""How many cells to reveal at each step when an order parameter sets the pace."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Integer


def reveal_counts(
    remaining: Integer[ArrayLike, "B"], r: Float[ArrayLike, "T B"], span: ArrayLike = 0.4, lo: ArrayLike = 0.8
) -> Int[Array, "T B"]:
    """Cells revealed at each of T steps, [T,B]; every column sums to ``remaining`` whatever r in [0,1].

    The share still masked shrinks by 1 - (lo + span r_i)/(T - i) at step i and is 0 after the last; counts are
    differences of its rounding, at least 0. At r = 0.5 the pace is even; a constant r gives (1 - i/T)^(lo + span r).
    """
    r = jnp.asarray(r)
    left = jnp.asarray(remaining).astype(jnp.int32)
    steps = r.shape[0]

    def step(state, inputs):
        left, exact = state
        r_B, to_go = inputs
        exact = jnp.where(to_go == 1, 0.0, exact * jnp.maximum(0.0, 1 - (lo + span * r_B) / to_go))
        after = jnp.minimum(jnp.floor(exact + 0.5).astype(left.dtype), left)
        return (after, exact), left - after

    return jax.lax.scan(step, (left, left.astype(r.dtype)), (r, steps - jnp.arange(steps)))[1]
