"""Sampling of masked diffusion: a model call only at steps at which some cell is revealed."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Int, Integer

from gidd_jax import schedules
from gidd_jax.sampling.draws import clean_probs, draw, keys_by_step
from gidd_jax.sampling.gidd import Denoise, TimeGrid, by_row
from gidd_jax.types import PRNGKey


def masked(
    key: PRNGKey,
    schedule: schedules.Schedule,
    denoise: Denoise,
    z: Integer[ArrayLike, "B S"],
    times: TimeGrid,
    protected: Bool[ArrayLike, "B S"] | None = None,
    temperature: ArrayLike = 1.0,
) -> tuple[Int[Array, "B S"], Int[Array, ""]]:
    """Fill the masks of z -> (tokens, model calls made): the law of ``ancestral`` under ``linear`` at p_uniform 0.

    At each of ``times`` (in (0,1), noisy to clean) a masked cell is revealed with probability 1 - s/t, s the next time
    and 0 at last; the model runs only if one is. That is MDLM's sampler with cached predictions (arXiv 2406.07524,
    sec. 4.1), without the cache, and right for a model that sees t. Consumes ``key``.
    """
    z, times_TxB = jnp.asarray(z), by_row(times, jnp.shape(z)[0])
    cleaner_TxB = jnp.concatenate([times_TxB[1:], jnp.zeros_like(times_TxB[:1])])

    step_key = keys_by_step(key)

    def step(state, inputs):
        z, calls = state
        i, t_B, s_B = inputs
        revealed = (z == schedule.mask_id) & (jax.random.uniform(step_key(2 * i), z.shape) >= (s_B / t_B)[:, None])
        if protected is not None:
            revealed &= ~jnp.asarray(protected)

        def fill(z):
            tokens = draw(step_key(2 * i + 1), clean_probs(schedule, denoise(z, t_B), temperature))
            return jnp.where(revealed, tokens.astype(z.dtype), z)

        needed = revealed.any()
        return (jax.lax.cond(needed, fill, lambda z: z, z), calls + needed), None

    steps = jnp.arange(times_TxB.shape[0])
    return jax.lax.scan(step, (z, jnp.int32(0)), (steps, times_TxB, cleaner_TxB))[0]
