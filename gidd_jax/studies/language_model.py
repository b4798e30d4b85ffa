"""Noised text -> logits: what training, evaluation and sampling of the language study share."""

import jax

from gidd_jax import losses, schedules
from gidd_jax.models import dit
from gidd_jax.studies.language_settings import Config, Hyper
from gidd_jax.types import Times, Tokens, Tree

CHUNK = 1024


def shape(config: Config, data: Tree) -> dit.DitConfig:
    """The model's static shape."""
    return dit.DitConfig(
        vocab_size=data["vocabulary"].shape[0],
        layers=config.layers,
        d_model=config.d_model,
        heads=config.heads,
        cond=config.cond,
        max_length=config.length,
        time=config.time,
        dtype=config.dtype,
        attention_kernel=config.attention_kernel,
    )


def noise(hyper: Hyper, config: Config, data: Tree) -> schedules.Schedule:
    """The row's corruption; the mask is the last id."""
    vocab = data["vocabulary"].shape[0]
    if config.noise == "log_snr":
        return schedules.log_snr(vocab, vocab - 1, hyper.scale, hyper.shift)
    return schedules.hybrid(vocab, vocab - 1, hyper.p_uniform, hyper.gamma)


def time_seen(schedule: schedules.Schedule, t: Times) -> Times:
    """What the model is told of t: 0 clean, 1 noise, whatever the schedule counts in."""
    return schedule.unit_time(t)


def logits(params: Tree, config: Config, data: Tree, z: Tokens, seen: Times) -> jax.Array:
    """Logits of the clean tokens, [B,S,V]."""
    return dit.apply(params, shape(config, data), z, seen)


def lazy(params: Tree, config: Config, data: Tree, z: Tokens, seen: Times) -> losses.LazyLogits:
    """The same, made ``config.chunk`` cells at a time where the loss reads them."""
    operands = (dit.features(params, shape(config, data), z, seen), *dit.head(params))
    features, kernel, bias = (x.astype(config.dtype) for x in operands)
    return losses.LazyLogits(features, kernel, bias, config.chunk or CHUNK)
