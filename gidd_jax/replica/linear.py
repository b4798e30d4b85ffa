"""Replicas that hardly differ: what coupled attention, and a whole block, do to a small difference.

Source: synchronization_gap_paper (arXiv 2603.20987), equations 20-33. There a factor 2 stands in R and P that belongs
to half-differences; here v = (A - B) / sqrt(2) is carried by K_g as it is, so K_g is the exact Jacobian.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from gidd_jax.diffusion import trailing

ROOT = 2**0.5

Queries = Float[ArrayLike, "*batch S D"]
Keys = Float[ArrayLike, "*batch N D"]
"""Keys or values."""
Coupling = Float[ArrayLike, "*coupling"] | int
"""g in [0, 1]: a scalar, or one value per entry of the leading batch axes."""


class Gains(NamedTuple):
    """rho = (1 - g) / (1 + g) and xi = 1 / (1 + g) (eq. 27)."""

    rho: Float[Array, "*coupling"]
    xi: Float[Array, "*coupling"]


class Split(NamedTuple):
    """The two terms of eq. 25: values that move under fixed weights, and weights that move under fixed values."""

    routing: Float[Array, "*batch S D"]
    pattern: Float[Array, "*batch S D"]


class Channels(NamedTuple):
    """The same sum by what moves: values, keys, queries. The first two carry rho; the third carries no g at all."""

    value: Float[Array, "*batch S D"]
    key: Float[Array, "*batch S D"]
    query: Float[Array, "*batch S D"]


class Propagated(NamedTuple):
    """What one block adds to v, by the path: v + attention + feed is eq. 33, + cross the exact product of eq. 30."""

    attention: Array
    feed: Array
    cross: Array


def gains(g: Float[ArrayLike, "*coupling"]) -> Gains:
    """How strongly the coupling g in [0, 1] lets each path of a difference through."""
    g = jnp.asarray(g)
    return Gains((1 - g) / (1 + g), 1 / (1 + g))


def softmax_tangent(weights: Float[Array, "*batch S N"], tangent: Float[Array, "*batch S N"]) -> Float[Array, "*b S N"]:
    """J[dS] = A (dS - sum_k A_k dS_k), the change of softmax weights A with their logits, row by row (eq. 87-88)."""
    return weights * (tangent - (weights * tangent).sum(-1, keepdims=True))


def linear_split(q0: Queries, k0: Keys, v0: Keys, dq: Queries, dk: Keys, dv: Keys, g: Coupling) -> Split:
    """out_A - out_B of coupled attention to first order, for q_A, q_B = q0 +- dq and so on, per head (eq. 25).

        routing = 2 rho A0 dv,    pattern = 2 xi (dA+ + g dA-) v0,    dA+- = J[(dq k0^T +- q0 dk^T) / sqrt(D)].

    The error is of third order. As xi (1 + g) = 1 and xi (1 - g) = rho, the pattern is the query and the key channel.

    >>> q, k, v = jax.random.normal(jax.random.key(0), (3, 4, 8))
    >>> routing, pattern = replica.linear_split(q, k, v, 0 * q, 0 * k, 0.01 * v, g=1.0)
    >>> float(abs(routing).max()), float(abs(pattern).max())  # a difference in values alone dies at g = 1
    (0.0, 0.0)
    """
    value, key, query = channels(q0, k0, v0, dq, dk, dv, g)
    return Split(value, key + query)


def channels(q0: Queries, k0: Keys, v0: Keys, dq: Queries, dk: Keys, dv: Keys, g: Coupling) -> Channels:
    """The same by what moves, exactly: 2 rho A0 dv, 2 rho J[q0 dk^T / sqrt(D)] v0 and 2 J[dq k0^T / sqrt(D)] v0.

    So at g = 1 values and keys of the other replica are as good as one's own, and only the queries tell them apart.
    """
    q0, k0, v0, dq, dk, dv = map(jnp.asarray, (q0, k0, v0, dq, dk, dv))
    root = q0.shape[-1] ** 0.5
    logits = lambda q, k: q @ jnp.swapaxes(k, -1, -2) / root  # noqa: E731
    weights = jax.nn.softmax(logits(q0, k0), axis=-1)
    rho = trailing(gains(g).rho, weights.ndim)
    by_key, by_query = (softmax_tangent(weights, logits(*moved)) for moved in ((q0, dk), (dq, k0)))
    return Channels(2 * rho * (weights @ dv), 2 * rho * (by_key @ v0), 2 * (by_query @ v0))


def difference_jvp(pair_map: Callable[[Array], Array], h0: Array, v: Array) -> Array:
    """K_g v, exactly: the derivative of (out_A - out_B) / sqrt(2) along (A - B) / sqrt(2) = v at A = B = h0.

    pair_map: hidden states of the pair [2, ...] -> those after it. No matrix is formed, so v may be large.
    """

    def difference(x: Array) -> Array:
        one, other = pair_map(jnp.stack([h0 + x / ROOT, h0 - x / ROOT]))
        return (one - other) / ROOT

    return jax.jvp(difference, (jnp.zeros_like(h0),), (v,))[1]


def propagated(attend: Callable[[Array], Array], feed: Callable[[Array], Array], h0: Array, v: Array) -> Propagated:
    """The parts of K_g v for a block h -> h + attend(h) -> that + feed(that); ``feed`` acts on each replica alone.

    attend: the pair [2, ...] -> what coupled attention adds to it, gate and norm inside. feed: one replica -> what the
    MLP adds. ``v + attention + feed + cross`` equals ``difference_jvp`` of the block; the paper drops ``cross``.
    """
    attention = difference_jvp(attend, h0, v)
    _, through_feed = jax.linearize(feed, h0 + attend(jnp.stack([h0, h0]))[0])
    return Propagated(attention, through_feed(v), through_feed(attention))
