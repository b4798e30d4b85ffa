"""Boards -> noised boards -> both heads: what training and evaluation share."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from gidd_jax import corruption, losses, schedules
from gidd_jax.data.sudoku.board import Box
from gidd_jax.losses import Noised
from gidd_jax.models import two_head
from gidd_jax.studies.sudoku_settings import Config, Hyper
from gidd_jax.types import Metrics, PRNGKey, Tree


def shape(config: Config, data: Tree) -> two_head.TwoHeadConfig:
    """The model's static shape: the study's settings and the box of the boards."""
    cells = data["question"].shape[1]
    box = Box.of(cells)
    fields = {field.name for field in dataclasses.fields(two_head.TwoHeadConfig)}
    own = {field: value for field, value in dataclasses.asdict(config).items() if field in fields}
    own |= {"d_ff": config.d_ff or 4 * config.d_model, "mask_token": config.noise == "masked" or config.gated}
    return two_head.TwoHeadConfig(cells, box.size, box.rows, box.cols, **own)


def measuring(config: Config) -> Config:
    """The config a trained model is measured and decoded with: ``eval_iterations`` passes of the stack."""
    return dataclasses.replace(config, iterations=config.eval_iterations or config.iterations)


def noise(config: Config, digits: int) -> schedules.Linear:
    """The corruption: digits 0..n-1, the mask n."""
    return schedules.linear(digits + 1, digits, 1.0 if config.noise == "uniform" else 0.0)


def couplings(hyper: Hyper, config: Config, i: jax.Array) -> two_head.Couplings:
    """The dials at step i: the config's dial may ramp linearly from ``ramp_from`` to its value, and the true labels may
    fade out of the gate.
    """
    values = {dial: getattr(hyper, dial) for dial in two_head.Couplings._fields}
    begun = i - hyper.ramp_after
    share = jnp.where(hyper.ramp_steps > 0, begun / jnp.maximum(hyper.ramp_steps, 1), 1.0).clip(0.0, 1.0)
    values[config.dial] = hyper.ramp_from + (values[config.dial] - hyper.ramp_from) * share
    values[config.dial] = jnp.where(share < 1, values[config.dial], getattr(hyper, config.dial))
    faded = jnp.where(hyper.truth_steps > 0, i / jnp.maximum(hyper.truth_steps, 1), 0.0).clip(0.0, 1.0)
    values["gate_truth"] = values["gate_truth"] * (1 - faded)
    return two_head.Couplings(**values)


def evaluation_couplings(hyper: Hyper, config: Config, i: jax.Array) -> two_head.Couplings:
    """The dials a model of step i is measured and decoded with: its own, but for a gate of its own."""
    dials = couplings(hyper, config, i)
    return dials._replace(gate=jnp.where(hyper.eval_gate < 0, dials.gate, hyper.eval_gate))


def final_couplings(hyper: Hyper, config: Config) -> two_head.Couplings:
    """The dials that a trained model is used with."""
    return evaluation_couplings(hyper, config, jnp.int32(config.steps))


def weights(hyper: Hyper, i: jax.Array) -> losses.TwoHeadWeights:
    """What each term of the loss counts at step i: the jump from ``jump_from`` on, the rest up to ``holding_until``."""
    asks = (hyper.holding_until == 0) | (i < hyper.holding_until)
    return losses.TwoHeadWeights(
        jnp.where(i >= hyper.jump_from, hyper.jump_weight, 0.0),
        *(
            jnp.where(asks, weight, 0.0)
            for weight in (
                hyper.holding_weight,
                hyper.divergence_weight,
                hyper.divergence_resampled_weight,
                hyper.interpolating_weight,
            )
        ),
    )


def trains(params: Tree, hyper: Hyper, i: jax.Array) -> Tree:
    """Which parameters move at step i, broadcastable to each: a head, and a tower, only while its loss counts.

    A shared trunk moves until ``trunk_until``, whatever the heads do.
    """
    holding = (hyper.holding_until == 0) | (i < hyper.holding_until)
    jump = i >= hyper.jump_from
    trunk = (hyper.trunk_until == 0) | (i < hyper.trunk_until)
    own = {"holding": holding, "jump": jump, "feedback": jump}

    def moves(path: tuple, leaf: jax.Array) -> jax.Array:
        if (name := path[0].key) in own:
            return own[name]
        if leaf.shape[0] == 1:
            return trunk
        return (trunk & jnp.stack([holding, jump])).reshape(2, *[1] * (leaf.ndim - 1))

    return jax.tree_util.tree_map_with_path(moves, params)


def noised(key: PRNGKey, config: Config, question: jax.Array, answer: jax.Array, t: jax.Array) -> Noised:
    """Corrupts B boards (uint8 [B,S]) at times t, givens untouched; consumes ``key``."""
    x, given = answer.astype(jnp.int32) - 1, question > 0
    digits = Box.of(x.shape[1]).size
    z, resampled = corruption.corrupt(key, noise(config, digits), x, t, given)
    return Noised(x, z, given, resampled, resampled if config.label == "resampled" else z != x, t)


def predict(params: Tree, config: Config, data: Tree, shown: Noised, dials: two_head.Couplings, **how: Any) -> Any:
    """Both heads on noised boards."""
    return two_head.apply(params, shape(config, data), shown.z + 1, shown.given, shown.t, dials, **how)


def measured(heads: two_head.Heads, shown: Noised) -> Metrics:
    """What the heads of the last iteration do on these boards."""
    jump, holding = jax.lax.stop_gradient((heads.jump[-1], heads.holding[-1]))
    return losses.two_head_metrics(jump, holding, shown)
