"""Gradients -> parameter updates. Rates and decay are traced Hypers; the shape of the schedule is static."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from gidd_jax.types import Scalar, Tree

SCHEDULES = ("constant", "cosine")


class OptimState(NamedTuple):
    """Adam's moments, and the running average of the parameters where one is kept (else ())."""

    adam: Tree
    average: Tree


def unit_schedule(i: Int[Array, ""], schedule: str, warmup: int, steps: int) -> Float[Array, ""]:
    """Share of the peak learning rate at step i: linear warm-up, then constant, or a cosine to 1 % at ``steps``."""
    i = i.astype(jnp.float32)
    rise = jnp.minimum((i + 1) / max(warmup, 1), 1.0) if warmup else jnp.float32(1)
    if schedule == "constant":
        return rise
    done = jnp.clip((i - warmup) / max(steps - warmup, 1), 0.0, 1.0)
    return rise * (0.01 + 0.99 * 0.5 * (1 + jnp.cos(jnp.pi * done)))


def init(params: Tree, keep_average: bool) -> OptimState:
    """Zero moments; the average starts at the parameters."""
    average = jax.tree.map(jnp.copy, params) if keep_average else ()
    return OptimState(optax.scale_by_adam().init(params), average)


def update(
    grads: Tree,
    state: OptimState,
    params: Tree,
    rate: Scalar,
    decay: Scalar,
    b2: Scalar,
    average: float = 0.0,
    clip: float = 0.0,
    trainable: Tree | None = None,
) -> tuple[Tree, OptimState]:
    """One AdamW step: params - rate (m/(sqrt(v)+1e-8) + decay params); plain Adam at ``decay`` 0.

    ``trainable`` (a tree of booleans) masks *updates*, not gradients: moments move on, frozen parameters do not.
    ``clip`` bounds the global gradient norm (0: off); ``average`` is the decay of the running average (0: none kept).
    """
    if clip:
        norm = optax.tree.norm(grads)
        grads = jax.tree.map(lambda g: g * jnp.minimum(1.0, clip / jnp.maximum(norm, 1e-12)), grads)
    direction, adam = optax.scale_by_adam(b1=0.9, b2=b2, eps=1e-8).update(grads, state.adam)
    moved = jax.tree.map(lambda p, d: p - rate * (d + decay * p), params, direction)
    if trainable is not None:
        moved = jax.tree.map(lambda free, new, old: new if free else old, trainable, moved, params)
    if not average:
        return moved, OptimState(adam, ())
    return moved, OptimState(adam, jax.tree.map(lambda a, p: average * a + (1 - average) * p, state.average, moved))
