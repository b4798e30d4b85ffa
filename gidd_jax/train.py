"""The one training loop: a batch function and a loss function -> one step of one replica."""

import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gidd_jax import optim
from gidd_jax.errors import InputError
from gidd_jax.types import Metrics, PRNGKey, Scalar, Tree


class TrainState(NamedTuple):
    """What a replica that learns carries: parameters and the optimiser's state."""

    params: Tree
    optim: optim.OptimState


def gradient_step(
    batch: Callable[[PRNGKey, Any, Any, Tree, jax.Array], Tree],
    loss: Callable[[Tree, Tree, PRNGKey, Any, Any, Tree, jax.Array], tuple[Scalar, Metrics]],
    trains: Callable[[Tree, Any, Any, jax.Array], Tree] | None = None,
) -> Callable[..., tuple[TrainState, Metrics, jax.Array]]:
    """A study's ``step`` from ``batch(key, hyper, config, data, i)`` and its loss.

    The loss is ``loss(params, batch, key, hyper, config, data, i) -> (scalar, metrics)``. ``trains(params, hyper,
    config, i)`` may say which parameters move: booleans that broadcast to each.
    The step returns (state, metrics, healthy): healthy is False where the loss, the gradient norm or any new number of
    the state is not finite. hyper needs learning_rate, weight_decay, b2; config is an ``optim.OptimConfig``.
    """

    def step(state, key, hyper, config, data, i):
        batch_key, loss_key = jax.random.split(key)
        drawn = batch(batch_key, hyper, config, data, i)
        grad = jax.value_and_grad(lambda params: loss(params, drawn, loss_key, hyper, config, data, i), has_aux=True)
        (value, metrics), grads = grad(state.params)
        rate = hyper.learning_rate * optim.unit_schedule(i + 1, config)
        params, moments = optim.update(
            grads,
            state.optim,
            state.params,
            rate,
            hyper.weight_decay,
            hyper.b2,
            config,
            _moving(state.params, hyper, config, i),
        )
        norm = optax.tree.norm(grads)
        new = TrainState(params, moments)
        # Moments and averages are finite if the squares of the gradient and the parameters are.
        healthy = jnp.isfinite(value) & jnp.isfinite(norm) & all_finite(params)
        return new, metrics | {"gradient_norm": norm}, healthy

    def _moving(params: Tree, hyper: Any, config: Any, i: jax.Array) -> Tree | None:
        masks = [trainable(params, config.frozen)] if config.frozen else []
        masks += [trains(params, hyper, config, i)] if trains else []
        return jax.tree.map(lambda *free: functools.reduce(jnp.logical_and, free), *masks) if masks else None

    return step


def start(params: Tree, config: optim.OptimConfig) -> TrainState:
    """The state before the first step."""
    return TrainState(params, optim.init(params, config))


def evaluated(state: TrainState, config: optim.OptimConfig) -> Tree:
    """The parameters that evaluation uses: the running average where one is kept."""
    return state.optim.average if config.average else state.params


def trainable(params: Tree, frozen: str) -> Tree:
    """True for each parameter whose path (``a/b/kernel``) the regular expression ``frozen`` does not match.

    Raises InputError where it matches nothing, or everything.
    """
    free = jax.tree_util.tree_map_with_path(lambda path, _: not re.search(frozen, path_name(path)), params)
    if len(set(jax.tree.leaves(free))) < 2:
        names = ", ".join(path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params))
        raise InputError(f"--frozen {frozen!r} must match some parameters and leave some; they are {names}")
    return free


def path_name(path: tuple) -> str:
    """A parameter's path as ``a/b/kernel``."""
    return "/".join(str(getattr(part, "key", getattr(part, "name", part))) for part in path)


def all_finite(tree: Tree) -> jax.Array:
    """Whether every floating number of the tree is finite."""
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.stack([jnp.isfinite(x).all() for x in leaves]).all()
