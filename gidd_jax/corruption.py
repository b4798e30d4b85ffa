"""Clean tokens and times -> noised tokens. Never makes a [B,S,V] tensor: keep / mask / uniform are three draws."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Integer

from gidd_jax import schedules
from gidd_jax.types import Mask, PRNGKey, Tokens


def corrupt(
    key: PRNGKey,
    schedule: schedules.Schedule,
    x: Integer[ArrayLike, "B S"],
    t: ArrayLike,
    protected: Bool[ArrayLike, "B S"] | None = None,
) -> tuple[Tokens, Mask]:
    """Draws z ~ q_t(.|x) cell by cell -> (z [B,S], resampled [B,S]); consumes ``key``.

    A cell is resampled with probability 1 - alpha(t), whatever it then draws: under uniform noise one of V - 1
    resampled cells shows its clean token again. ``protected`` cells never change. t: scalar, [B] or [B,S].

    >>> schedule = schedules.linear(vocab_size=3, mask_id=2)
    >>> x = jnp.array([[0, 1, 0, 1]])
    >>> given = jnp.array([[True, False, False, True]])
    >>> z, resampled = corruption.corrupt(jax.random.key(0), schedule, x, t=1.0, protected=given)
    >>> z.tolist(), resampled.tolist()
    ([[0, 2, 2, 1]], [[False, True, True, False]])
    """
    keep_key, noise_key = jax.random.split(key)
    x = jnp.asarray(x)
    t = schedules.over_cells(t)
    resampled = jax.random.uniform(keep_key, x.shape) >= schedules.alpha(schedule, t)
    if protected is not None:
        resampled &= ~jnp.asarray(protected)
    return jnp.where(resampled, prior(noise_key, schedule, x.shape, t), x), resampled


def prior(key: PRNGKey, schedule: schedules.Schedule, shape: tuple[int, int], t: ArrayLike) -> Int[Array, "B S"]:
    """Draws from pi_t, the noise alone: what a reverse process that starts at t begins with. Consumes ``key``.

    Not all masks: the mask has the share mask / (mask + N uniform), which at t = 1 - 1e-4 and p_uniform .9 is 85%.
    """
    mask_key, token_key = jax.random.split(key)
    masses = schedule.masses(schedules.over_cells(t))
    uniform = (schedule.vocab_size - 1) * masses.uniform
    # Uniform over the V - 1 tokens that are not the mask: draw from 0..V-2 and step over the mask's place.
    token = jax.random.randint(token_key, shape, 0, schedule.vocab_size - 1)
    token += token >= schedule.mask_id
    # Without noise at all (t = 0) the share is 0/0: any token will do, nothing is resampled.
    masked = jax.random.uniform(mask_key, shape) * (masses.mask + uniform) >= uniform
    return jnp.where(masked, schedule.mask_id, token)


def marginal(schedule: schedules.Schedule, probs: Float[ArrayLike, "B S V"], t: ArrayLike) -> Float[Array, "B S V"]:
    """q_t(z) = alpha(t) probs + beta(t) pi for a distribution over clean tokens, [B,S,V].

    >>> schedule = schedules.linear(vocab_size=3, mask_id=2)
    >>> corruption.marginal(schedule, jnp.array([[[0.5, 0.5, 0.0]]]), 0.5).tolist()
    [[[0.25, 0.25, 0.5]]]
    """
    t = schedules.over_cells(t)
    return schedules.alpha(schedule, t)[..., None] * jnp.asarray(probs) + schedules.beta_pi(schedule, t)


def sample_times(
    key: PRNGKey, schedule: schedules.Schedule, shape: tuple[int, ...], low_discrepancy: bool = True
) -> Float[Array, "..."]:
    """Times of ``shape`` ([B] or [B,S]) for the ELBO: t in [1e-4, 1 - 1e-4], or log-SNRs; consumes ``key``.

    Low discrepancy spreads one uniform number over the first axis, so draw for the whole batch and then split it.
    """
    if low_discrepancy:
        u = spread(jax.random.uniform(key, shape[1:]), shape[0])
    else:
        u = jax.random.uniform(key, shape)
    return schedule.time_of(u)


def spread(u: Float[ArrayLike, "..."], count: int) -> Float[Array, "B ..."]:
    """frac(i / count + u), i = 0..count-1: uniform each, and one in every interval of length 1 / count."""
    u = jnp.asarray(u)
    return (jnp.arange(count).reshape((-1,) + (1,) * u.ndim) / count + u[None]) % 1.0


def uniform_times(key: PRNGKey, count: int, low_discrepancy: bool, floor: float = 0.0) -> Float[Array, "B"]:
    """Times in (0,1), one a sequence: independent, or frac(i/B + U) for low discrepancy; clamped below at ``floor``."""
    if low_discrepancy:
        t = spread(jax.random.uniform(key), count)
    else:
        t = jax.random.uniform(key, (count,))
    return jnp.maximum(t, floor)
