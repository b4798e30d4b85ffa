"""What the synchronisation gap's four predictions become, from curves and energies: intervals, then words."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gidd_jax import analysis

ARMS = {
    "control: no coupling, one noise": (0.0, True),
    "g = 0.3, own noise": (0.3, False),
    "g = 1, own noise": (1.0, False),
    "g = 1, one noise": (1.0, True),
}
"""Name -> coupling, and whether the noise is shared while it acts."""

CONTROL = next(iter(ARMS))
PAPER_ARMS = {CONTROL: ARMS[CONTROL], **{f"g = {g:g}, own noise": (g, False) for g in (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)}}
COUPLINGS = (0.0, 0.9)
"""Of protocol II; 0 first, and the last one stands for g -> 1."""
MARGIN = 0.1
RESAMPLES = 1000


class Verdict(NamedTuple):
    """A statement, its statistic with a 95 % interval, and what becomes of it."""

    statement: str
    value: float
    low: float
    high: float
    word: str


class Measured(NamedTuple):
    """Of one class: curves by arm (and strangers), [pairs, T]; energy ratios by g, [L, S], with jackknife errors."""

    until: np.ndarray
    coarse: dict[str, np.ndarray]
    fine: dict[str, np.ndarray]
    cosine: dict[str, np.ndarray]
    gaps: dict[float, analysis.Gaps]
    left_out: dict[float, list[analysis.Gaps]]
    dimension: float
    bands: dict[float, np.ndarray]
    terms: dict[float, Any]

    @property
    def arms(self) -> list[str]:
        """What was done to pairs, the control first."""
        return [name for name in self.coarse if name != "strangers"]


def named(kind: int | None) -> str:
    """'class 3' or 'no class'."""
    return "no class" if kind is None else f"class {kind}"


def with_jackknife(grams: np.ndarray, sets: int) -> tuple[analysis.Gaps, list[analysis.Gaps]]:
    """The ratios, and the ratios without each set in turn."""
    rows = np.arange(grams.shape[-1]).reshape(sets, -1)
    kept = [np.delete(rows, i, axis=0).ravel() for i in range(sets)]
    without = [analysis.mode_gaps(grams[..., k[:, None], k], sets - 1) for k in kept]
    return analysis.mode_gaps(grams, sets), without


def judged(statement: str, value: float, low: float, high: float) -> Verdict:
    """Holds above 0, refuted below, undecided across; no answer where there is no number."""
    if not np.isfinite([value, low, high]).all():
        return Verdict(statement, value, low, high, "no answer: no sigmoid, or too many resamples refused")
    word = "holds" if low > 0 else "refuted" if high < 0 else "undecided"
    return Verdict(statement, value, low, high, word)


def jackknifed(statistic: Callable[[Any], float], whole: Any, without: list[Any]) -> tuple[float, float, float]:
    """The statistic and its 95 % interval, 1.96 jackknife errors wide each way."""
    value, parts = statistic(whole), np.array([statistic(each) for each in without])
    n = len(parts)
    error = float(np.sqrt((n - 1) / n * np.square(parts - parts.mean()).sum()))
    return float(value), float(value - 1.96 * error), float(value + 1.96 * error)


def hierarchy(found: Measured, arm: str) -> Verdict:
    """Prediction 1 of one arm: fine midpoint - coarse midpoint, seeds resampled together."""
    pairs = len(found.coarse[arm])
    idx = np.random.default_rng(0).integers(pairs, size=(RESAMPLES, pairs))
    both = [(analysis.fit_sigmoid(found.until, np.median(y, 0)).midpoint) for y in (found.coarse[arm], found.fine[arm])]
    coarse, fine = (analysis.bootstrap_midpoint(found.until, y, idx) for y in (found.coarse[arm], found.fine[arm]))
    gap = fine - coarse
    kept = gap[np.isfinite(gap)]
    low, high = np.quantile(kept, [0.025, 0.975]) if len(kept) > 0.95 * len(gap) else (np.nan, np.nan)
    return judged(f"1 coarse before fine, steps ({arm})", both[1] - both[0], low, high)


def last_layers(gap: np.ndarray) -> float:
    """Mean of the last fifth of layers less that of the first half, at the last step, of [L, S]."""
    layers = len(gap)
    return float(gap[-max(1, round(layers / 5)) :, -1].mean() - gap[: layers // 2, -1].mean())


def verdicts(found: Measured) -> list[Verdict]:
    """Every prediction, by the estimator that decides, and prediction 2 by the paper's beside it."""
    apart, *_, closed = found.gaps
    told = [hierarchy(found, arm) for arm in found.arms]
    for name in ("in_sample", "held_out"):
        pick = lambda gaps, name=name: last_layers(getattr(gaps, name))  # noqa: E731
        numbers = jackknifed(pick, found.gaps[apart], found.left_out[apart])
        told.append(judged(f"2 last layers over first half, g = 0 ({name.replace('_', ' ')})", *numbers))
    end = lambda gaps: float(gaps.held_out[-1, -1])  # noqa: E731
    numbers = jackknifed(lambda gaps: end(gaps) - 1, found.gaps[apart], found.left_out[apart])
    told.append(judged("3 gap - 1 at g = 0, last layer (held out)", *numbers))
    value, low, high = jackknifed(lambda gaps: end(gaps) - 1, found.gaps[closed], found.left_out[closed])
    word = "holds" if -MARGIN < low and high < MARGIN else "refuted" if low > MARGIN or high < -MARGIN else "undecided"
    told.append(Verdict(f"4 internal: gap - 1 at g = {closed:g}, last layer (held out)", value, low, high, word))
    behaved = hierarchy(found, "g = 1, own noise")
    word = behaved.word if "no answer" in behaved.word else "refuted" if behaved.low > 0 else "undecided"
    told.append(behaved._replace(statement="4 behaviour: no gap in steps at g = 1", word=word))
    return told
