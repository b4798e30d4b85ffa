"""What words alone tell of how alike texts are: the floor under every representation of them."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import scipy.sparse

WORD = re.compile(r"[^\W\d_]+")
BLOCK = 1024
"""Queries that are held against all keys at once."""

Vectors = np.ndarray | scipy.sparse.csr_array


def words(text: str) -> list[str]:
    """Its runs of letters in lower case, in order."""
    return WORD.findall(text.lower())


def bag_of_words(texts: Sequence[str]) -> scipy.sparse.csr_array:
    """How often each word occurs: float64 [N,W], rows of unit length."""
    return unit(_counts([words(text) for text in texts], _numbers(map(words, texts))))


def tf_idf(texts: Sequence[str], background: Sequence[str] | None = None) -> scipy.sparse.csr_array:
    """Counts times ln(D / df): float64 [N,W], rows of unit length; a word in every document counts nothing.

    df of the D documents of ``background`` (of ``texts`` itself by default) have the word; one that none has counts
    as much as one of one. Source: Spärck Jones, A statistical interpretation of term specificity, 1972.
    """
    known = texts if background is None else background
    numbers = _numbers(map(words, [*known, *texts]))
    found = Counter(word for text in known for word in set(words(text)))
    share = np.array([max(found[word], 1) for word in numbers]) / len(known)
    return unit((_counts([words(text) for text in texts], numbers) * -np.log(share)[None, :]).tocsr())


def jaccard(left: Sequence[str], right: Sequence[str]) -> np.ndarray:
    """|A and B| / |A or B| of the sets of words of each pair of texts: float64 [N], 0 for two without words."""
    pairs = ((set(words(one)), set(words(other))) for one, other in zip(left, right, strict=True))
    return np.array([len(one & other) / max(len(one | other), 1) for one, other in pairs])


def low_overlap(left: Sequence[str], right: Sequence[str], threshold: float, least: int = 8) -> np.ndarray:
    """Which pairs share few words: a Jaccard below ``threshold``, ``least`` words or more on the left; int64 [M]."""
    enough = np.array([len(words(text)) >= least for text in left])
    return np.flatnonzero(enough & (jaccard(left, right) < threshold))


def retrieval(queries: Vectors, keys: Vectors) -> float:
    """The share of queries [N,D] whose nearest of the N keys, by cosine, is the key of the same number.

    Of keys that are equally near each counts for its part: blind guessing scores 1/N. NaN for none.
    """
    queries, keys = unit(queries), unit(keys)
    hits = 0.0
    for start in range(0, queries.shape[0], BLOCK):
        near = queries[start : start + BLOCK] @ keys.T
        near = near.toarray() if scipy.sparse.issparse(near) else near
        best = near >= near.max(axis=1, keepdims=True) - 1e-9
        rows = np.arange(len(near))
        hits += (best[rows, start + rows] / best.sum(axis=1)).sum()
    return float(hits / queries.shape[0]) if queries.shape[0] else float("nan")


def unit(vectors: Vectors) -> Vectors:
    """Rows divided by their length; zeros stay."""
    sparse = scipy.sparse.issparse(vectors)
    vectors = scipy.sparse.csr_array(vectors) if sparse else np.asarray(vectors, float)
    size = np.sqrt((vectors * vectors).sum(axis=1))
    scale = (1 / np.where(size > 0, size, 1))[:, None]
    return (vectors * scale).tocsr() if sparse else vectors * scale


def _numbers(texts: Iterable[list[str]]) -> dict[str, int]:
    """A number for every word."""
    return {word: number for number, word in enumerate(dict.fromkeys(word for text in texts for word in text))}


def _counts(texts: list[list[str]], numbers: dict[str, int]) -> scipy.sparse.csr_array:
    rows = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    columns = np.array([numbers[word] for text in texts for word in text], int)
    # Entries of one place are added up.
    return scipy.sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(texts), len(numbers)))
