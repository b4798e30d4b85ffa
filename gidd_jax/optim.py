"""Gradients -> parameter updates. Rates and decay are traced Hypers; the optimiser and its schedule are static."""

import dataclasses
import re
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from gidd_jax import files
from gidd_jax.config import Dial, RunConfig, setting
from gidd_jax.errors import InputError
from gidd_jax.types import Scalar, Tree

FALLS = {
    "cosine": lambda done: (1 + jnp.cos(jnp.pi * done)) / 2,
    "linear": lambda done: 1 - done,
    "wsd": lambda done: 1 - jnp.sqrt(done),
}
"""Schedules that fall: share of the way that is done -> share of the way that is left."""

OPTIMIZERS = {
    "adamw": lambda b1, b2, eps: optax.scale_by_adam(b1, b2, eps),
    # The order of Adam turned round: normalised gradients are averaged. Source: LaProp, arXiv 2002.04839.
    "laprop": lambda b1, b2, eps: optax.chain(
        optax.scale_by_rms(b2, eps, eps_in_sqrt=False, bias_correction=True), optax.ema(b1, debias=True)
    ),
}
"""b1, b2, eps -> the direction of an update, before rate and weight decay."""


LearningRate = Annotated[float, Dial("1/step", 0, 10, "peak learning rate")]
WeightDecay = Annotated[float, Dial("", 0, 10, "decoupled weight decay")]
SecondMoment = Annotated[float, Dial("", 0, 0.99999, "decay of the second moment")]
"""Dials of every study that learns, under the names that ``OptimHyper`` has."""


class OptimHyper(NamedTuple):
    """The dials of a study that learns and has none of its own."""

    seed: Annotated[int, Dial("", 0, 2**31 - 1, "parameters, data, noise; paired settings share it")] = 0
    learning_rate: LearningRate = 1e-3
    weight_decay: WeightDecay = 0.0
    b2: SecondMoment = 0.99


@dataclasses.dataclass(frozen=True)
class OptimConfig(RunConfig):
    """The settings of every study that learns; ``train.gradient_step`` reads them."""

    optimizer: str = setting("adamw", "what makes updates of gradients", choices=tuple(OPTIMIZERS))
    b1: float = setting(0.9, "decay of the first moment")
    eps: float = setting(1e-8, "added to the root of the second moment")
    schedule: str = setting("constant", "learning rate after the warm-up", choices=("constant", *FALLS))
    warmup: int = setting(0, "steps of linear warm-up")
    floor: float = setting(0.01, "share of the peak learning rate at which a schedule that falls ends")
    cooldown: float = setting(0.1, "share of the steps in which wsd (warm-up, stable, decay) falls")
    average: float = setting(0.0, "decay of the running average of parameters used in evaluation (0: none)")
    clip: float = setting(0.0, "bound on the global gradient norm (0: none)")
    frozen: str = setting("", "regular expression of parameter paths that do not train")
    init_from: str = setting("", "start from the parameters of an exported row", execution=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("average", "b1"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"--{name} {getattr(self, name)}: must be at least 0 and below 1")
        if not self.eps > 0:
            raise InputError(f"--eps {self.eps}: must be above 0")
        if self.floor > 1:
            raise InputError(f"--floor {self.floor}: must be at most 1")
        if not 0 < self.cooldown <= 1:
            raise InputError(f"--cooldown {self.cooldown}: must be above 0 and at most 1")
        try:
            re.compile(self.frozen)
        except re.error as error:
            raise InputError(f"--frozen {self.frozen!r}: not a regular expression ({error})") from error
        # A sweep may go on from another directory.
        object.__setattr__(self, "init_from", files.absolute(self.init_from))


class OptimState(NamedTuple):
    """The moments of Adam or LaProp, and the running average of the parameters where one is kept (else ())."""

    adam: Tree
    average: Tree

    @property
    def count(self) -> Int[ArrayLike, ""]:
        """Updates made so far."""
        return optax.tree.get_all_with_path(self.adam, "count")[0][1]


def unit_schedule(s: Int[Array, ""], config: OptimConfig) -> Float[Array, ""]:
    """Share of the peak learning rate at update s = 1, 2, ..., T = ``config.steps``.

    min(1, s/W) over a warm-up of W updates; from there "constant" stays at 1, "cosine" and "linear" fall to ``floor``
    at T, "wsd" falls over the last ``cooldown`` share of T, as 1 - sqrt(share done). Source of "wsd": arXiv 2405.18392.
    """
    warmup, steps = config.warmup, config.steps
    rise = jnp.minimum(s / warmup, 1.0) if warmup else jnp.ones(())
    if config.schedule == "constant":
        return rise
    start = steps - round(config.cooldown * steps) if config.schedule == "wsd" else warmup
    done = jnp.clip((s - start) / max(steps - start, 1), 0.0, 1.0)
    return rise * (config.floor + (1 - config.floor) * FALLS[config.schedule](done))


def init(params: Tree, config: OptimConfig) -> OptimState:
    """Zero moments; the average starts at the parameters."""
    average = jax.tree.map(jnp.copy, params) if config.average else ()
    return OptimState(_direction(config).init(params), average)


def update(
    grads: Tree,
    state: OptimState,
    params: Tree,
    rate: Scalar,
    decay: Scalar,
    b2: Scalar,
    config: OptimConfig,
    trainable: Tree | None = None,
) -> tuple[Tree, OptimState]:
    """One step: params - rate (d + decay params), d the optimiser's direction; without ``decay`` AdamW is Adam.

        adamw:   d = m/(sqrt(v) + eps),  m and v the bias-corrected averages of g and g^2;
        laprop:  d = the bias-corrected average of g/(sqrt(v) + eps).

    ``trainable`` (booleans that broadcast to each parameter) masks *updates*, not gradients: moments move on, frozen
    parameters do not.
    ``config.clip`` bounds the global gradient norm (0: off); ``config.average`` is the decay of the running average.
    """
    if config.clip:
        norm = optax.tree.norm(grads)
        grads = jax.tree.map(lambda g: g * jnp.minimum(1.0, config.clip / jnp.maximum(norm, 1e-12)), grads)
    direction, adam = _direction(config, b2).update(grads, state.adam)
    moved = jax.tree.map(lambda p, d: p - rate * (d + decay * p), params, direction)
    if trainable is not None:
        moved = jax.tree.map(lambda free, new, old: jnp.where(free, new, old), trainable, moved, params)
    if not config.average:
        return moved, OptimState(adam, ())
    kept = config.average
    return moved, OptimState(adam, jax.tree.map(lambda a, p: kept * a + (1 - kept) * p, state.average, moved))


def _direction(config: OptimConfig, b2: Scalar = 0.999) -> optax.GradientTransformation:
    return OPTIMIZERS[config.optimizer](config.b1, b2, config.eps)
