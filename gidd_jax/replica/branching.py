"""Has a mode of the difference two branches, and how do blocks carry them? Amplitudes of many pairs -> m, c, gamma.

Source: synchronization_gap_paper (arXiv 2603.20987), equations 34-36 and 56-57, whose m, c and gamma it never measures.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

GRID = 64
ROUNDS = 40
GOLDEN = (5**0.5 - 1) / 2
EVIDENT = 2.71
"""Evidence above this is rarer than 1 in 20 where there is one Gaussian (``branching``)."""


class Branching(NamedTuple):
    """Two Gaussians N(+-m, c), and twice their gain in log likelihood over the one N(0, m^2 + c)."""

    m: Float[Array, "*modes"]
    c: Float[Array, "*modes"]
    evidence: Float[Array, "*modes"]

    @property
    def evident(self) -> "Branching":
        """The same with one Gaussian, m = 0, wherever two are no more than 1 in 20 would show by chance."""
        two = self.evidence > EVIDENT
        return Branching(
            jnp.where(two, self.m, 0.0), jnp.where(two, self.c, self.c + jnp.square(self.m)), self.evidence
        )


class ScoreGain(NamedTuple):
    """gamma of (36), and the share of the blocks' change beyond eta that it explains (below 0: none)."""

    gamma: Float[Array, "*blocks"]
    explained: Float[Array, "*blocks"]


def branching(a: Float[ArrayLike, "*modes M"]) -> Branching:
    """The symmetric pair of Gaussians that is likeliest for the amplitudes a of M pairs of replicas (34).

    m^2 + c is their mean square, so m alone is sought. The likelihood depends on m through m^4 >= 0, to leading order:
    of one Gaussian the evidence is 0 half of the time and else chi-square of one degree of freedom. Tails heavier than
    a Gaussian's always give m = 0. Two humps are seen where m^2 > c.
    """
    a = jnp.asarray(a)
    power = jnp.square(a).mean(-1)
    z = a / jnp.sqrt(jnp.where(power > 0, power, 1.0))[..., None]

    def gain(w: Array) -> Array:
        """Log likelihood a pair above one Gaussian, at m^2 = w of a mean square of 1."""
        c = 1 - w
        x = jnp.abs(z) * (jnp.sqrt(w) / c)[..., None]
        log_cosh = (x + jnp.log1p(jnp.exp(-2 * x))).mean(-1) - jnp.log(2.0)
        return log_cosh - jnp.log(c) / 2 - (1 + w) / (2 * c) + 0.5

    grid = jnp.arange(GRID, dtype=z.dtype) / GRID
    best = grid[jnp.argmax(jax.lax.map(lambda w: gain(jnp.full_like(power, w)), grid), axis=0)]

    def narrower(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        lower = gain(left) > gain(right)
        return jnp.where(lower, low, left), jnp.where(lower, right, high)

    ends = jnp.maximum(best - 1 / GRID, 0.0), jnp.minimum(best + 1 / GRID, 1 - 0.5 / GRID)
    low, high = jax.lax.fori_loop(0, ROUNDS, narrower, ends)
    w = (low + high) / 2
    found = gain(w)
    more = found > 8 * jnp.finfo(z.dtype).eps  # Below, it is rounding.
    w = jnp.where(more, w, 0.0)
    return Branching(jnp.sqrt(w * power), (1 - w) * power, 2 * a.shape[-1] * jnp.where(more, found, 0.0))


def score_gain(
    before: Float[ArrayLike, "*blocks K M"],
    after: Float[ArrayLike, "*blocks K M"],
    eta: Float[ArrayLike, "*blocks K"],
    found: Branching,
) -> ScoreGain:
    """gamma of after = eta before + gamma [-before / c + (m / c) tanh(m before / c)] (36), by least squares.

    One gamma a block, as the theory has it, from amplitudes of K modes before and after, each in units of its spread.
    eta: the gain measured otherwise (``mode_gain``). The theory needs gamma > 0.
    """
    before, after, eta = map(jnp.asarray, (before, after, eta))
    m, c = found.m[..., None], found.c[..., None]
    unit = jnp.sqrt(jnp.square(before).mean(-1, keepdims=True))
    score = (m * jnp.tanh(m * before / c) - before) / c / unit
    beyond = (after - eta[..., None] * before) / unit
    gamma = (score * beyond).sum((-2, -1)) / jnp.square(score).sum((-2, -1))
    left = jnp.square(beyond - gamma[..., None, None] * score).sum((-2, -1))
    return ScoreGain(gamma, 1 - left / jnp.square(beyond).sum((-2, -1)))


def carried(first: Float[ArrayLike, "*modes"], eta: Float[ArrayLike, "N *modes"]) -> Float[Array, "N *modes"]:
    """m before each of N blocks as they run, were it multiplied by eta in each (56-57): an ansatz, to be tested."""
    eta = jnp.asarray(eta)
    return jnp.asarray(first)[None] * jnp.concatenate([jnp.ones_like(eta[:1]), jnp.cumprod(eta[:-1], axis=0)])
