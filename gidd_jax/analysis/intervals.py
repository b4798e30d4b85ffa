"""Intervals: how far a mean over seeds can be trusted."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import stdtrit

RESAMPLES = 4000


class Interval(NamedTuple):
    """An estimate and its two-sided interval, in the units of the values; n counts the values that were finite."""

    mean: float
    low: float
    high: float
    n: int


def mean_interval(values: ArrayLike, alpha: float = 0.05) -> Interval:
    """Student's interval of a mean: m ± t_{1-alpha/2, n-1} s / sqrt(n) (Student, Biometrika 6, 1908).

    Values that are not finite are dropped, so n may be less than len(values); n = 1 has an unknown width (NaN).
    """
    kept = _finite(values)
    n = len(kept)
    mean = float(kept.mean()) if n else np.nan
    if n < 2:
        return Interval(mean, np.nan, np.nan, n)
    half = float(stdtrit(n - 1, 1 - alpha / 2) * kept.std(ddof=1) / np.sqrt(n))
    return Interval(mean, mean - half, mean + half, n)


def paired_interval(first: ArrayLike, second: ArrayLike, alpha: float = 0.05) -> Interval:
    """Student's interval of mean(first - second), paired by position; a pair with a missing half is dropped."""
    return mean_interval(np.asarray(first, float) - np.asarray(second, float), alpha)


def bootstrap_interval(
    values: ArrayLike, statistic: Callable[[np.ndarray], float], seed: int, level: float = 0.95
) -> Interval:
    """Percentile bootstrap of statistic(values): the (1 ± level)/2 quantiles over 4000 resamples (Efron, 1979).

    `mean` holds the statistic of the values themselves. With fewer than about ten values it covers less than `level`.
    """
    kept = _finite(values)
    n = len(kept)
    if n < 2:
        return Interval(float(statistic(kept)) if n else np.nan, np.nan, np.nan, n)
    resamples = np.random.default_rng(seed).choice(kept, size=(RESAMPLES, n))
    low, high = np.quantile([statistic(sample) for sample in resamples], [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(statistic(kept)), float(low), float(high), n)


def intervals_by(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """`mean_interval` of `value` within each combination of the columns `by`, as columns mean, low, high, n."""
    kept = rows["value"].astype(float).where(np.isfinite(rows["value"].astype(float)))
    found = kept.groupby([rows[name] for name in by], observed=True, sort=True).agg(["mean", "std", "count"])
    mean, spread, n = (found[column].to_numpy() for column in ("mean", "std", "count"))
    half = np.where(n > 1, stdtrit(np.maximum(n - 1, 1), 0.975) * spread / np.sqrt(np.maximum(n, 1)), np.nan)
    return found.index.to_frame(index=False).assign(mean=mean, low=mean - half, high=mean + half, n=n)


def _finite(values: ArrayLike) -> np.ndarray:
    values = np.asarray(values, float).ravel()
    return values[np.isfinite(values)]
