"""Learning curves: when one takes off, and where its level changes. A sharp take-off alone is no phase transition."""

import numpy as np
from numpy.typing import ArrayLike

from gidd_jax.errors import InputError

LEAST_POINTS = 8
LEAST_RISE = 4.0


def take_off_times(t: ArrayLike, y: ArrayLike, share: float = 0.5, first: float | None = None) -> np.ndarray:
    """When each curve y [M, T] leaves its first level for good, [M] in the units of t; NaN where none is seen.

    Levels are medians of the first and last eighth of the points, unless ``first`` is known (chance, say: of a curve
    that took off within its first eighth); the time is where the curve last crosses the first level plus ``share`` of
    the rise, between two points linearly. A rise below 4 standard deviations of the noise (told
    from differences of neighbours) is none. Rising and falling curves alike. Raises InputError for fewer than 8 points.
    """
    t, y = np.asarray(t, float), np.atleast_2d(np.asarray(y, float))
    if y.shape[1] != len(t) or len(t) < LEAST_POINTS:
        raise InputError(f"take-off times need {LEAST_POINTS} points or more; got t {t.shape} and y {y.shape}")
    ends = max(1, len(t) // 8)
    return np.array([_take_off(t, curve, ends, share, first) for curve in y])


def change_points(y: ArrayLike, alpha: float = 0.05, seed: int = 0, draws: int = 999) -> list[int]:
    """Indices at which the mean level of y [T] changes, rising: the first point of each new level.

    Binary segmentation (Scott and Knott 1974): the split with the largest CUSUM |S_k| / sqrt(k (n - k) / n) is kept
    where it exceeds that of 1 - alpha of ``draws`` permutations. Assumes independent noise around each level: a smooth
    drift is cut into pieces. Raises InputError for a number that is not finite.
    """
    y = np.asarray(y, float)
    if y.ndim != 1 or not np.isfinite(y).all():
        raise InputError("change points need one curve [T] of finite numbers")
    rng = np.random.default_rng(seed)

    def split(first: int, last: int) -> list[int]:
        piece = y[first:last]
        if len(piece) < LEAST_POINTS or np.ptp(piece) == 0:
            return []
        found = _cusum(piece[None])
        null = _cusum(rng.permuted(np.tile(piece, (draws, 1)), axis=1)).max(axis=1)
        p = (1 + np.sum(null >= found.max() * (1 - 1e-12))) / (1 + draws)
        if p > alpha:
            return []
        at = first + int(np.argmax(found[0])) + 1
        return [*split(first, at), at, *split(at, last)]

    return split(0, len(y))


def _take_off(t: np.ndarray, curve: np.ndarray, ends: int, share: float, first: float | None) -> float:
    first, last = np.median(curve[:ends]) if first is None else first, np.median(curve[-ends:])
    noise = 1.4826 * np.median(np.abs(np.diff(curve))) / np.sqrt(2)
    if not np.isfinite(curve).all() or not abs(last - first) > LEAST_RISE * noise or last == first:
        return np.nan
    risen = (curve - first) / (last - first) - share
    below = np.flatnonzero(risen < 0)
    if len(below) == 0 or below[-1] == len(t) - 1:
        return np.nan
    k = below[-1]
    return float(t[k] + (t[k + 1] - t[k]) * risen[k] / (risen[k] - risen[k + 1]))


def _cusum(pieces: np.ndarray) -> np.ndarray:
    n = pieces.shape[1]
    k = np.arange(1, n)
    sums = np.cumsum(pieces - pieces.mean(axis=1, keepdims=True), axis=1)[:, :-1]
    return np.abs(sums) / np.sqrt(k * (n - k) / n)
