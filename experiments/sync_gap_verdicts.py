"""What the synchronisation gap's predictions become for one model: intervals of curves and energies, then words."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gidd_jax import analysis
from gidd_jax.studies.syncgap_theory import Amplitudes, Local, Terms

MARGIN = 0.1
"""Of a ratio from 1; a gap in steps is none within a fiftieth of the path."""
RESAMPLES = 1000
PARTS = ("all layers", "first fifth", "last fifth")


class Coupling(NamedTuple):
    """How strongly replicas read each other, and in which layers."""

    g: float
    part: str = PARTS[0]

    def __str__(self) -> str:
        return f"g = {self.g:g}" + ("" if self.part == PARTS[0] else f" in the {self.part}")

    def by_layer(self, layers: int) -> np.ndarray:
        """g of each layer [L]; a fifth is at least one layer."""
        at, fifth = np.arange(layers), max(1, round(layers / 5))
        coupled = {"all layers": at >= 0, "first fifth": at < fifth, "last fifth": at >= layers - fifth}
        return np.where(coupled[self.part], self.g, 0.0)


ARMS = {
    "control: no coupling, one noise": (Coupling(0.0), True),
    "g = 0.3, own noise": (Coupling(0.3), False),
    "g = 1, own noise": (Coupling(1.0), False),
    "g = 1, one noise": (Coupling(1.0), True),
}
"""Name -> coupling, and whether the noise is shared while it acts."""

CONTROL, CLOSED = next(iter(ARMS)), "g = 1, own noise"
PAPER_ARMS = {
    CONTROL: ARMS[CONTROL],
    **{f"g = {g:g}, own noise": (Coupling(g), False) for g in (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)},
}
NATURAL, STRONG, FIRST, LAST = Coupling(0.0), Coupling(0.9), Coupling(0.9, "first fifth"), Coupling(0.9, "last fifth")
COUPLINGS = (NATURAL, STRONG, FIRST, LAST)
"""Of protocol II; STRONG stands for g -> 1."""
PAPER_COUPLINGS = (NATURAL, Coupling(0.1), Coupling(0.3), STRONG, FIRST, LAST)
SCALES = ("coarse", "fine", "feature_cosine")
RISING = {"coarse": False, "fine": False, "feature_cosine": True}
"""Which way a curve goes, by the step of parting, where pairs commit; one that goes the other way has no midpoint."""
NO_SIGMOID, FEW_SETS = "no sigmoid, or too many resamples refused", "too few sets of pairs"


class Verdict(NamedTuple):
    """A statement, its statistic, which is above 0 where it holds, with a 95 % interval, and what becomes of it."""

    statement: str
    value: float
    low: float
    high: float
    word: str
    margin: float | None = None
    """Where given, the statement is that the value lies within it of 0."""


class Ratios(NamedTuple):
    """Energy kept by fine modes over that kept by coarse ones, [L, S]: ``analysis.Gaps``, and fixed cosine modes.

    forgotten: the in-sample ratio of pairs that forgot all. leading, trailing: what is divided, held out.
    """

    in_sample: np.ndarray
    held_out: np.ndarray
    forgotten: np.ndarray
    leading: np.ndarray
    trailing: np.ndarray
    cosine: np.ndarray


class Theory(NamedTuple):
    """The theory at one coupling, at T steps, L blocks and K modes, the first half of them leading."""

    steps: np.ndarray
    terms: Terms
    eta: np.ndarray
    amplitudes: Amplitudes
    local: Local
    closure: np.ndarray
    predicted: np.ndarray
    """Step at which each mode should part [L, K], NaN where it never should."""
    observed: np.ndarray | None = None
    """Of g = 0: steps after which pairs that go on with other noise end alike along a mode [L, K], NaN if refused."""


class Measured(NamedTuple):
    """Of one model and class. Curves: scale -> arm (and strangers) -> [pairs, T]; ends: scale -> part -> [pairs]."""

    until: np.ndarray
    curves: dict[str, dict[str, np.ndarray]]
    ends: dict[str, dict[str, np.ndarray]]
    ratios: dict[Coupling, Ratios]
    left_out: dict[Coupling, list[Ratios]]
    dimension: float
    theory: dict[Coupling, Theory]

    @property
    def arms(self) -> list[str]:
        """What was done to pairs, the control first."""
        return [name for name in self.curves["coarse"] if name != "strangers"]


def named(kind: int | None) -> str:
    """'class 3' or 'no class'."""
    return "no class" if kind is None else f"class {kind}"


def with_jackknife(grams: np.ndarray, bands: np.ndarray, sets: int) -> tuple[Ratios, list[Ratios]]:
    """The ratios of grams [L, S, M, M] and cosine bands [L, S, 2, M], and the ratios without each set in turn."""
    rows = np.arange(grams.shape[-1]).reshape(sets, -1)

    def ratios(kept: np.ndarray, sets: int) -> Ratios:
        power = bands[..., kept].sum(-1)
        share = power / power[:, :1]
        return Ratios(*analysis.mode_gaps(grams[..., kept[:, None], kept], sets), share[..., 1] / share[..., 0])

    without = [np.delete(rows, i, axis=0).ravel() for i in range(sets)]
    return ratios(rows.ravel(), sets), [ratios(kept, sets - 1) for kept in without]


def judged(statement: str, value: float, low: float, high: float, lacking: str = FEW_SETS) -> Verdict:
    """Holds above 0, refuted below, undecided across; no answer where there is no number, for what is ``lacking``."""
    if not np.isfinite([value, low, high]).all():
        return Verdict(statement, value, low, high, f"no answer: {lacking}")
    word = "holds" if low > 0 else "refuted" if high < 0 else "undecided"
    return Verdict(statement, value, low, high, word)


def within(statement: str, value: float, low: float, high: float, margin: float, lacking: str = FEW_SETS) -> Verdict:
    """Holds where the interval lies within the margin of 0, refuted where it lies outside; else as ``judged``."""
    if not np.isfinite([value, low, high]).all():
        return Verdict(statement, value, low, high, f"no answer: {lacking}", margin)
    held, refuted = -margin < low and high < margin, low > margin or high < -margin
    return Verdict(statement, value, low, high, "holds" if held else "refuted" if refuted else "undecided", margin)


def jackknifed(statistic: Callable[[Any], float], whole: Any, without: list[Any]) -> tuple[float, float, float]:
    """The statistic and its 95 % interval, 1.96 jackknife errors wide each way."""
    value, parts = statistic(whole), np.array([statistic(each) for each in without])
    error = float(jackknife_error(parts))
    return float(value), float(value - 1.96 * error), float(value + 1.96 * error)


def jackknife_error(parts: np.ndarray) -> np.ndarray:
    """Standard error of what n values, each without one set, were left from."""
    n = len(parts)
    return np.sqrt((n - 1) / n * np.square(parts - parts.mean(0)).sum(0))


def resamples(pairs: int) -> np.ndarray:
    """The same draws of pairs for everything that is compared."""
    return np.random.default_rng(0).integers(pairs, size=(RESAMPLES, pairs))


def hierarchy(found: Measured, arm: str) -> Verdict:
    """Prediction 1 of one arm: fine midpoint - coarse midpoint, seeds resampled together."""
    numbers = between(found, ("coarse", arm), ("fine", arm))
    return judged(f"1 coarse before fine, steps ({arm})", *numbers, NO_SIGMOID)


def earlier(found: Measured, scale: str) -> Verdict:
    """Whether stronger coupling brings commitment forward, of the arms with own noise: weakest less strongest."""
    own = [name for name in found.arms if name.endswith("own noise")]
    numbers = between(found, (scale, own[-1]), (scale, own[0]))
    return judged(f"1 commits earlier at {_g(own[-1])} than at {_g(own[0])}, steps ({scale})", *numbers, NO_SIGMOID)


def between(found: Measured, first: tuple[str, str], second: tuple[str, str]) -> tuple[float, float, float]:
    """Midpoint of the second (scale, arm) less that of the first, with its 95 % interval, pairs resampled together."""
    curves = [found.curves[scale][arm] for scale, arm in (first, second)]
    idx, ways = resamples(len(curves[0])), [RISING[scale] for scale, _ in (first, second)]
    at = [analysis.fit_sigmoid(found.until, np.median(y, 0), way).midpoint for y, way in zip(curves, ways, strict=True)]
    spread = [analysis.bootstrap_midpoint(found.until, y, idx, way) for y, way in zip(curves, ways, strict=True)]
    gap = spread[1] - spread[0]
    kept = gap[np.isfinite(gap)]
    low, high = np.quantile(kept, [0.025, 0.975]) if len(kept) > 0.95 * len(gap) else (np.nan, np.nan)
    return at[1] - at[0], float(low), float(high)


def _g(arm: str) -> str:
    return arm.partition(",")[0]


def nearer(found: Measured) -> Verdict:
    """Prediction 2 as a cause, in behaviour: commitment reached by coupling the last layers alone, less the first."""
    d, apart = (found.ends["coarse"][part] for part in PARTS[1:]), found.curves["coarse"]["strangers"]
    first, last = d

    def more(rows: np.ndarray) -> np.ndarray:
        return (np.median(first[rows], -1) - np.median(last[rows], -1)) / np.median(apart[rows], -1)

    low, high = np.quantile(more(resamples(len(apart))), [0.025, 0.975])
    whole = float(more(np.arange(len(apart))))
    return judged("2 cause: coupled last fifth brings nearer than first (coarse)", whole, low, high)


def last_layers(gap: np.ndarray) -> float:
    """Mean of the last fifth of layers less that of the first half, at the last step, of [L, S]."""
    layers = len(gap)
    return float(gap[-max(1, round(layers / 5)) :, -1].mean() - gap[: layers // 2, -1].mean())


def verdicts(found: Measured) -> list[Verdict]:
    """Every prediction, by the estimator that decides, and prediction 2 by the paper's beside it."""
    whole, left_out = found.ratios, found.left_out
    told = [hierarchy(found, arm) for arm in found.arms] + [earlier(found, scale) for scale in ("coarse", "fine")]
    for name in ("in_sample", "held_out"):
        pick = lambda ratios, name=name: last_layers(getattr(ratios, name))  # noqa: E731
        numbers = jackknifed(pick, whole[NATURAL], left_out[NATURAL])
        told.append(judged(f"2 last layers over first half, g = 0 ({name.replace('_', ' ')})", *numbers))
    end = lambda ratios: float(ratios.held_out[-1, -1])  # noqa: E731
    apart = list(zip(left_out[FIRST], left_out[LAST], strict=True))
    numbers = jackknifed(lambda two: end(two[0]) - end(two[1]), (whole[FIRST], whole[LAST]), apart)
    told.append(judged("2 cause: coupled last fifth closes the gap more than first", *numbers))
    told.append(nearer(found))
    numbers = jackknifed(lambda ratios: end(ratios) - 1, whole[NATURAL], left_out[NATURAL])
    told.append(judged("3 gap - 1 at g = 0, last layer (held out)", *numbers))
    numbers = jackknifed(lambda ratios: end(ratios) - 1, whole[STRONG], left_out[STRONG])
    told.append(within(f"4 internal: gap - 1 at {STRONG}, last layer (held out)", *numbers, MARGIN))
    steps = int(found.until[-1])
    numbers = between(found, ("coarse", CLOSED), ("fine", CLOSED))
    told.append(within("4 behaviour: gap in steps at g = 1", *numbers, steps / 50, NO_SIGMOID))
    return told + (assumptions(found.theory[NATURAL], steps) if found.theory else [])


def assumptions(of: Theory, steps: int) -> list[Verdict]:
    """What the theory rests on and what it predicts, at g = 0; without an interval, which only several models give."""
    size = lambda x: float(np.abs(np.asarray(x)).mean())  # noqa: E731
    chi = np.asarray(of.terms.chi)
    lead, trail = np.split(chi, 2, axis=-1)
    both = np.abs(of.predicted - of.observed) <= steps / 10
    seen = np.isfinite(of.observed)
    values = {
        "theory: closure (56) to 10 % over a step's blocks": np.log2(1.1) - size(of.closure[:, -1]),
        "theory: |pi| below a tenth of |chi| (59)": 0.1 - size(of.terms.pi) / size(chi),
        "theory: leading chi above trailing (61)": float((lead - trail).mean()),
        "theory: gamma > 0 at 95 % of steps and blocks": float((np.asarray(of.local.gain.gamma) > 0).mean()) - 0.95,
        "theory: half of the modes seen to part are predicted": (both & seen).sum() / seen.sum() - 0.5
        if seen.any()
        else np.nan,
    }
    return [judged(name, float(value), np.nan, np.nan)._replace(word="one model") for name, value in values.items()]
