"""The language study: GIDD on text, or on a source of known law, over any mix of masks and uniform tokens.

This module *is* the study: ``init``, ``step`` and ``evaluate`` are pure functions of one replica.
"""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np

from gidd_jax import corruption, export, known, losses, train
from gidd_jax.data import text
from gidd_jax.data.text import crops
from gidd_jax.errors import InputError
from gidd_jax.models import dit
from gidd_jax.studies.language_evaluation import evaluate
from gidd_jax.studies.language_model import lazy, logits, noise, shape, source, stretch, time_seen
from gidd_jax.studies.language_settings import KNOWN, MIXES, Config, Hyper
from gidd_jax.types import Mask, Metrics, PRNGKey, Scalar, Tokens, Tree

__all__ = ["Config", "Hyper", "batch", "check", "corpus", "evaluate", "init", "load", "loss", "per_step", "step"]

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


def corpus(config: Config) -> text.Corpus:
    """The text of a config, read on the host; raises InputError where it cannot be."""
    found = text.load(
        config.data,
        tokenizer=config.tokenizer,
        cut=config.cut,
        column=config.column,
        split=config.data_split,
        subset=config.subset or None,
        validation_split=config.validation_split or None,
        limit=config.limit or None,
    )
    crops.check(found, config.crop, config.length)
    return found


def load(config: Config, whole: bool = False) -> tuple[Tree, str]:
    """Tokens of both splits and characters a token; or the source that every batch is drawn from, and its entropy.

    ``vocabulary`` is empty: its length is the vocabulary, mask included, which shapes the model.
    """
    if config.data in KNOWN:
        made = source(config)
        digest = hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in jax.tree.leaves(made)))
        entropy = known.entropy(made, config.length, jax.random.key(config.source_seed)).nats / config.length
        data = {
            "source": made,
            "entropy": np.float32(entropy),
            "vocabulary": np.zeros((config.tokens + 1, 0), np.uint8),
        }
        fingerprint = f"{config.data}-{digest.hexdigest()}"
    else:
        found = corpus(config)
        data = {
            "shelf": crops.shelve(found),
            "characters": np.float32([part.characters_per_token for part in (found.train, found.validation)]),
            "vocabulary": np.zeros((found.tokenizer.vocab_size, 0), np.uint8),
        }
        fingerprint = found.fingerprint
    if config.init_from:
        data["params"], digest = export.read_params(config.init_from)
        fingerprint += f"-{digest}"
    return data, fingerprint


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
