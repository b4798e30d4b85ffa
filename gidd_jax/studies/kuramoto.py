"""The Kuramoto study: N oscillators a replica, at one coupling or ramped up and down, and the moments of r.

This module *is* the study: ``init``, ``step`` and ``evaluate`` are pure functions of one replica. A step of the engine
is one integration step; what settles in the first part of each plateau of the coupling is not averaged.
"""

import dataclasses
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gidd_jax import kuramoto
from gidd_jax.config import Dial, RunConfig, setting
from gidd_jax.errors import InputError
from gidd_jax.types import Mean, Metrics, PRNGKey, Tree

name = "kuramoto"
unit = "oscillator-steps"
splits = ("stationary",)


class Hyper(NamedTuple):
    """What one row may set; every field is traced, so sweeping it never recompiles."""

    seed: Annotated[int, Dial("", 0, 2**31 - 1, "frequencies and first phases; paired settings share them")] = 0
    coupling: Annotated[float, Dial("1/time", 0, 1e6, "coupling K; of a ramp, its top")] = 1.0
    scale: Annotated[float, Dial("1/time", 1e-6, 1e6, "width of the natural frequencies")] = 1.0
    ramp_from: Annotated[float, Dial("1/time", 0, 1e6, "coupling K a ramp starts and ends at")] = 0.0


@dataclasses.dataclass(frozen=True)
class Config(RunConfig):
    """What shapes the program or says which system is integrated."""

    steps: int = setting(4000, "integration steps of every replica")
    oscillators: int = setting(200, "oscillators N of a replica")
    dt: float = setting(0.05, "length of an integration step, in units of 1/frequency")
    method: str = setting("split", "integrator", choices=kuramoto.METHODS)
    distribution: str = setting("gaussian", "natural frequencies", choices=kuramoto.DISTRIBUTIONS)
    df: float = setting(3.0, "degrees of freedom of student_t")
    frequencies: str = setting("random", "drawn anew for each seed, or the quantiles", choices=("random", "quantile"))
    burn_in: int = setting(0, "steps not averaged at the start, or of each level of a ramp (0: half of them)")
    ramp_levels: int = setting(0, "couplings visited upwards, then downwards, state carried on (0: K stays)")
    dial: str = setting("coupling", "what --coupling moves", choices=("coupling",))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.oscillators < 2:
            raise InputError(f"--oscillators {self.oscillators}: at least 2 are needed")
        if not self.dt > 0 or not self.df > 0:
            raise InputError(f"--dt {self.dt:g}, --df {self.df:g}: both must be above 0")
        if self.ramp_levels == 1:
            raise InputError("--ramp-levels 1: a ramp has at least 2 levels")
        if self.steps % self.plateaus:
            raise InputError(f"--steps {self.steps}: not a multiple of the {self.plateaus} plateaus of the ramp")
        if self.settling >= self.plateau_steps:
            raise InputError(f"--burn-in {self.burn_in}: leaves none of {self.plateau_steps} steps to average")

    @property
    def plateaus(self) -> int:
        """Stretches of constant coupling: 1, or every level of a ramp twice."""
        return max(1, 2 * self.ramp_levels)

    @property
    def plateau_steps(self) -> int:
        return self.steps // self.plateaus

    @property
    def settling(self) -> int:
        """Steps of a plateau that are not averaged."""
        return self.burn_in or self.plateau_steps // 2

    @property
    def schedule(self) -> str:
        """What the engine asks before it lets a finished sweep go on: constant, or what depends on the steps."""
        return "constant" if self.burn_in and not self.ramp_levels else "a ramp or --burn-in 0"


class Moments(NamedTuple):
    """Running moments of r over the averaged steps of each plateau, all [plateaus]; ``scatter`` is sum (r - mean)^2."""

    count: Array
    mean: Array
    scatter: Array
    second: Array
    fourth: Array


class State(NamedTuple):
    """Phases in [-pi, pi] [N], natural frequencies [N] and what was measured so far."""

    theta: Array
    omega: Array
    moments: Moments


def per_step(config: Config) -> int:
    """Oscillators one replica moves in a step."""
    return config.oscillators


def load(config: Config) -> tuple[Tree, str]:
    """The quantiles of the frequencies at scale 1 where every replica has these; nothing where they are drawn."""
    if config.frequencies == "random":
        return {}, "drawn"
    units = kuramoto.quantile_frequencies(config.distribution, 1.0, config.oscillators, config.df)
    return {"omega": np.asarray(units)}, "quantiles"


