"""The phase study: a masked language model with a Kuramoto phase core whose R guides unmasking. Does R matter?

This module *is* the study: ``init``, ``step`` and ``evaluate`` are pure functions of one replica.
"""

import jax
import jax.numpy as jnp

from gidd_jax import corruption, export, losses, train
from gidd_jax.kernels import Shape
from gidd_jax.models import dit, phase_core
from gidd_jax.studies.phase_evaluation import evaluate, guess
from gidd_jax.studies.phase_model import core, noise, see, shape
from gidd_jax.studies.phase_settings import Config, Hyper
from gidd_jax.studies.text_data import load, stretch
from gidd_jax.types import Mask, Mean, Metrics, PRNGKey, Scalar, Tokens, Tree

__all__ = ["Config", "Hyper", "batch", "check", "evaluate", "init", "load", "loss", "per_step", "step"]

name = "phase"
unit = "tokens"
splits = ("validation",)


def per_step(config: Config) -> int:
    """Tokens one replica sees in a step."""
    return config.batch * config.length


def attention_shape(config: Config, data: Tree) -> Shape:
    """Of a training step, for the race of kernels."""
    return Shape(config.batch, config.heads, config.length, config.d_model // config.heads)


def check(hypers: Hyper, config: Config, data: Tree) -> None:
    """Raises InputError, before anything compiles, for a model that cannot be."""
    shape(config, data)
    core(config)


def init(key: PRNGKey, hyper: Hyper, config: Config, data: Tree) -> train.TrainState:
    """Fresh parameters of transformer and core, or those of ``init_from``."""
    dit_key, core_key = jax.random.split(key)
    fresh = {"dit": dit.init(dit_key, shape(config, data)), "core": phase_core.init(core_key, core(config))}
    return train.start(export.adopt(data["params"], fresh) if "params" in data else fresh, config)


def batch(key: PRNGKey, hyper: Hyper, config: Config, data: Tree, i: jax.Array) -> tuple[Tokens, Mask]:
    """Training sequences [B,S], and which cells are text rather than padding."""
    return stretch(key, config, data, 0, config.batch)


def loss(
    params: Tree, drawn: tuple[Tokens, Mask], key: PRNGKey, hyper: Hyper, config: Config, data: Tree, i: jax.Array
) -> tuple[Scalar, Metrics]:
    """The masked ELBO in nats a token (arXiv 2406.07524) + core_weight times the core's calibration loss.

    The transformer's gradient of the second is scaled by core_gradient, 0 by default: then R only reads.
    """
    x, valid = drawn
    time_key, noise_key = jax.random.split(key)
    schedule = noise(data)
    t = corruption.sample_times(time_key, schedule, (len(x),), True)
    z, _ = corruption.corrupt(noise_key, schedule, x, t, ~valid)
    seen = see(params, hyper, config, data, z)
    hidden = (z == schedule.mask_id) & valid
    nats = jnp.where(valid, losses.masked_elbo(seen.logits, x, z, t, schedule.mask_id), 0.0)
    right = guess(seen.logits, schedule.mask_id) == x
    calibration = phase_core.calibration_loss(seen.r, right, hidden)
    cells = jnp.maximum(valid.sum(), 1)
    metrics = {
        "elbo": Mean(nats.sum(), cells),
        "core_loss": Mean(calibration * hidden.sum(), hidden.sum()),
        "right/t": losses.by_time(right, hidden, t),
        "r/t": losses.by_time(seen.r, hidden, t),
    }
    return nats.sum() / cells + hyper.core_weight * calibration, metrics


step = train.gradient_step(batch, loss)
