"""A Kuramoto phase core: hidden states -> phases of a few coupled oscillators -> their order parameter R.

Source: the Phase-Diffusion proposal, corrected: R is one number a position (or a sequence), never one of the batch; the
oscillators do interact; and R is read as the probability that the model's best guess is right, learnt by a loss of its
own, since a sampler gives no gradient.
"""

import dataclasses
import math
from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from gidd_jax import kuramoto
from gidd_jax.errors import InputError
from gidd_jax.types import Mean, PRNGKey, Tree

TINY = 1e-4
"""R is read as a probability between this and 1 less this: the loss stays finite."""


@dataclasses.dataclass(frozen=True)
class CoreConfig:
    """Static shape of the core. ``steps`` Euler steps of length ``dt`` in units of 1 / frequency.

    ``phases``: atan2 of two projections an oscillator, which has no seam; tanh is the proposal's pi tanh of one, whose
    saturated ends -pi and pi are one point of the circle, so that large activations alone bring R to 1. ``scope``:
    oscillators of a position, or of a sequence by its mean hidden state. ``debiased``: R^2 becomes
    (n R^2 - 1) / (n - 1), whose mean is 0 for phases that have nothing to do with each other; R itself has 1 / n.
    """

    width: int
    oscillators: int = 16
    steps: int = 4
    dt: float = 0.25
    phases: Literal["atan2", "tanh"] = "atan2"
    scope: Literal["position", "sequence"] = "position"
    debiased: bool = False

    def __post_init__(self) -> None:
        if self.width < 1 or self.oscillators < 2 or self.steps < 0 or not self.dt > 0:
            raise InputError("a phase core needs a width, 2 oscillators or more, steps of 0 or more and a dt above 0")


def init(key: PRNGKey, config: CoreConfig) -> Tree:
    """kernel [D, 2n] (or [D, n]) uniform in +-1/sqrt(D), bias 0, omega [n] ~ N(0, 1); consumes ``key``."""
    kernel_key, omega_key = jax.random.split(key)
    outputs = config.oscillators * (2 if config.phases == "atan2" else 1)
    bound = 1 / math.sqrt(config.width)
    return {
        "kernel": jax.random.uniform(kernel_key, (config.width, outputs), minval=-bound, maxval=bound),
        "bias": jnp.zeros(outputs),
        "omega": jax.random.normal(omega_key, (config.oscillators,)),
    }


def initial_phases(params: Tree, config: CoreConfig, hidden: Float[Array, "*batch D"]) -> Float[Array, "*batch N"]:
    """The phases that the oscillators start from, radians in [-pi, pi]."""
    bias = params["bias"].reshape((1,) * (hidden.ndim - 1) + (-1,))
    projected = jnp.matmul(hidden.astype(jnp.float32), params["kernel"]) + bias
    if config.phases == "tanh":
        return math.pi * jnp.tanh(projected)
    x, y = jnp.split(projected, 2, axis=-1)
    nowhere = (x == 0) & (y == 0)
    return jnp.arctan2(y, jnp.where(nowhere, 1.0, x))


def apply(
    params: Tree,
    config: CoreConfig,
    hidden: Float[Array, "B S D"],
    K: ArrayLike,
    counted: Bool[Array, "B S"] | None = None,
) -> Float[Array, "B S"]:
    """R in [0, 1] of every position, [B,S]; hidden [B,S,D], coupling K traced (scalar, in units of frequency).

    theta <- theta + dt (omega + K r sin(psi - theta)), ``config.steps`` times, then R = |mean e^{i theta}|. With scope
    "sequence" the hidden states of the ``counted`` positions (default: all) are averaged first, and all positions of
    the sequence have its R. Nothing crosses from one sequence to another.
    """
    if config.scope == "sequence":
        weight = jnp.ones(hidden.shape[:2]) if counted is None else counted.astype(jnp.float32)
        mean = (hidden * weight[..., None]).sum(1) / jnp.maximum(weight.sum(1), 1.0)[:, None]
        return jnp.broadcast_to(_coherence(params, config, mean, K)[:, None], hidden.shape[:2])
    return _coherence(params, config, hidden, K)


def sequence_r(r: Float[Array, "B S"], where: Bool[Array, "B S"]) -> Float[Array, "B"]:
    """Mean of R over the positions of ``where``, 0 where there are none."""
    return jnp.where(where, r, 0.0).sum(1) / jnp.maximum(where.sum(1), 1)


def calibration_loss(r: Float[Array, "B S"], right: Bool[Array, "B S"], where: Bool[Array, "B S"]) -> Float[Array, ""]:
    """-mean over ``where`` of [right] log R + [wrong] log(1 - R), nats: least for R = P(right).

    Source: the logarithmic score, Gneiting & Raftery, J. Am. Stat. Assoc. 102 (2007) 359.
    """
    p = jnp.clip(r, TINY, 1 - TINY)
    nats = -jnp.where(right, jnp.log(p), jnp.log1p(-p))
    return jnp.where(where, nats, 0.0).sum() / jnp.maximum(where.sum(), 1)


def calibration(
    r: Float[Array, "B S"], right: Bool[Array, "B S"], where: Bool[Array, "B S"], bins: int = 10
) -> dict[str, Mean]:
    """Reliability of R in equal bins of [0, 1]: mean R and share right by bin, and their mean distance (ECE).

    ECE = sum over bins of (cells in it / cells) |share right - mean R|. Source: Guo et al., arXiv 1706.04599, eq. 3.
    """
    member = jax.nn.one_hot(jnp.clip((r * bins).astype(jnp.int32), 0, bins - 1), bins) * where[..., None]
    count, total, hits = (
        (member * value[..., None]).sum((0, 1)) for value in (jnp.ones_like(r), r, right.astype(jnp.float32))
    )
    return {
        "ece": Mean(jnp.abs(hits - total).sum(), count.sum()),
        "confidence/r": Mean(total, count),
        "right/r": Mean(hits, count),
    }


def gaussian_critical_coupling(params: Tree) -> Float[Array, ""]:
    """sqrt(8/pi) times the standard deviation of the core's frequencies: K_c of many Gaussian ones of that spread.

    A guide, not a transition: n oscillators that run for a few steps from phases that depend on the text have none.
    """
    return kuramoto.critical_coupling("gaussian", jnp.std(params["omega"]))


def _coherence(params: Tree, config: CoreConfig, hidden: Float[Array, "*batch D"], K: ArrayLike) -> Array:
    theta = initial_phases(params, config, hidden)
    theta, _ = kuramoto.simulate(theta, params["omega"], K, config.dt, config.steps, method="euler")
    r = kuramoto.order_parameter(theta).r
    if not config.debiased:
        return r
    squared = (config.oscillators * r * r - 1) / (config.oscillators - 1)
    return jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1.0)), 0.0)
