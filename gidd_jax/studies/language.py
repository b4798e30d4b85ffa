"""The language study: GIDD on text, or on a source of known law, over any mix of masks and uniform tokens.

This module *is* the study: ``init``, ``step`` and ``evaluate`` are pure functions of one replica.
"""

import jax
import jax.numpy as jnp
import numpy as np

from gidd_jax import corruption, export, losses, train
from gidd_jax.errors import InputError
from gidd_jax.kernels import Shape
from gidd_jax.models import dit
from gidd_jax.studies.language_evaluation import evaluate
from gidd_jax.studies.language_model import lazy, logits, noise, shape, time_seen
from gidd_jax.studies.language_settings import MIXES, Config, Hyper
from gidd_jax.studies.text_data import load, stretch
from gidd_jax.types import Mask, Metrics, PRNGKey, Scalar, Tokens, Tree

__all__ = ["Config", "Hyper", "batch", "check", "evaluate", "init", "load", "loss", "per_step", "step"]

name = "language"
unit = "tokens"
splits = ("validation",)
presets = {
    name: {
        **sizes,
        "cond": 128,
        "length": 512,
        "batch": 512,
        "noise": "hybrid",
        "crop": "documents",
        "b1": 0.9,
        "eps": 1e-9,
    }
    | {"schedule": "cosine", "warmup": 10_000, "floor": 0.1, "clip": 1.0, "dtype": "bfloat16", "steps": 500_000}
    for name, sizes in dit.PRESETS.items()
}
"""The published sizes of arXiv 2503.04482 with its schedule; its rate 5e-4 and weight decay .02 are dials."""


def per_step(config: Config) -> int:
    """Tokens one replica sees in a step."""
    return config.batch * config.length


def attention_shape(config: Config, data: Tree) -> Shape:
    """Of a training step, for the race of kernels."""
    return Shape(config.batch, config.heads, config.length, config.d_model // config.heads)


def check(hypers: Hyper, config: Config, data: Tree) -> None:
    """Raises InputError, before anything compiles, for a dial of the other kind of noise or a model that cannot be."""
    shape(config, data)
    for kind, dials in MIXES.items():
        for dial in dials:
            if kind != config.noise and np.any(getattr(hypers, dial) != np.float32(getattr(Hyper(), dial))):
                raise InputError(f"{dial} moves nothing here: it needs --noise {kind}")


def init(key: PRNGKey, hyper: Hyper, config: Config, data: Tree) -> train.TrainState:
    """Fresh parameters, or those of ``init_from``."""
    fresh = dit.init(key, shape(config, data))
    return train.start(export.adopt(data["params"], fresh) if "params" in data else fresh, config)


def batch(key: PRNGKey, hyper: Hyper, config: Config, data: Tree, i: jax.Array) -> tuple[Tokens, Mask]:
    """Training sequences [B,S], and which cells are text rather than padding."""
    return stretch(key, config, data, 0, config.batch)


def loss(
    params: Tree, drawn: tuple[Tokens, Mask], key: PRNGKey, hyper: Hyper, config: Config, data: Tree, i: jax.Array
) -> tuple[Scalar, Metrics]:
    """GIDD's loss in nats a token under the row's noise, padding noised and counted only if asked for; ELBO by t."""
    x, valid = drawn
    valid = valid if config.padding == "ignored" else jnp.ones_like(valid)
    time_key, noise_key = jax.random.split(key)
    schedule = noise(hyper, config, data)
    t = corruption.sample_times(time_key, schedule, (len(x),), config.low_discrepancy)
    z, _ = corruption.corrupt(noise_key, schedule, x, t, ~valid)
    guess = (lazy if _large(config, data) else logits)(params, config, data, z, time_seen(schedule, t))
    return losses.gidd_loss(
        schedule, guess, x, z, t, config.weighting, hyper.min_weight, hyper.max_weight, valid, hyper.is_weight
    )


step = train.gradient_step(batch, loss)


def _large(config: Config, data: Tree) -> bool:
    cells = config.batch * config.length
    return 0 < config.chunk < cells or cells * data["vocabulary"].shape[0] > 2**26
