"""Comparisons of paired rows: permutation tests, bootstrap intervals, many tests at once, and equivalence."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr

from gidd_jax.analysis.intervals import Interval, bootstrap_interval, paired_interval
from gidd_jax.errors import InputError


class Equivalence(NamedTuple):
    """Two one-sided tests: the difference with its 1 - 2 alpha interval, p, and whether it is within the margin."""

    difference: Interval
    p: float
    equivalent: bool


def permutation_test(first: ArrayLike, second: ArrayLike, seed: int = 0, draws: int = 10_000) -> float:
    """Two-sided p of mean(first - second) = 0, paired by position: signs of the differences are flipped (Fisher 1935).

    All 2^n flips where these are no more than ``draws``; else that many random ones, p = (1 + hits) / (1 + draws). The
    unit is the seed or key: values that share one are to be averaged first. Raises InputError below 2 pairs.
    """
    difference = _differences(first, second)
    n = len(difference)
    if 2**n <= draws:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    else:
        signs = np.random.default_rng(seed).choice([-1, 1], size=(draws, n))
    # Equal up to rounding counts as equal: the unflipped signs must hit.
    hits = np.sum(np.abs(signs @ difference) >= np.abs(difference.sum()) * (1 - 1e-12))
    return float(hits / len(signs) if 2**n <= draws else (1 + hits) / (1 + draws))


def paired_bootstrap(first: ArrayLike, second: ArrayLike, seed: int = 0, level: float = 0.95) -> Interval:
    """Percentile bootstrap over pairs of mean(first - second)."""
    return bootstrap_interval(_differences(first, second), np.mean, seed, level)


def holm(p: ArrayLike) -> np.ndarray:
    """Holm's adjusted p-values [m], in the order given (Scand. J. Statist. 6, 1979): reject where they are <= alpha."""
    p = np.asarray(p, float)
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def equivalence(first: ArrayLike, second: ArrayLike, margin: float, alpha: float = 0.05) -> Equivalence:
    """Is |mean(first - second)| below a ``margin`` fixed in advance? Two one-sided paired t tests (Schuirmann 1987).

    p is the larger of the two. That a difference is not significant is no evidence of equality; this is. Raises
    InputError for a margin not above 0 or fewer than 2 pairs.
    """
    if not margin > 0:
        raise InputError(f"margin {margin:g}: an equivalence needs one above 0, fixed before looking")
    difference = _differences(first, second)
    n, mean = len(difference), float(difference.mean())
    error = difference.std(ddof=1) / np.sqrt(n)
    if error > 0:
        p = float(1 - stdtr(n - 1, (margin - abs(mean)) / error))
    else:
        p = float(abs(mean) >= margin)
    return Equivalence(paired_interval(difference, np.zeros(n), 2 * alpha), p, p <= alpha)


def _differences(first: ArrayLike, second: ArrayLike) -> np.ndarray:
    first, second = np.asarray(first, float), np.asarray(second, float)
    if first.shape != second.shape or first.ndim != 1:
        raise InputError(f"pairs need two columns of one length, not {first.shape} and {second.shape}")
    kept = (first - second)[np.isfinite(first - second)]
    if len(kept) < 2:
        raise InputError(f"a paired comparison needs 2 pairs or more; {len(kept)} are complete")
    return kept
