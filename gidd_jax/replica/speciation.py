"""When a mode of the difference commits: two Gaussians, the score between them, and a self-consistency condition.

Source: synchronization_gap_paper (arXiv 2603.20987), equations 34-66, and Biroli et al., Nature Communications 15
(2024), for the mixture. gamma > 0, the gain of the score, is not derived there: it is for the user to give or to fit.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from gidd_jax.replica.linear import gains

ROUNDS = 64


class Speciation(NamedTuple):
    """Signal to noise, gain kappa = gamma snr, and the size u >= 0 of the branches; all NaN where not ``valid``."""

    snr: Float[Array, "*modes"]
    kappa: Float[Array, "*modes"]
    u: Float[Array, "*modes"]

    @property
    def valid(self) -> Bool[Array, "*modes"]:
        """Whether eta < 1 + gamma / c (55): above, the linear part alone is unstable and the theory says nothing."""
        return ~jnp.isnan(self.snr)


class Crossing(NamedTuple):
    """A step, or a difference of two; NaN where not ``valid``."""

    step: Float[Array, "*modes"]
    valid: Bool[Array, "*modes"]


def mixture_score(
    h: Float[ArrayLike, "*batch D"], m: Float[ArrayLike, "D"], C: Float[ArrayLike, "D D"]
) -> Float[Array, "*batch D"]:
    """grad log p of p = N(m, C)/2 + N(-m, C)/2: -C^-1 h + C^-1 m tanh(m^T C^-1 h) (35)."""
    h, m, C = map(jnp.asarray, (h, m, C))
    inverse = jnp.linalg.inv(C)
    pull = inverse @ m
    return jnp.einsum("...,d->...d", jnp.tanh(h @ pull), pull) - jnp.einsum("ij,...j->...i", inverse, h)


def effective_precision(m: Float[ArrayLike, "D"], C: Float[ArrayLike, "D D"]) -> Float[Array, "D D"]:
    """C^-1 - C^-1 m m^T C^-1 (38), minus the score's slope at 0: two branches where it has a negative eigenvalue."""
    m, C = jnp.asarray(m), jnp.asarray(C)
    inverse = jnp.linalg.inv(C)
    return inverse - jnp.outer(inverse @ m, inverse @ m)


def mode_gain(g: ArrayLike, chi: ArrayLike, pi: ArrayLike, feed: ArrayLike) -> Float[Array, "*modes"]:
    """eta_k = 1 + lambda_k + rho chi_k + xi pi_k (46-47): what one block makes of a mode.

    chi = r^T R r by the values, pi = r^T P r by the weights, feed (lambda) = r^T J r by the MLP.
    """
    g, chi, pi, feed = jnp.broadcast_arrays(*map(jnp.asarray, (g, chi, pi, feed)))
    rho, xi = gains(g)
    return 1 + feed + rho * chi + xi * pi


def speciation(m: ArrayLike, c: ArrayLike, gamma: ArrayLike, eta: ArrayLike) -> Speciation:
    """Of modes with mean m, variance c and gain eta, under a score of gain gamma (48-55); all broadcast.

        snr = m^2 / (c ((1 - eta) c + gamma)),   kappa = gamma snr,   u = kappa tanh u.

    A mode commits where kappa > 1. NaN, and not ``valid``, unless eta < 1 + gamma / c.

    >>> found = replica.speciation(m=1.0, c=1.0, gamma=1.0, eta=0.5)
    >>> round(float(found.kappa), 4), bool(found.kappa > 1)
    (0.6667, False)
    """
    m, c, gamma, eta = jnp.broadcast_arrays(*(jnp.asarray(x, jnp.result_type(float, x)) for x in (m, c, gamma, eta)))
    left = (1 - eta) * c + gamma
    valid = (left > 0) & (c > 0)
    snr = jnp.where(valid, jnp.square(m) / jnp.where(valid, c * left, 1.0), jnp.nan)
    return Speciation(snr, gamma * snr, mean_field(gamma * snr))


def mean_field(kappa: Float[ArrayLike, "*modes"] | int) -> Float[Array, "*modes"]:
    """The root u > 0 of u = kappa tanh u, 0 where kappa <= 1 (49); near 1 it is sqrt(3 (kappa - 1))."""
    kappa = jnp.asarray(kappa)
    above = (kappa > 1) & jnp.isfinite(kappa)
    k = jnp.where(above, kappa, 2.0)

    def newton(_: Array, u: Array) -> Array:
        # From the right of a convex function: every step stays there.
        t = jnp.tanh(u)
        return u - (u - k * t) / (1 - k * (1 - t) * (1 + t))

    u = jax.lax.fori_loop(0, ROUNDS, newton, k)
    return jnp.where(above, u, jnp.where(kappa <= 1, 0.0, kappa))  # NaN and infinity as they are


def speciation_step(kappa: Float[ArrayLike, "*modes S"]) -> Crossing:
    """The first step s at which kappa [..., S] reaches 1 (51), between steps by a straight line.

    Not valid where it never rises through 1, or is NaN there.
    """
    kappa = jnp.asarray(kappa)
    before, after = kappa[..., :-1], kappa[..., 1:]
    crosses = (before < 1) & (after >= 1)
    i = jnp.argmax(crosses, axis=-1)
    low, high = (jnp.take_along_axis(x, i[..., None], axis=-1)[..., 0] for x in (before, after))
    valid = crosses.any(-1)
    share = (1 - low) / jnp.where(valid, high - low, 1.0)
    return Crossing(jnp.where(valid, i + share, jnp.nan), valid)


def speciation_gap(coarse: Float[ArrayLike, "*modes S"], fine: Float[ArrayLike, "*modes S"]) -> Crossing:
    """Steps from the coarse mode's commitment to the fine one's (65), of their kappa by step; valid where both are."""
    first, then = speciation_step(coarse), speciation_step(fine)
    return Crossing(then.step - first.step, first.valid & then.valid)
