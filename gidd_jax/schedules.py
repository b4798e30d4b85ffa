"""Time -> how much of the clean token is left, and what replaces the rest.

A schedule is a pytree of traced numbers, so one compiled program runs many noise mixes. Tokens are 0..V-1, one of
them the mask; N = V - 1 tokens are not the mask. Time t is a scalar, [B] or [B,S]: in (0,1) for ``linear`` and
``hybrid``, a log signal-to-noise ratio for ``log_snr``. Every schedule mixes three things only (``Masses``), so nothing
downstream needs a [..., V] tensor:

    q_t(z|x) = keep [z = x] + mask [z = mask] + uniform [z != mask],    keep + mask + N uniform = 1.
"""

import dataclasses
import functools
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Integer

from gidd_jax.errors import InputError

TIME_EPS = 1e-4
"""Times in (0,1) are drawn from [TIME_EPS, 1 - TIME_EPS]: the ELBO's weights grow like 1 / (t (1 - t))."""
WEIGHT_EPS = 1e-6
"""Weights are read no closer than this to the ends of (0,1), so that t = 0 and t = 1 stay finite."""


class Masses(NamedTuple):
    """alpha(t); the noise's mass on the mask; and its mass on EACH of the N other tokens. All of t's shape."""

    keep: Float[Array, "..."]
    mask: Float[Array, "..."]
    uniform: Float[Array, "..."]


class Weights(NamedTuple):
    """One weight for each kind of noised token: z is the mask, z is x (clean), z is another token (noise)."""

    mask: Float[Array, "..."]
    clean: Float[Array, "..."]
    noise: Float[Array, "..."]

    def at(self, is_mask: Bool[Array, "..."], is_clean: Bool[Array, "..."]) -> Float[Array, "..."]:
        """The weight of every cell; the arguments broadcast against the weights."""
        return jnp.where(is_mask, self.mask, jnp.where(is_clean, self.clean, self.noise))


@runtime_checkable
class Schedule(Protocol):
    """What the losses, the corruption and the samplers ask of a schedule; ``vocab_size`` and ``mask_id`` are static."""

    vocab_size: int
    mask_id: int

    def masses(self, t: ArrayLike) -> Masses:
        """q_t at t."""

    def elbo_weights(self, t: ArrayLike) -> Weights:
        """Weight of KL + Itakura-Saito in the ELBO, for t drawn by ``time_of`` of a uniform number."""

    def snr_density(self, t: ArrayLike) -> Float[Array, "..."]:
        """Density of the log-SNR at t when t is drawn by ``time_of``: ELBO weight times this is weighting "snr"."""

    def dynamic_clean(self, t: ArrayLike) -> Float[Array, "..."]:
        """Weight of a cell that shows its clean token under weighting "dynamic" (mask 2, noise 1)."""

    def unit_time(self, t: ArrayLike) -> Float[Array, "..."]:
        """t on (0,1), 0 clean: what metrics are binned by."""

    def time_of(self, u: ArrayLike) -> Float[Array, "..."]:
        """Uniform numbers in [0,1) -> times."""


class _UnitTime:
    """What ``linear`` and ``hybrid`` share: t in (0,1), drawn uniformly."""

    def unit_time(self, t: ArrayLike) -> Float[Array, "..."]:
        return _real(t)

    def time_of(self, u: ArrayLike, eps: float = TIME_EPS) -> Float[Array, "..."]:
        """(1 - 2 eps) u + eps."""
        return (1 - 2 * eps) * _real(u) + eps


