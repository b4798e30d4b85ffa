"""Clean tokens and times -> noised tokens. Never makes a [B,S,V] tensor: keep / mask / uniform are three draws."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gidd_jax import schedules
from gidd_jax.types import Mask, PRNGKey, Times, Tokens


def corrupt(
    key: PRNGKey, schedule: schedules.Linear, x: Tokens, t: Times, protected: Mask | None = None
) -> tuple[Tokens, Mask]:
    """Draws z ~ q_t(.|x) cell by cell -> (z [B,S], resampled [B,S]); consumes ``key``.

    A cell is resampled with probability 1 - alpha(t), whatever it then draws: under uniform noise one of V - 1
    resampled cells shows its clean token again. ``protected`` cells never change. t: scalar, [B] or [B,S].
    """
    keep_key, mask_key, token_key = jax.random.split(key, 3)
    t = jnp.asarray(t)
    t_BxS = jnp.broadcast_to(t[:, None] if t.ndim == 1 else t, x.shape)
    resampled = jax.random.uniform(keep_key, x.shape) >= schedules.alpha(schedule, t_BxS)
    if protected is not None:
        resampled &= ~protected
    # Uniform over the V - 1 tokens that are not the mask: draw from 0..V-2 and step over the mask's place.
    token = jax.random.randint(token_key, x.shape, 0, schedule.vocab_size - 1)
    token += token >= schedule.mask_id
    masked = jax.random.uniform(mask_key, x.shape) >= schedule.p_uniform
    noise = jnp.where(masked, schedule.mask_id, token)
    return jnp.where(resampled, noise, x), resampled


def marginal(schedule: schedules.Linear, probs: Float[Array, "B S V"], t: Times) -> Float[Array, "B S V"]:
    """q_t(z) = alpha(t) probs + beta(t) pi for a distribution over clean tokens, [B,S,V]."""
    t = jnp.asarray(t)
    t = t.reshape(t.shape + (1,) * (2 - t.ndim)) if t.ndim else t.reshape(1, 1)
    return schedules.alpha(schedule, t)[..., None] * probs + schedules.beta_pi(schedule, t)


def uniform_times(key: PRNGKey, count: int, low_discrepancy: bool, floor: float = 0.0) -> Float[Array, "B"]:
    """Times in (0,1), one a sequence: independent, or frac(i/B + U) for low discrepancy; clamped below at ``floor``."""
    if low_discrepancy:
        t = (jnp.arange(count) / count + jax.random.uniform(key)) % 1.0
    else:
        t = jax.random.uniform(key, (count,))
    return jnp.maximum(t, floor)
