"""Pairs of texts with human scores of how alike they are, and how well a representation agrees with them."""

import hashlib
import importlib.metadata
import math
import pathlib
from typing import NamedTuple

import numpy as np
import scipy.sparse
import scipy.stats

from gidd_jax.data import deal
from gidd_jax.data.text import offline, read
from gidd_jax.data.text.baselines import Vectors, unit
from gidd_jax.errors import InputError

LEE = "lee"
DOCUMENTS, SCORES, BACKGROUND = "lee.cor", "similarities0-1.txt", "lee_background.cor"
STSB = {"stsb": "sentence-transformers/stsb"}
SENTENCES = ("sentence1", "sentence2")
LEAST = 3
"""Pairs of either side, at least."""


class Similarities(NamedTuple):
    """``texts``, all different; pairs of them (``left``, ``right`` int32 [P]) and their human ``score`` float64 [P].

    ``background``: texts of that kind to count words in, for ``baselines.tf_idf``; ``texts`` where there are no more.
    """

    texts: list[str]
    left: np.ndarray
    right: np.ndarray
    score: np.ndarray
    background: list[str]
    name: str


class Agreement(NamedTuple):
    """Correlations with the human scores, -1 to 1: linear, and of the ranks; NaN where one side is constant."""

    pearson: float
    spearman: float


def load(
    source: str | pathlib.Path = LEE, score: str = "score", split: str = "validation", subset: str | None = None
) -> Similarities:
    """Pairs with human scores.

    ``source``: lee, stsb (sentence-transformers/stsb on the Hugging Face hub), a CSV, TSV, JSONL or parquet file or a
    repository with the columns sentence1, sentence2 and ``score``, and then its ``split`` and ``subset``.

    lee: 50 news texts of some 80 words, all 1,225 pairs, scores 0.2 to 1, each a mean over people, and 300 more texts.
    They are files of the package gensim (extra `concepts`), none of whose code is imported; a folder that holds the
    three of them will do. Source: Lee, Pincombe and Welsh, An empirical evaluation of models of text document
    similarity, 2005.

    Raises ``InputError`` for what is not there, cannot be reached, or has a score that is no number.
    """
    name = str(source)
    if name == LEE or (pathlib.Path(name) / DOCUMENTS).is_file():
        return _lee(name)
    return _table(name, score, split, subset)


def parted(scored: Similarities, share: float = 0.2) -> tuple[np.ndarray, np.ndarray, str]:
    """Pairs to learn from and pairs held out, bool [P] each, of which no text is in both; and how they were parted.

    "groups": texts that pairs join, directly or through others, go together; about ``share`` of the groups is held out.
    "texts": where half the pairs or more hang together, as those of every two of a few texts do, a share of the texts
    is, and pairs across are in neither. A text's side depends on nothing but what the texts are.
    Raises ``InputError`` where a side has fewer than three pairs: no correlation is told by them.
    """
    count = len(scored.texts)
    joined = scipy.sparse.coo_array((np.ones(len(scored.left)), (scored.left, scored.right)), shape=(count, count))
    _, group = scipy.sparse.csgraph.connected_components(joined, directed=False)
    kind = "texts" if 2 * np.bincount(group[scored.left]).max() >= len(scored.left) else "groups"
    group = np.arange(count) if kind == "texts" else group
    digests = [hashlib.blake2b(text.encode(), digest_size=8).digest() for text in scored.texts]
    hashes = np.full(group.max() + 1, np.iinfo(np.uint64).max)
    np.minimum.at(hashes, group, np.array([int.from_bytes(each, "little") for each in digests], np.uint64))
    out = (deal.places(hashes)[0] < share)[group]
    train, held = ~out[scored.left] & ~out[scored.right], out[scored.left] & out[scored.right]
    if min(train.sum(), held.sum()) < LEAST:
        raise InputError(
            f"{scored.name}: too few pairs to hold some out ({train.sum()} to learn from, {held.sum()} held out of "
            f"{len(train)}); give more, or a file of pairs to measure on"
        )
    return train, held, kind


def taken(scored: Similarities, pairs: np.ndarray) -> Similarities:
    """Some of the pairs, bool [P], and those texts alone that are in them."""
    kept, back = np.unique([scored.left[pairs], scored.right[pairs]], return_inverse=True)
    left, right = back.reshape(2, -1).astype(np.int32)
    texts = [scored.texts[i] for i in kept]
    return scored._replace(texts=texts, left=left, right=right, score=scored.score[pairs])


def cosines(vectors: Vectors, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The cosine of each pair of rows of ``vectors`` [N,D], dense or sparse: float64 [P]; 0 for a row of zeros."""
    vectors = unit(vectors)
    return np.asarray((vectors[left] * vectors[right]).sum(axis=1), float)


def agreement(predicted: np.ndarray, score: np.ndarray) -> Agreement:
    """How well ``predicted`` [P] follows the human ``score`` [P]."""
    if np.ptp(predicted) == 0 or np.ptp(score) == 0:
        return Agreement(float("nan"), float("nan"))
    ranks = scipy.stats.rankdata(predicted), scipy.stats.rankdata(score)
    return Agreement(*(float(np.corrcoef(*pair)[0, 1]) for pair in ((predicted, score), ranks)))


def _lee(name: str) -> Similarities:
    texts, scores = _read(name, DOCUMENTS).splitlines(), _read(name, SCORES).splitlines()
    try:
        matrix = np.array([[float(value) for value in line.split()] for line in scores])
    except ValueError:
        matrix = np.zeros(0)
    if matrix.shape != (len(texts), len(texts)):
        raise InputError(f"{name}: {SCORES} is no table of {len(texts)} times {len(texts)} numbers, one a pair")
    # Only what is right of the diagonal is filled.
    left, right = np.triu_indices(len(texts), 1)
    more = _read(name, BACKGROUND).splitlines()
    return Similarities(texts, left.astype(np.int32), right.astype(np.int32), matrix[left, right], more, name)


def _read(name: str, file: str) -> str:
    try:
        path = offline.installed("gensim", file) if name == LEE else pathlib.Path(name) / file
        return path.read_text(encoding="latin-1")
    except importlib.metadata.PackageNotFoundError:
        raise InputError(f"{name}: needs the package gensim (its files); pip install 'gidd-jax[concepts]'") from None
    except (OSError, KeyError):
        raise InputError(f"{name}: there is no file {file}; pip install gensim==4.4.0, or name a folder") from None


def _table(name: str, score: str, split: str, subset: str | None) -> Similarities:
    local = pathlib.Path(name).is_file() or pathlib.Path(name).suffix in read.READ
    numbers, pairs, scores = {}, [], []
    rows = read.rows(STSB.get(name, name), "file", (*SENTENCES, score), "train" if local else split, subset)
    for number, (one, other, human) in enumerate(rows, 1):
        try:
            scores.append(float(human))
            if not math.isfinite(scores[-1]):
                raise ValueError
        except ValueError:
            raise InputError(f"{name}, row {number}, {score}: {human[:20]!r} is no number; mend the row") from None
        pairs.append([numbers.setdefault(text.strip(), len(numbers)) for text in (one, other)])
    if not pairs:
        raise InputError(f"{name}: it holds no pairs")
    left, right = np.array(pairs, np.int32).T
    texts = list(numbers)
    return Similarities(texts, left, right, np.array(scores), texts, name)
