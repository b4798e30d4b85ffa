"""How much a known source has to say, in nats: the floor of every likelihood bound that is trained on it."""

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gidd_jax import corruption, schedules
from gidd_jax.errors import InputError
from gidd_jax.known.chain import log_likelihood, log_marginal
from gidd_jax.known.source import Source, sample
from gidd_jax.types import PRNGKey

ENUMERABLE = 2**20
"""Sequences that are summed over one by one; where there are more, they are drawn."""

CHUNK = 2**16
"""Of these, so many at once."""


class Estimate(NamedTuple):
    """Nats of a whole sequence, and the standard error of the draws: 0 unless ``how`` is "monte carlo"."""

    nats: float
    standard_error: float
    how: Literal["closed form", "enumeration", "monte carlo"]


def entropy_rate(source: Source) -> Float[Array, ""]:
    """sum_z p(z) H(row z), the nats of a token when all before it are known; jit- and vmap-safe.

    Source: Cover & Thomas, Elements of Information Theory, theorem 4.2.4. Raises InputError for hidden states, whose
    rate has no closed form.
    """
    if not source.order:
        raise InputError("the entropy rate of a hidden Markov model has no closed form: take entropy(source, length)")
    return source.initial @ _entropy(source.transition)


def entropy(source: Source, length: int, key: PRNGKey | None = None, draws: int = 4096) -> Estimate:
    """H(x_1 ... x_length) of a stationary sequence, nats; on the host.

    Markov chains no shorter than their order: H(states) + (length - order) entropy_rate. Others: the sum over all V^S
    sequences up to 2^20 of them, and else the mean of -log P over ``draws``, which needs (and consumes) ``key``.
    """
    if source.order and length >= source.order:
        nats = _entropy(source.initial) + (length - source.order) * entropy_rate(source)
        return Estimate(float(nats), 0.0, "closed form")
    if source.vocab**length <= ENUMERABLE:
        return Estimate(_enumerated(source, length), 0.0, "enumeration")
    if key is None:
        raise InputError(f"{source.vocab}^{length} sequences are too many to sum over: give a key to draw some")
    return _mean(-log_likelihood(source, sample(key, source, draws, length)))


def elbo_floor(key: PRNGKey, source: Source, schedule: schedules.Schedule, length: int, draws: int = 4096) -> Estimate:
    """The expected ``gidd_terms(...).elbo`` of the best model, summed over a sequence, for t from ``sample_times``.

    With the belief ``cavity`` the rate of the ELBO is -d I(x; z_t)/dt exactly, so its mean over times from a (clean)
    to b (noisy) is (I(x; z_a) - I(x; z_b)) / width: H(x), less what z_a does not tell and z_b still does, over the
    width of the range in t on (0,1). Drawn, so an estimate; most of it is H(x), which adds no error where it is exact.
    Consumes ``key``.
    """
    entropy_key, draw_key = jax.random.split(key)
    whole = entropy(source, length, entropy_key, draws)
    missing = _mean(_missing(draw_key, source, schedule, length, draws))
    width = float(schedule.unit_time(schedule.time_of(1.0)) - schedule.unit_time(schedule.time_of(0.0)))
    error = np.hypot(whole.standard_error, missing.standard_error)
    return Estimate((whole.nats - missing.nats) / width, float(error) / width, "monte carlo")


@functools.partial(jax.jit, static_argnames=("length", "draws"))
def _missing(key: PRNGKey, source: Source, schedule: schedules.Schedule, length: int, draws: int) -> Float[Array, "B"]:
    """-log P(x | z_a) + log q_b(z|x) / q_b(z) of one x and one z each, whose mean is H(x|z_a) + I(x; z_b)."""
    sample_key, noise_key = jax.random.split(key)
    x = sample(sample_key, source, draws, length)
    both, t = jnp.concatenate([x, x]), jnp.repeat(schedule.time_of(jnp.array([0.0, 1.0])), draws)
    z, _ = corruption.corrupt(noise_key, schedule, both, t)
    keep, noise = schedules.alpha(schedule, schedules.over_cells(t)), schedules.mass_at(schedule, t, z)
    told = jnp.log(keep * (z == both) + noise).sum(-1) - log_marginal(source, schedule, z, t)
    return told[draws:] - told[:draws] - log_likelihood(source, x)


def _enumerated(source: Source, length: int) -> float:
    """-sum p log p over every sequence, in float64 over float32 likelihoods."""
    total, place = source.vocab**length, source.vocab ** np.arange(length)
    nats = 0.0
    for first in range(0, total, CHUNK):
        number = np.arange(first, min(first + CHUNK, total))
        log_p = np.asarray(log_likelihood(source, number[:, None] // place % source.vocab), np.float64)
        nats -= float((np.exp(log_p) * log_p)[np.isfinite(log_p)].sum())
    return nats


def _entropy(p: Float[Array, "*n V"]) -> Float[Array, "*n"]:
    return -jnp.where(p > 0, p * jnp.log(jnp.where(p > 0, p, 1.0)), 0.0).sum(-1)


def _mean(values: Float[Array, "B"]) -> Estimate:
    values = np.asarray(values, np.float64)
    return Estimate(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))), "monte carlo")
