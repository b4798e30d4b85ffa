"""Time -> how much of the clean token is left, and what replaces the rest.

A schedule is a pytree of traced numbers, so one compiled program runs many noise mixes. Tokens are 0..V-1, one of
them the mask; time t is a scalar, [B] or [B,S].
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gidd_jax.types import Scalar, Times


@functools.partial(jax.tree_util.register_dataclass, data_fields=["p_uniform"], meta_fields=["vocab_size", "mask_id"])
@dataclasses.dataclass(frozen=True)
class Linear:
    """q_t(z|x) = (1-t) [z=x] + t pi(z), with a mixing distribution pi that does not change in time.

    ``pi = p_uniform * u + (1 - p_uniform) * m``: u uniform over all tokens but the mask, m the mask alone.
    """

    vocab_size: int
    mask_id: int
    p_uniform: Scalar


def linear(vocab_size: int, mask_id: int, p_uniform: Scalar = 0.0) -> Linear:
    """Plain masked noise at ``p_uniform`` 0 (MDLM), plain uniform noise at 1, any mix between; p_uniform is traced."""
    return Linear(vocab_size, mask_id, p_uniform)


def alpha(schedule: Linear, t: Times) -> Float[Array, "..."]:
    """Mixing rate alpha(t) = 1 - t: the share of tokens that the noise has not reached."""
    return 1.0 - jnp.asarray(t)


def beta_pi(schedule: Linear, t: Times) -> Float[Array, "... V"]:
    """Mass the noise puts on each token: (1 - alpha(t)) pi, [..., V]; sums with alpha to 1."""
    ids = jnp.arange(schedule.vocab_size)
    uniform = schedule.p_uniform / (schedule.vocab_size - 1)
    pi_V = jnp.where(ids == schedule.mask_id, 1.0 - schedule.p_uniform, uniform)
    t = jnp.asarray(t)[..., None]
    return t * pi_V.reshape((1,) * (t.ndim - 1) + pi_V.shape)
