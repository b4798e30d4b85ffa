"""How many cells to reveal at each step when an order parameter sets the pace."""

from typing import NamedTuple

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

    >>> even, slow = 0.5, 0.0
    >>> sampling.reveal_counts(jnp.array([8, 8]), jnp.array([[even, slow]] * 4)).T.tolist()
    [[2, 2, 2, 2], [2, 1, 2, 3]]
    """
    r = jnp.asarray(r)
    left = jnp.asarray(remaining).astype(jnp.int32)
    steps = r.shape[0]

    def step(state, inputs):
        left, exact = state
        after, exact = paced(left, exact, *inputs, span, lo)
        return (after, exact), left - after

    return jax.lax.scan(step, (left, left.astype(r.dtype)), (r, steps - jnp.arange(steps)))[1]


def paced(
    left: Int[Array, "B"],
    exact: Float[Array, "B"],
    r: Float[Array, "B"],
    to_go: Int[ArrayLike, ""],
    span: ArrayLike = 0.4,
    lo: ArrayLike = 0.8,
) -> tuple[Int[Array, "B"], Float[Array, "B"]]:
    """One step of ``reveal_counts``, ``to_go`` of them left -> (cells masked after it, the same before rounding)."""
    exact = jnp.where(to_go == 1, 0.0, exact * jnp.maximum(0.0, 1 - (lo + span * r) / to_go))
    return jnp.minimum(jnp.floor(exact + 0.5).astype(left.dtype), left), exact


class ProposedCounts(NamedTuple):
    """What the proposal's rule asks for and gets: cells asked for by each step, revealed at it, and never."""

    asked: Int[Array, "T B"]
    revealed: Int[Array, "T B"]
    left_over: Int[Array, "B"]


def proposal_counts(
    remaining: Integer[ArrayLike, "B"], r: Float[ArrayLike, "T B"], span: ArrayLike = 0.4, lo: ArrayLike = 0.8
) -> ProposedCounts:
    """The Phase-Diffusion proposal's own rule, floor((1 - t) L (lo + span r)) cells revealed by time t, as it stands.

    t falls evenly from 1 to 0 over the T steps. Where r < 1/2 at the end, masks are left over (8 % of them at .3);
    where r > 1/2 more cells are asked for than there are, which its ``topk`` refuses. ``reveal_counts`` is the rule
    that does neither.
    """
    r, remaining = jnp.asarray(r), jnp.asarray(remaining).astype(jnp.int32)
    t = jnp.linspace(1.0, 0.0, r.shape[0])[:, None]
    # A hair of tolerance, so that .92 L does not become .92 L - 1 by rounding.
    asked = jnp.floor((1 - t) * remaining[None] * (lo + span * r) + 1e-4).astype(jnp.int32)
    shown = jnp.minimum(jax.lax.cummax(asked, axis=0), remaining[None])
    return ProposedCounts(asked, jnp.diff(shown, axis=0, prepend=jnp.zeros_like(shown[:1])), remaining - shown[-1])
