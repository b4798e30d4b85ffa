"""Training and validation texts: whole documents dealt out by what they say, or the end of each held out."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from gidd_jax.data.deal import mix, places

FEW = 20
"""Of fewer different documents than this the ends are held out: a tenth of them would be one or two."""

SHINGLE = 24
"""Letters and digits that are compared at once: some five words."""

BLOCK = 1 << 20
"""Bytes hashed at once."""

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
    place, different = places(signatures(texts), seed) if len(texts) >= FEW else (None, 0)
    if different < FEW:
        cuts = [len(text) - int(len(text) * share) for text in texts]
        ends = [text[cut:] for text, cut in zip(texts, cuts, strict=True)]
        return Split([text[:cut] for text, cut in zip(texts, cuts, strict=True)], [e for e in ends if e], "position")
    held = place < share
    return Split(
        [text for text, out in zip(texts, held, strict=True) if not out],
        [text for text, out in zip(texts, held, strict=True) if out],
        "document",
    )


def signatures(texts: Sequence[str]) -> np.ndarray:
    """One uint64 a text: the smallest hash of any 24 letters or digits in a row, without case, spaces, punctuation.

    Two texts have the same with probability J, the Jaccard similarity of their sets of such runs. Source: Broder, On
    the resemblance and containment of documents, 1997.
    """
    found, waiting, size = [], [], 0
    for text in texts:
        # A run of zeros at the end: a short text is one run too.
        waiting.append(text.lower().encode().translate(None, SPARE).ljust(SHINGLE, b"\0"))
        size += len(waiting[-1])
        if size > BLOCK:
            found.append(_smallest(waiting))
            waiting, size = [], 0
    return np.concatenate([*found, _smallest(waiting)]) if waiting else np.concatenate(found)


def _smallest(texts: list[bytes]) -> np.ndarray:
    """The smallest hash of any run of each text, at least one run long: uint64 [n]."""
    hashes = _hashes(np.frombuffer(b"".join(texts), np.uint8))
    lengths = np.array([len(text) for text in texts])
    start = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    # Runs that begin in one text and end in the next belong to neither: every other stretch is left out.
    edges = np.stack([start, start + lengths - SHINGLE + 1], axis=1).ravel()
    return np.minimum.reduceat(hashes, edges[:-1])[::2]


def _hashes(data: np.ndarray) -> np.ndarray:
    """The hash of each run of 24 bytes, uint64 [len(data) - 23]."""
    word = data.astype(np.uint64)
    for width in (1, 2, 4):
        word = word[:-width] | word[width:] << np.uint64(8 * width)
    count = len(data) - SHINGLE + 1
    with np.errstate(over="ignore"):
        return mix(sum(word[8 * i : 8 * i + count] * odd for i, odd in enumerate(ODD)))
