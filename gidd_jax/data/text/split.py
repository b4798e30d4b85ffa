"""Training and validation texts: whole documents dealt out by what they say, or the end of each held out."""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from gidd_jax.data.deal import mix, places

FEW = 20
"""Of fewer different documents than this the ends are held out: a tenth of them would be one or two."""

SHINGLE = 24
"""Letters and digits that are compared at once: some five words."""

BLOCK = 1 << 20
"""Bytes hashed at once."""

DRAWN = 1 << 20
"""Runs of the training text that validation texts are compared with, about."""

SPARE = bytes(i for i in range(128) if not chr(i).isalnum())
ODD = [np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)]


class Split(NamedTuple):
    """Texts to train and to validate on; ``kind`` says what was dealt out: documents, or the ends of all of them."""

    train: list[str]
    validation: list[str]
    kind: Literal["document", "position"]


def split(texts: Sequence[str], share: float = 0.1, seed: int = 0) -> Split:
    """Hold out about ``share`` of the documents, or of every document where fewer than 20 are different.

    A document's part depends on ``seed`` and its ``signature`` alone (from 1000 different ones up), whatever else
    there is and in any order. Two documents that share the fraction J of their runs of letters are parted with
    probability 2 share (1 - share) (1 - J): never where they differ in case, spaces and punctuation only. Held-out
    ends are the last ``share`` of the characters.
    """
    held = held_out(texts, share, seed)
    if held is None:
        cuts = [len(text) - int(len(text) * share) for text in texts]
        ends = [text[cut:] for text, cut in zip(texts, cuts, strict=True)]
        return Split([text[:cut] for text, cut in zip(texts, cuts, strict=True)], [e for e in ends if e], "position")
    return Split(
        [text for text, out in zip(texts, held, strict=True) if not out],
        [text for text, out in zip(texts, held, strict=True) if out],
        "document",
    )


def held_out(
    texts: Sequence[str], share: float = 0.1, seed: int = 0, others: Sequence[str] | None = None
) -> np.ndarray | None:
    """Which documents to validate on, bool [N], as ``split`` says; None where fewer than 20 are different.

    ``others`` is another view of each: documents whose others have the same letters and digits stay together too.
    """
    if len(texts) < FEW:
        return None
    hashes = signatures(texts)
    place, different = places(hashes if others is None else _together(hashes, others), seed)
    return None if different < FEW else place < share


def signatures(texts: Sequence[str]) -> np.ndarray:
    """One uint64 a text: the smallest hash of any 24 letters or digits in a row, without case, spaces, punctuation.

    Two texts have the same with probability J, the Jaccard similarity of their sets of such runs. Source: Broder, On
    the resemblance and containment of documents, 1997.
    """
    return np.concatenate([_smallest(block) for block in _blocks(texts)])


def overlap(train: Sequence[str], validation: Sequence[str]) -> float:
    """The share of runs of 24 letters or digits in the validation texts that some training text has too, 0 to 1.

    Estimated from the runs whose hash is small, about a million of the training texts'. Neither may be empty.
    """
    bound = np.uint64(min(DRAWN / max(sum(map(len, train)), 1), 1) * (2**64 - 2**12))
    seen, held = (np.concatenate([_runs(block, bound) for block in _blocks(texts)]) for texts in (train, validation))
    return float(np.isin(held, seen).mean())


def _together(hashes: np.ndarray, others: Sequence[str]) -> np.ndarray:
    """The smallest of the hashes of all documents that equal hashes or equal others link to this one, uint64 [N]."""
    import scipy.sparse

    count = len(hashes)
    letters = {}
    links = [
        np.unique(hashes, return_inverse=True)[1],
        np.array([letters.setdefault(_letters(text), len(letters)) for text in others]) + count,
    ]
    ends = np.concatenate(links) + count
    starts = np.tile(np.arange(count), 2)
    graph = scipy.sparse.coo_array((np.ones(2 * count, bool), (starts, ends)), shape=(3 * count, 3 * count))
    group = scipy.sparse.csgraph.connected_components(graph, directed=False)[1][:count]
    smallest = np.full(3 * count, np.iinfo(np.uint64).max)
    np.minimum.at(smallest, group, hashes)
    return smallest[group]


def _letters(text: str) -> bytes:
    """Its letters and digits, without case."""
    return text.lower().encode().translate(None, SPARE)


def _blocks(texts: Sequence[str]) -> Iterator[list[bytes]]:
    """The texts' letters and digits, some ``BLOCK`` bytes together."""
    waiting, size = [], 0
    for text in texts:
        # A run of zeros at the end: a short text is one run too.
        waiting.append(_letters(text).ljust(SHINGLE, b"\0"))
        size += len(waiting[-1])
        if size > BLOCK:
            yield waiting
            waiting, size = [], 0
    if waiting:
        yield waiting


def _smallest(texts: list[bytes]) -> np.ndarray:
    """The smallest hash of any run of each text, uint64 [n]."""
    hashes, edges = _hashes(np.frombuffer(b"".join(texts), np.uint8)), _edges(texts)
    return np.minimum.reduceat(hashes, edges[:-1])[::2]


def _runs(texts: list[bytes], bound: np.uint64) -> np.ndarray:
    """The hashes of all runs of the texts that are at most ``bound``, uint64 [n]."""
    hashes, edges = _hashes(np.frombuffer(b"".join(texts), np.uint8)), _edges(texts)
    inside = np.zeros(len(hashes) + 1, bool)
    inside[edges] = True
    inside = np.logical_xor.accumulate(inside)[:-1]
    return hashes[inside & (hashes <= bound)]


def _edges(texts: list[bytes]) -> np.ndarray:
    """Where the runs of each text begin and end among those of all joined, int64 [2 n].

    Runs that begin in one text and end in the next belong to neither: every other stretch is left out.
    """
    lengths = np.array([len(text) for text in texts])
    start = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return np.stack([start, start + lengths - SHINGLE + 1], axis=1).ravel()


def _hashes(data: np.ndarray) -> np.ndarray:
    """The hash of each run of 24 bytes, uint64 [len(data) - 23]."""
    word = data.astype(np.uint64)
    for width in (1, 2, 4):
        word = word[:-width] | word[width:] << np.uint64(8 * width)
    count = len(data) - SHINGLE + 1
    with np.errstate(over="ignore"):
        return mix(sum(word[8 * i : 8 * i + count] * odd for i, odd in enumerate(ODD)))
