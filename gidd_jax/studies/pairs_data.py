"""Pairs of texts with human scores as rows of tokens, and the trained model of the concepts that starts on them."""

import pathlib
import shlex

import numpy as np

from gidd_jax import export
from gidd_jax.data import text
from gidd_jax.data.text import read, similarity
from gidd_jax.data.text.similarity import Similarities
from gidd_jax.errors import InputError
from gidd_jax.studies import concepts
from gidd_jax.studies.concepts_data import digest, scored_texts, views
from gidd_jax.studies.pairs_settings import MODEL, Config
from gidd_jax.types import Tree

FREE = ("dropout", "dtype")
"""What a model may be fine-tuned with otherwise than it was made."""
PARTED = {
    "groups": "no text on both sides",
    "texts": "split by text: no text on both sides, pairs across in neither",
}
"""``similarity.parted`` in words."""


def load(config: Config) -> tuple[Tree, str]:
    """Both sides of the pairs, training first, the model to start from and its own Hyper (``row``).

    ids [P,S]: first text, the mask, second text, cut to S; score [P]: less the mean of the training scores, in their
    standard deviations. ``similarity``: the held-out texts one by one. ``vocabulary`` as in the concept study.
    Raises InputError for pairs or a model that cannot be read, or do not fit one another.
    """
    if not config.init_from:
        raise InputError("--init-from: give an exported model of the concept study (gidd-jax export)")
    row, params = _model(config)
    train, held, _ = sides(config)
    spread = train.score.std()
    if not spread > 0 or not held.score.std() > 0:
        raise InputError(f"{config.pairs}, {config.score}: all scores of a side are equal, so nothing follows them")
    found = views(config)
    rows = [_joined(side, found.tokenizer, config.length) for side in (train, held)]
    ids, lengths, whole = (np.concatenate(each) for each in zip(*rows, strict=True))
    counts = [len(train.score), len(held.score)]
    data = {
        "vocabulary": np.zeros((found.tokenizer.vocab_size, 0), np.uint8),
        "row": row,
        "params": params,
        "ids": ids,
        "lengths": lengths,
        "score": np.float32((np.concatenate([train.score, held.score]) - train.score.mean()) / spread),
        "first": np.int32([0, counts[0]]),
        "held_out": np.zeros((counts[1], 0), np.uint8),
        "count": np.int32(counts),
        "cut": np.float32(1 - whole[counts[0] :].mean()),
        "similarity": scored_texts(held, found.tokenizer, config.length),
    }
    _, sha256 = export.read_params(config.init_from)
    return data, "-".join([found.fingerprint, digest(train), digest(held), sha256])


def sides(config: Config) -> tuple[Similarities, Similarities, str]:
    """Pairs to learn from, pairs to measure on, and how they were parted: given apart, or a fifth held out.

    Of a Hugging Face name its train split is learned from; ``held_out`` may name another, and of stsb validation does.
    """
    local = config.pairs == similarity.LEE or pathlib.Path(config.pairs).exists()
    subset = config.pairs_subset or None
    given = similarity.load(config.pairs, config.score, "train", subset)
    apart = config.held_out or ("validation" if config.pairs in similarity.STSB else "")
    if not apart:
        train, held, kind = similarity.parted(given)
        return similarity.taken(given, train), similarity.taken(given, held), PARTED[kind]
    if pathlib.Path(apart).is_file() or pathlib.Path(apart).suffix in read.READ:
        return given, similarity.load(apart, config.score), "given apart"
    if local:
        raise InputError(f"--held-out {apart}: no such file; {config.pairs} is one and has no splits")
    return given, similarity.load(config.pairs, config.score, apart, subset), "given apart"


def _model(config: Config) -> tuple[concepts.Hyper, Tree]:
    directory = pathlib.Path(config.init_from)
    about = export.described(directory)
    if about["study"] != concepts.name or "groups" in about:
        what = "a sweep: export a row of it" if "groups" in about else f"a model of {about['study']}"
        raise InputError(f"--init-from {directory}: {what}; an exported model of {concepts.name} is needed")
    _, made, hyper, params = export.load_model(concepts, directory)
    if other := [name for name in MODEL if name not in FREE and getattr(made, name) != getattr(config, name)]:
        raise InputError(f"--init-from {directory}: give {' '.join(_flag(made, name) for name in other)}, as it has")
    row = concepts.Hyper(*(np.float32(value) for value in hyper))
    return row, {part: params[part] for part in ("encoder", "decoder")}


def _flag(made: concepts.Config, name: str) -> str:
    flag, value = name.replace("_", "-"), getattr(made, name)
    return f"--{'' if value else 'no-'}{flag}" if isinstance(value, bool) else f"--{flag} {shlex.quote(str(value))}"


def _joined(side: Similarities, tokenizer: text.Tokenizer, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of both texts with the mask between, how many tokens each has, and whether nothing is cut off."""
    tokens = [tokenizer.encode(each) for each in side.texts]
    ids = np.full((len(side.score), length), tokenizer.pad_id, np.int32)
    lengths, whole = np.zeros(len(ids), np.int32), np.zeros(len(ids), bool)
    for row, (one, other) in enumerate(zip(side.left, side.right, strict=True)):
        first, second = tokens[one], tokens[other]
        room = length - 1
        # The longer of the two is cut, both to half where both are longer.
        end = min(len(second), max(room // 2, room - len(first)))
        start = min(len(first), room - end)
        line = [*first[:start], tokenizer.mask_id, *second[:end]]
        ids[row, : len(line)] = line
        lengths[row], whole[row] = len(line), len(line) == len(first) + len(second) + 1
    return ids, lengths, whole
