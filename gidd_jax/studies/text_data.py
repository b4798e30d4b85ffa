"""Text, or a source of known law, as the studies of text read it: on the host once, then stretches on the device."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np

from gidd_jax import export, known
from gidd_jax.data import text
from gidd_jax.data.text import crops
from gidd_jax.studies.text_settings import KNOWN, TextConfig
from gidd_jax.types import Mask, PRNGKey, Tokens, Tree


def corpus(config: TextConfig) -> text.Corpus:
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


def load(config: TextConfig) -> tuple[Tree, str]:
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


def source(config: TextConfig) -> known.Source:
    """The source of known law that the config names."""
    key = jax.random.key(config.source_seed)
    if config.data == "markov":
        return known.markov(key, config.tokens, config.concentration, config.order)
    return known.hmm(key, config.states, config.tokens, config.concentration, config.concentration)


def stretch(key: PRNGKey, config: TextConfig, data: Tree, split: int, count: int) -> tuple[Tokens, Mask]:
    """``count`` sequences of a split (0 training, 1 validation), fresh draws of a known source; consumes ``key``."""
    if config.data in KNOWN:
        drawn = known.sample(key, data["source"], count, config.length)
        return drawn, jnp.ones(drawn.shape, bool)
    return crops.CROPS[config.crop](key, data["shelf"], split, count, config.length)
