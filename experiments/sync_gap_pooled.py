"""The synchronisation gap over models of several seeds: the seed as unit, and a correction for how much is asked."""

from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtr

from experiments.sync_gap_verdicts import Verdict
from gidd_jax import analysis

ALPHA = 0.05


class Pooled(NamedTuple):
    """A statement over models trained from several seeds: mean with Student's 95 % interval, Holm's p, a word."""

    statement: str
    mean: float
    low: float
    high: float
    p: float
    word: str
    values: np.ndarray


def pooled(told: dict[Any, list[list[Verdict]]]) -> dict[Any, list[Pooled]]:
    """Group -> seed -> verdicts: each statement with the seed as unit, p corrected over all statements of all groups.

    p is twice the smaller of the one-sided Student tests that it holds and that it is refuted. A statement is decided
    where Holm's p is at most .05. One that a seed's own model has no answer to has none, whatever the seeds' numbers
    say together, and is not counted.
    """
    found = {group: [_pooled(list(each)) for each in zip(*of_seeds, strict=True)] for group, of_seeds in told.items()}
    every = [each for group in found.values() for each in group]
    counted = [np.isfinite(each.p) for each in every]
    corrected = np.full(len(every), np.nan)
    corrected[counted] = analysis.holm(np.array([each.p for each in every])[counted])
    by_statement = iter(
        each._replace(p=p, word=each.word if p <= ALPHA or np.isnan(p) else "undecided")
        for each, p in zip(every, corrected, strict=True)
    )
    return {group: [next(by_statement) for _ in of] for group, of in found.items()}


def _pooled(of_seeds: list[Verdict]) -> Pooled:
    statement, margin = of_seeds[0].statement, of_seeds[0].margin
    values = np.array([each.value for each in of_seeds])
    n, known = len(values), np.isfinite(values)
    lacking = n - int(sum(known & [not each.word.startswith("no answer") for each in of_seeds]))
    mean, low, high = analysis.mean_interval(values)[:3] if known.all() else (np.nan, np.nan, np.nan)
    if lacking:
        return Pooled(statement, mean, low, high, np.nan, f"no answer for {lacking} of {n} seeds", values)
    error = max(values.std(ddof=1) / np.sqrt(n), 1e-300)
    # Student's distance from what would decide it either way: 0, or the nearer end of the margin.
    holds, refuted = (mean / error, -mean / error) if margin is None else ((margin - abs(mean)) / error,) * 2
    refuted = refuted if margin is None else -refuted
    sides = {"holds": stdtr(n - 1, -holds), "refuted": stdtr(n - 1, -refuted)}
    word = min(sides, key=sides.get)
    return Pooled(statement, mean, low, high, min(1.0, 2 * sides[word]), word, values)