@functools.partial(jax.tree_util.register_dataclass, data_fields=["p_uniform"], meta_fields=["vocab_size", "mask_id"])
@dataclasses.dataclass(frozen=True)
class Linear(_UnitTime):
    """keep = 1 - t, mask = t (1 - p_uniform), uniform = t p_uniform / N: a mix that does not change in time.

    ELBO weight 1 / (t (1 - t)) wherever z != x is possible; at z = x it is u / ((1-t) (1-t + t u)), u = p_uniform/N.
    """

    vocab_size: int
    mask_id: int
    p_uniform: Any

    def masses(self, t: ArrayLike) -> Masses:
        t, p = _real(t), _real(self.p_uniform)
        return Masses(1 - t, t * (1 - p), t * (p / (self.vocab_size - 1)))

    def elbo_weights(self, t: ArrayLike) -> Weights:
        t, p = _inside(t), _real(self.p_uniform)
        each = p / (self.vocab_size - 1)
        corrupted = 1 / (t * (1 - t))
        clean = each / ((1 - t) * (1 - t + t * each))
        return Weights(jnp.where(p < 1, corrupted, 0.0), clean, jnp.where(p > 0, corrupted, 0.0))

    def snr_density(self, t: ArrayLike) -> Float[Array, "..."]:
        t = _inside(t)
        return t * (1 - t)

    def dynamic_clean(self, t: ArrayLike) -> Float[Array, "..."]:
        return paper_clean(self, t)


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["p_uniform", "gamma"], meta_fields=["vocab_size", "mask_id"]
)
@dataclasses.dataclass(frozen=True)
class Hybrid(_UnitTime):
    """With c(t) = B (t (1 - t))^(gamma/2) and C = 1 + c: keep = (1 - t)/C, mask = t/C, uniform = c/(N C).

    B = 2^gamma p_uniform / (1 - p_uniform), so the mass on uniform tokens peaks at t = 1/2 where it is p_uniform.
    """

    vocab_size: int
    mask_id: int
    p_uniform: Any
    gamma: Any

    def log_b(self) -> Float[Array, ""]:
        """log B, at least -20; p_uniform is read no smaller than e^-20, so logs of the noise stay finite."""
        p = jnp.clip(_real(self.p_uniform), jnp.exp(-20.0), 1 - 1e-7)
        return jnp.maximum(_real(self.gamma) * jnp.log(2.0) + jnp.log(p) - jnp.log1p(-p), -20.0)

    def masses(self, t: ArrayLike) -> Masses:
        t = _real(t)
        c = self._c(t)
        return Masses((1 - t) / (1 + c), t / (1 + c), c / ((self.vocab_size - 1) * (1 + c)))

    def elbo_weights(self, t: ArrayLike) -> Weights:
        t, gamma = _inside(t), _real(self.gamma)
        each = self._c(t) / (self.vocab_size - 1)
        noise = (gamma / 2 + (1 - gamma) * t) / (t * (1 - t))
        return Weights(1 / (t * (1 - t)), noise * each / (1 - t + each), noise)

    def snr_density(self, t: ArrayLike) -> Float[Array, "..."]:
        """|dt / d log-SNR|, with alpha'/alpha = -1/(1 - t) - c'/(1 + c)."""
        t = _inside(t)
        c = self._c(t)
        c_prime = _real(self.gamma) / 2 * (1 - 2 * t) / (t * (1 - t)) * c
        return (t + c) / (1 + c) / (1 / (1 - t) + c_prime / (1 + c))

    def dynamic_clean(self, t: ArrayLike) -> Float[Array, "..."]:
        """(B/V) exp(gamma/2 sigmoid(-t)) as in the authors' code; the paper's own weight is ``paper_clean``."""
        return jnp.exp(self.log_b() + _real(self.gamma) / 2 * jax.nn.sigmoid(-_real(t))) / self.vocab_size

    def _c(self, t: Float[Array, "..."]) -> Float[Array, "..."]:
        return jnp.exp(self.log_b() + _real(self.gamma) / 2 * jnp.log(t * (1 - t)))


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["scale", "shift", "min_log_snr", "max_log_snr"],
    meta_fields=["vocab_size", "mask_id"],
)
@dataclasses.dataclass(frozen=True)
class LogSnr:
    """Time is l = log(keep / (1 - keep)): keep = sigmoid(l), and s = sigmoid(scale l + shift) of the rest is uniform.

    keep sees l clipped to [min_log_snr, max_log_snr]; s does not. Source: arXiv 2512.10858 and its code.
    """

    vocab_size: int
    mask_id: int
    scale: Any
    shift: Any
    min_log_snr: Any
    max_log_snr: Any

    def masses(self, t: ArrayLike) -> Masses:
        clipped, (s, rest) = self._clip(t), self._shares(t)
        noise = jax.nn.sigmoid(-clipped)
        return Masses(jax.nn.sigmoid(clipped), noise * rest, noise * s / (self.vocab_size - 1))

    def elbo_weights(self, t: ArrayLike) -> Weights:
        """(pi - dpi/dl) / ((pi + e^l [z = x]) p(l)); an impossible z weighs nothing. Negative at scale > 1, s small."""
        s, rest = self._shares(t)
        scale, each = _real(self.scale), s / (self.vocab_size - 1)
        # 1 - scale rest without cancellation at scale 1.
        noise = jnp.where(s > 0, (1 - scale) + scale * s, 0.0)
        mask = jnp.where(rest > 0, 1 + scale * s, 0.0)
        clean = noise * each / (each + jnp.exp(self._clip(t)))
        density = self.snr_density(t)
        return Weights(mask / density, clean / density, noise / density)

    def snr_density(self, t: ArrayLike) -> Float[Array, "..."]:
        """p(l) = sigmoid(l) sigmoid(-l): t is drawn as logit of a uniform number."""
        return jnp.maximum(jax.nn.sigmoid(_real(t)) * jax.nn.sigmoid(-_real(t)), 1e-12)

    def dynamic_clean(self, t: ArrayLike) -> Float[Array, "..."]:
        return paper_clean(self, t)

    def unit_time(self, t: ArrayLike) -> Float[Array, "..."]:
        return jax.nn.sigmoid(-_real(t))

    def time_of(self, u: ArrayLike) -> Float[Array, "..."]:
        """log((1 - v)/v) for v uniform between 1 - keep at max_log_snr and at min_log_snr."""
        low, high = jax.nn.sigmoid(-_real(self.max_log_snr)), jax.nn.sigmoid(-_real(self.min_log_snr))
        v = low + (high - low) * _real(u)
        return jnp.log1p(-v) - jnp.log(v)

    def _clip(self, t: ArrayLike) -> Float[Array, "..."]:
        return jnp.clip(_real(t), _real(self.min_log_snr), _real(self.max_log_snr))

    def _shares(self, t: ArrayLike) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Share of the noise that is uniform, and 1 minus it without cancellation."""
        logit = _real(self.scale) * _real(t) + _real(self.shift)
        return jax.nn.sigmoid(logit), jax.nn.sigmoid(-logit)


def linear(vocab_size: int, mask_id: int, p_uniform: ArrayLike = 0.0) -> Linear:
    """Plain masked noise at ``p_uniform`` 0 (MDLM), plain uniform noise at 1, any mix between; p_uniform is traced."""
    _check_vocab(vocab_size, mask_id)
    _check("p_uniform", p_uniform, lambda p: 0 <= p <= 1, "must be in [0, 1]")
    return Linear(vocab_size, mask_id, p_uniform)


def hybrid(vocab_size: int, mask_id: int, p_uniform: ArrayLike = 0.0, gamma: ArrayLike = 1.0) -> Hybrid:
    """Masks and uniform tokens, the latter mostly in the middle of (0,1); GIDD, arXiv 2503.04482, sec. 3.

    ``p_uniform`` and ``gamma`` are traced. InputError for a concrete p_uniform outside [0, 1) or gamma outside (0, 2]
    (above 2 the process would have negative rates).

    >>> schedule = schedules.hybrid(vocab_size=4, mask_id=3, p_uniform=0.2)
    >>> print(schedules.beta_pi(schedule, 0.5).round(3))  # some on tokens, most on the mask
    [0.067 0.067 0.067 0.4  ]
    """
    _check_vocab(vocab_size, mask_id)
    way_out = "must be in [0, 1); for purely uniform noise use schedules.log_snr(vocab_size, mask_id, shift=1000.0)"
    _check("p_uniform", p_uniform, lambda p: 0 <= p < 1, way_out)
    _check("gamma", gamma, lambda g: 0 < g <= 2, "must be in (0, 2]")
    return Hybrid(vocab_size, mask_id, p_uniform, gamma)


def log_snr(
    vocab_size: int,
    mask_id: int,
    scale: ArrayLike = 1.0,
    shift: ArrayLike = 0.0,
    min_log_snr: ArrayLike = -9.0,
    max_log_snr: ArrayLike = 9.0,
) -> LogSnr:
    """GIDD in log-SNR: pure masked noise at shift -1000, balanced at 0, pure uniform at +1000; arXiv 2512.10858.

    All four numbers are traced. InputError for a concrete non-finite number or an empty range.

    >>> schedule = schedules.log_snr(vocab_size=4, mask_id=3, shift=1000)  # no masks at all
    >>> [round(mass, 4) for mass in schedules.beta_pi(schedule, 0.0).tolist()]
    [0.1667, 0.1667, 0.1667, 0.0]
    """
    _check_vocab(vocab_size, mask_id)
    named = {"scale": scale, "shift": shift, "min_log_snr": min_log_snr, "max_log_snr": max_log_snr}
    for name, value in named.items():
        _check(name, value, lambda v: abs(v) < float("inf"), "must be finite")
    low, high = _concrete(min_log_snr), _concrete(max_log_snr)
    if low is not None and high is not None and not low < high:
        raise InputError(f"min_log_snr {low:g} is not below max_log_snr {high:g}")
    return LogSnr(vocab_size, mask_id, scale, shift, min_log_snr, max_log_snr)


def alpha(schedule: Schedule, t: ArrayLike) -> Float[Array, "..."]:
    """Mixing rate alpha(t): the share of tokens that the noise has not reached; 1 at the clean end.

    >>> schedule = schedules.linear(vocab_size=4, mask_id=3)
    >>> round(float(schedules.alpha(schedule, 0.25)), 6)
    0.75
    """
    return schedule.masses(t).keep


def beta_pi(schedule: Schedule, t: ArrayLike) -> Float[Array, "... V"]:
    """Mass the noise puts on each token: (1 - alpha(t)) pi_t, [..., V]; sums with alpha to 1.

    >>> schedule = schedules.linear(vocab_size=4, mask_id=3)
    >>> schedules.beta_pi(schedule, 0.25).tolist()
    [0.0, 0.0, 0.0, 0.25]
    """
    masses = schedule.masses(t)
    return over_vocab(schedule, masses.mask, masses.uniform)


def mass_at(schedule: Schedule, t: ArrayLike, ids: Integer[ArrayLike, "..."]) -> Float[Array, "..."]:
    """beta_pi(t) at given tokens only, of the shape of ids; t is broadcast over the sequence: scalar, [B] or [B,S]."""
    masses = schedule.masses(over_cells(t, jnp.ndim(ids)))
    return jnp.where(jnp.asarray(ids) == schedule.mask_id, masses.mask, masses.uniform)


def elbo_weight(
    schedule: Schedule, x: Integer[ArrayLike, "B S"], z: Integer[ArrayLike, "B S"], t: ArrayLike
) -> Float[Array, "B S"]:
    """w = ((beta pi)'(z) - alpha'/alpha (beta pi)(z)) / q_t(z|x), the weight of KL + Itakura-Saito in the ELBO.

    E_{z~q} w = -alpha'/alpha. Times 1 / p(t) where t is not uniform (log-SNR). Source: arXiv 2503.04482, ELBO.
    """
    z = jnp.asarray(z)
    return schedule.elbo_weights(over_cells(t)).at(z == schedule.mask_id, z == jnp.asarray(x))


def paper_clean(schedule: Schedule, t: ArrayLike) -> Float[Array, "..."]:
    """uniform / keep: the paper's dynamic weight at z = x.

    For ``hybrid`` at gamma 1 it is (B/N) e^(-l/2), l = log((1-t)/t). It follows the ratio of the ELBO weights at z = x
    and at noise, uniform / (keep + uniform), for small uniform.
    """
    masses = schedule.masses(t)
    return masses.uniform / jnp.maximum(masses.keep, 1e-30)


def log_snr_at(schedule: Schedule, t: ArrayLike) -> Float[Array, "..."]:
    """log(alpha / (1 - alpha)) of any schedule, with 1 - alpha summed from the noise and so exact near 0."""
    masses = schedule.masses(t)
    return jnp.log(masses.keep) - jnp.log(masses.mask + (schedule.vocab_size - 1) * masses.uniform)


def uniform_logit(schedule: Schedule, t: ArrayLike) -> Float[Array, "..."]:
    """logit of the share of the noise that is uniform: scale l + shift for ``log_snr``.

    The bridge between the two families: ``hybrid`` at gamma 1 has ln(2p/(1-p)) + 0.5 log((1-t)/t) exactly, so
    p_uniform p behaves like scale 0.5, shift ln(2p/(1-p)) with log((1-t)/t) in place of the log-SNR.
    """
    masses = schedule.masses(t)
    return jnp.log((schedule.vocab_size - 1) * masses.uniform) - jnp.log(masses.mask)


def over_cells(t: ArrayLike, rank: int = 2) -> Float[Array, "..."]:
    """A scalar, [B] or [B,S] time as an array of ``rank`` axes that broadcasts against cells."""
    t = _real(t)
    return t.reshape((t.shape if t.ndim else (1,)) + (1,) * (rank - max(t.ndim, 1)))


def over_vocab(schedule: Schedule, mask: Float[Array, "..."], other: Float[Array, "..."]) -> Float[Array, "... V"]:
    is_mask_V = jnp.arange(schedule.vocab_size) == schedule.mask_id
    return jnp.where(is_mask_V.reshape((1,) * mask.ndim + (-1,)), mask[..., None], other[..., None])


def _real(value: ArrayLike) -> Float[Array, "..."]:
    """As an array of at least float32; a Python number stays weakly typed and follows what it meets."""
    value = jnp.asarray(value)
    wide = jnp.issubdtype(value.dtype, jnp.floating) and value.dtype.itemsize >= 4
    return value if wide else value.astype(jnp.float32)


def _inside(t: ArrayLike) -> Float[Array, "..."]:
    return jnp.clip(_real(t), WEIGHT_EPS, 1 - WEIGHT_EPS)


def _concrete(value: ArrayLike) -> float | None:
    """The number, or None while it is being traced or is one of many."""
    try:
        return float(value) if jnp.ndim(value) == 0 else None
    except jax.errors.ConcretizationTypeError:
        return None


def _check(name: str, value: ArrayLike, fits: Any, message: str) -> None:
    number = _concrete(value)
    if number is not None and not fits(number):
        raise InputError(f"{name} {number:g} {message}")


def _check_vocab(vocab_size: int, mask_id: int) -> None:
    if vocab_size < 2 or not 0 <= mask_id < vocab_size:
        raise InputError(
            f"mask_id {mask_id} must be one of the tokens 0..{vocab_size - 1}, and there must be two at least"
        )