def check(hypers: Hyper, config: Config, data: Tree) -> None:
    """Raises InputError, before anything compiles, for a ramp that goes nowhere or a start no ramp reads."""
    if config.ramp_levels and np.any(hypers.ramp_from >= hypers.coupling):
        raise InputError("a ramp goes up: every --coupling must be above its --ramp-from")
    if not config.ramp_levels and np.any(hypers.ramp_from != Hyper().ramp_from):
        raise InputError("--ramp-from moves nothing here: it needs --ramp-levels")


def init(key: PRNGKey, hyper: Hyper, config: Config, data: Tree) -> State:
    """Frequencies of the row's scale and phases uniform on the circle."""
    omega_key, theta_key = jax.random.split(key)
    if config.frequencies == "random":
        units = kuramoto.random_frequencies(omega_key, config.distribution, 1.0, config.oscillators, config.df)
    else:
        units = data["omega"]
    theta = jax.random.uniform(theta_key, (config.oscillators,), minval=-jnp.pi, maxval=jnp.pi)
    nothing = jnp.zeros(config.plateaus)
    return State(theta, hyper.scale * units, Moments(*[nothing] * 5))


def step(
    state: State, key: PRNGKey, hyper: Hyper, config: Config, data: Tree, i: Array
) -> tuple[State, Metrics, Array]:
    """One integration step -> (state, r after it, finite)."""
    plateau = jnp.minimum(i // config.plateau_steps, config.plateaus - 1)
    K = couplings(hyper, config)[plateau]
    theta, _ = kuramoto.wrapped(kuramoto.step(state.theta, state.omega, K, config.dt, config.method))
    r = kuramoto.order_parameter(theta).r
    here = jnp.arange(config.plateaus) == plateau
    counted = here & (i - plateau * config.plateau_steps >= config.settling)
    return State(theta, state.omega, _gathered(state.moments, r, counted)), {"order_parameter": r}, jnp.isfinite(r)


def couplings(hyper: Hyper, config: Config) -> Float[Array, "plateaus"]:
    """K of every plateau, in the order they are visited."""
    if not config.ramp_levels:
        return jnp.reshape(hyper.coupling, (1,))
    up = hyper.ramp_from + (hyper.coupling - hyper.ramp_from) * jnp.linspace(0.0, 1.0, config.ramp_levels)
    return jnp.concatenate([up, up[::-1]])


def evaluate(
    state: State, key: PRNGKey, hyper: Hyper, config: Config, data: Tree, split: Array
) -> tuple[Metrics, Tree]:
    """Time averages of r, r^2 and r^4, N Var r over time, and what theory says for N -> infinity; no arrays.

    Of a ramp: r by level on the way up and on the way down, and the coupling of each level.
    """
    found = state.moments
    r = Mean(found.mean * found.count, found.count)
    size = {"oscillators": jnp.float32(config.oscillators)}
    if config.ramp_levels:
        up, down = (jax.tree.map(lambda x, turn=turn: x.reshape(2, -1)[turn], r) for turn in (0, 1))
        down = jax.tree.map(jnp.flip, down)
        levels = couplings(hyper, config)[: config.ramp_levels]
        return {"order_parameter/up": up, "order_parameter/down": down, "coupling/level": levels} | size, {}
    once = jax.tree.map(lambda x: x[0], found)
    moments = {
        "order_parameter": once.mean,
        "order_parameter_squared": once.second,
        "order_parameter_fourth": once.fourth,
        "susceptibility": config.oscillators * once.scatter / jnp.maximum(once.count, 1),
    }
    theory = {
        "order_parameter_theory": kuramoto.stationary_r(hyper.coupling, config.distribution, hyper.scale, config.df),
        "critical_coupling": kuramoto.critical_coupling(config.distribution, hyper.scale, config.df),
    }
    return {metric: Mean(value * once.count, once.count) for metric, value in moments.items()} | theory | size, {}


def _gathered(moments: Moments, r: Array, counted: Array) -> Moments:
    """The moments with r counted where ``counted`` [plateaus] (Welford 1962: no cancellation in float32)."""
    count = moments.count + counted
    share = counted / jnp.maximum(count, 1)
    off = r - moments.mean
    mean = moments.mean + share * off
    return Moments(
        count,
        mean,
        moments.scatter + counted * off * (r - mean),
        moments.second + share * (r**2 - moments.second),
        moments.fourth + share * (r**4 - moments.fourth),
    )
