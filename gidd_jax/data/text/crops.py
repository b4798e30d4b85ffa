"""Stretches of S tokens drawn at random from a corpus on the device: pure functions of one replica, jittable."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Int

from gidd_jax.data.text.load import Corpus, Part
from gidd_jax.errors import InputError
from gidd_jax.types import PRNGKey


class Shelf(NamedTuple):
    """Both parts of a corpus, one after another, as arrays for a device; split 0 is training and 1 validation.

    ``tokens`` unsigned [N]; document d is tokens[offsets[d] : offsets[d + 1]], ``offsets`` int32 [D + 1]; a split's
    documents are ``first[split]`` and the ``count[split] - 1`` after it, int32 [2]; ``pad`` the id that fills up.
    """

    tokens: Array
    offsets: Array
    first: Array
    count: Array
    pad: Array


Crop = tuple[Int[Array, "B S"], Bool[Array, "B S"]]


def shelve(corpus: Corpus) -> Shelf:
    """A corpus -> numpy arrays; tokens keep their small type."""
    counts = [len(part.offsets) - 1 for part in (corpus.train, corpus.validation)]
    offsets = np.concatenate([corpus.train.offsets, len(corpus.train.tokens) + corpus.validation.offsets[1:]])
    return Shelf(
        tokens=np.concatenate([corpus.train.tokens, corpus.validation.tokens]),
        offsets=offsets.astype(np.int32),
        first=np.array([0, counts[0]], np.int32),
        count=np.array(counts, np.int32),
        pad=np.int32(corpus.tokenizer.pad_id),
    )


def packed(key: PRNGKey, shelf: Shelf, split: ArrayLike, batch: int, length: int) -> Crop:
    """Windows of the split's documents joined end to end -> ids int32 [B,S], valid [B,S] (all true); consumes ``key``.

    Uniform over the N - S + 1 windows of the split; one may span documents. No cell is padding.
    """
    start = shelf.offsets[shelf.first[split]]
    stop = shelf.offsets[shelf.first[split] + shelf.count[split]]
    begin = jax.random.randint(key, (batch,), start, stop - length + 1)
    ids = shelf.tokens[begin[:, None] + jnp.arange(length)[None]]
    return ids.astype(jnp.int32), jnp.ones((batch, length), bool)


def documents(key: PRNGKey, shelf: Shelf, split: ArrayLike, batch: int, length: int) -> Crop:
    """Stretches of single documents -> ids int32 [B,S], padded at the end, valid [B,S]; consumes ``key``.

    Uniform over the split's documents, however long, then over the windows of the document; one shorter than S is
    taken whole. What the authors' code does (a random crop, not packed; theirs counts the padding in the loss).
    """
    document_key, begin_key = jax.random.split(key)
    chosen = shelf.first[split] + jax.random.randint(document_key, (batch,), 0, shelf.count[split])
    start, stop = shelf.offsets[chosen], shelf.offsets[chosen + 1]
    begin = jax.random.randint(begin_key, (batch,), start, jnp.maximum(start, stop - length) + 1)
    place = begin[:, None] + jnp.arange(length)[None]
    valid = place < stop[:, None]
    ids = shelf.tokens[jnp.minimum(place, len(shelf.tokens) - 1)].astype(jnp.int32)
    return jnp.where(valid, ids, shelf.pad), valid


CROPS: dict[str, Callable[[PRNGKey, Shelf, ArrayLike, int, int], Crop]] = {"packed": packed, "documents": documents}


def check(corpus: Corpus, crop: str, length: int) -> None:
    """Raises ``InputError`` where a split is too short for ``length``, or every crop of its documents half padding."""
    for split in ("train", "validation"):
        part: Part = getattr(corpus, split)
        packs = crop == "packed"
        longest = len(part.tokens) if packs else int(np.diff(part.offsets).max())
        if longest < (length if packs else length / 2):
            what = "the text has" if packs else f"the longest of {len(part.offsets) - 1} documents has"
            why = "too few for a crop" if packs else "less than half of a crop"
            raise InputError(
                f"{corpus.name}, {split}: {what} {longest} tokens, {why} of {length}; "
                "take shorter crops or give more text"
            )
