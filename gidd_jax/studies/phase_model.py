"""Masked text -> logits and R: what training, evaluation and sampling of the phase study share."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from gidd_jax import schedules
from gidd_jax.models import dit, phase_core
from gidd_jax.studies.phase_settings import Config, Hyper
from gidd_jax.types import Tokens, Tree


class Seen(NamedTuple):
    """Logits of the clean tokens, R of every cell, and the hidden states the core read."""

    logits: Float[Array, "B S V"]
    r: Float[Array, "B S"]
    hidden: Float[Array, "B S D"]


def shape(config: Config, data: Tree) -> dit.DitConfig:
    """The transformer's static shape; it never sees t, which a masked text tells by its masks."""
    return dit.DitConfig(
        vocab_size=vocabulary(data),
        layers=config.layers,
        d_model=config.d_model,
        heads=config.heads,
        cond=config.cond,
        max_length=config.length,
        time=False,
        dtype=config.dtype,
        attention_kernel=config.attention_kernel,
    )


def core(config: Config) -> phase_core.CoreConfig:
    """The phase core's static shape."""
    return phase_core.CoreConfig(
        config.d_model,
        config.oscillators,
        config.core_steps,
        config.core_dt,
        config.phases,
        config.scope,
        config.debiased,
    )


def vocabulary(data: Tree) -> int:
    """Tokens, the mask included, which is the last."""
    return data["vocabulary"].shape[0]


def noise(data: Tree) -> schedules.Schedule:
    """Masks alone, 1 - t of the cells kept."""
    return schedules.linear(vocabulary(data), vocabulary(data) - 1)


def see(params: Tree, hyper: Hyper, config: Config, data: Tree, z: Tokens, clamp: ArrayLike = jnp.nan) -> Seen:
    """The model once. ``clamp`` (not NaN) takes the place of R in the modulation h (1 + alpha R), and only there."""
    mask = z == vocabulary(data) - 1

    def hook(hidden: Float[Array, "B S D"]) -> tuple[Float[Array, "B S D"], tuple[Array, Array]]:
        stopped = jax.lax.stop_gradient(hidden)
        r = phase_core.apply(
            params["core"], core(config), stopped + hyper.core_gradient * (hidden - stopped), hyper.coupling, mask
        )
        used = jnp.where(jnp.isnan(clamp), r, clamp)
        return hidden * (1 + hyper.modulation * used[..., None]), (r, hidden)

    logits, (r, hidden) = dit.hooked(params["dit"], shape(config, data), z, 0.0, config.core_layer, hook)
    return Seen(logits[..., : vocabulary(data)], r, hidden)
