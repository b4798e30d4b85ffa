"""How much of attention's answer to a difference can come through its weights: Appendix B, and a sharper bound.

Source: synchronization_gap_paper (arXiv 2603.20987), equations 85-105. P0 takes the mean over tokens, P = 1 - P0.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from gidd_jax.replica.linear import softmax_tangent


class Bounds(NamedTuple):
    """Each of one head, [...]; |.| is Frobenius' norm, the spectral norm for ``expansion``."""

    width: Float[Array, "*batch S"]
    """Keys a query attends to, 1 / sum_j A_ij^2, between 1 and N (92)."""
    pattern: Float[Array, "*batch"]
    """|dA v0|."""
    pattern_bound: Float[Array, "*batch"]
    """2 sqrt(N / min width) max|dS| |P v0| (99)."""
    pattern_sharp: Float[Array, "*batch"]
    """sqrt(sum_i osc_i^2 / width_i) |P v0|, osc_i = max_j dS_ij - min_j dS_ij: also a bound, never above (99)."""
    uneven_v0: Float[Array, "*batch"]
    """|P v0| / |P0 v0|."""
    uneven_dv: Float[Array, "*batch"]
    """|P dv| / |P0 dv| (102)."""
    expansion: Float[Array, "*batch"]
    """|A0 P|: up to sqrt(N), as the columns of A0 need not sum to 1 (103)."""
    ratio: Float[Array, "*batch"]
    """|dA v0| / |A0 dv|."""
    ratio_bound: Float[Array, "*batch"]
    """The bound on ``ratio`` (105); NaN where expansion x uneven_dv >= 1, where there is none."""


def bounds(
    weights: Float[ArrayLike, "*batch S N"],
    logits: Float[ArrayLike, "*batch S N"],
    v0: Float[ArrayLike, "*batch N D"],
    dv: Float[ArrayLike, "*batch N D"],
) -> Bounds:
    """The bounds for attention weights A0 and values v0 under small changes of logits (dS) and values (dv).

    They rest on dA 1 = 0, so dA v0 = dA P v0 (90), and on A0 P0 = P0, so A0 dv = P0 dv + A0 P dv (91).
    """
    weights, logits, v0, dv = map(jnp.asarray, (weights, logits, v0, dv))
    changed = softmax_tangent(weights, logits)
    tokens = weights.shape[-1]
    width = 1 / jnp.square(weights).sum(-1)
    swing = logits.max(-1) - logits.min(-1)
    largest, narrowest = jnp.abs(logits).max((-2, -1)), width.min(-1)
    (even_v0, rest_v0), (even_dv, rest_dv) = _parts(v0), _parts(dv)
    pattern = _norm(changed @ v0)
    expansion = jnp.linalg.norm(weights - weights.mean(-1, keepdims=True), ord=2, axis=(-2, -1))
    spread = 2 * jnp.sqrt(tokens / narrowest) * largest
    uneven_v0, uneven_dv = rest_v0 / even_v0, rest_dv / even_dv
    left = 1 - expansion * uneven_dv
    return Bounds(
        width,
        pattern,
        spread * rest_v0,
        jnp.sqrt((jnp.square(swing) / width).sum(-1)) * rest_v0,
        uneven_v0,
        uneven_dv,
        expansion,
        pattern / _norm(weights @ dv),
        jnp.where(left > 0, spread * rest_v0 / (jnp.where(left > 0, left, 1.0) * even_dv), jnp.nan),
    )


def _parts(x: Array) -> tuple[Array, Array]:
    """|P0 x| and |P x|."""
    mean = x.mean(-2, keepdims=True)
    return _norm(jnp.broadcast_to(mean, x.shape)), _norm(x - mean)


def _norm(x: Array) -> Array:
    return jnp.sqrt(jnp.square(x).sum((-2, -1)))
