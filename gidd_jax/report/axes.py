"""Where things stand on a figure: ranges, ticks, places of a dial's values, numbers as people read them."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from gidd_jax.grid import Number

FLAT = 2e-4
"""Range over size below which values are one value, at the five digits a page holds."""
TINY = 1e-12
MARGIN = 0.04
MOST_TICKS = 6


def rounded(values: Iterable[Any]) -> list[float | int | None]:
    """Five significant digits, null where there is no number: what a data block holds of an array."""
    return [None if not math.isfinite(value) else _short(float(value)) for value in values]


def decimals(values: Iterable[Any]) -> int:
    """Digits behind the point that show the largest of the values with three digits, or four from 1 on; six at most."""
    sizes = [abs(value) for value in values if value is not None and math.isfinite(value) and value]
    if not sizes:
        return 3
    whole = math.floor(math.log10(max(sizes)))
    return min(6, max(0, 2 - whole + (whole >= 0)))


def shown(value: Number | None, places: int) -> str:
    """A number with so many decimals and a true minus, a bare 0 where it is exactly that; a dash for none."""
    if value is None or not math.isfinite(value):
        return "–"
    return (f"{value:z.{places}f}" if value else "0").replace("-", "−")


def plain(value: Number) -> str:
    """A dial's value as it was given: 0.5, 1, 0.001."""
    return f"{value:g}".replace("-", "−")


def ticks(low: Number, high: Number, most: int = MOST_TICKS) -> list[tuple[Number, str]]:
    """Round numbers within [low, high], at most so many, as (value, text)."""
    if not high > low:
        return [(low, plain(low))]
    rough = (high - low) / max(most - 1, 1)
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [(k * step, _tick(k * step, step)) for k in range(first, last + 1)]


def limits(middles: Iterable[Any], ends: Iterable[Any]) -> tuple[float, float]:
    """The range of an axis that shows all ``middles`` and of the ``ends`` of intervals what lies near them.

    Two seeds have an interval of 12.7 standard errors: it is cut off rather than let it flatten the lines.
    """
    middles = _finite(middles)
    if not len(middles):
        return 0.0, 1.0
    low, high = middles.min(), middles.max()
    size = max(abs(low), abs(high))
    if high - low <= FLAT * size or size < TINY:
        room = 0.05 * size if size > TINY else 0.05
        return float(low - room), float(high + room)
    slack, ends = 0.5 * (high - low), _finite(ends)
    if len(ends):
        low, high = max(min(low, ends.min()), low - slack), min(max(high, ends.max()), high + slack)
    room = 0.04 * (high - low)
    return float(low - room), float(high + room)


def vertical(middles: Iterable[Any], ends: Iterable[Any]) -> list[Any]:
    """[low, high, [[value, text], ...]] of a vertical axis."""
    low, high = limits(middles, ends)
    return [float(f"{low:.9g}"), float(f"{high:.9g}"), [[_short(value), text] for value, text in ticks(low, high)]]


def steps(at: Sequence[Any]) -> dict[str, Any]:
    """The axis of training steps, from 0."""
    top = max([*at, 1])
    return {
        "label": "step",
        "at": rounded(at),
        "pos": rounded(value / top for value in at),
        "ticks": [[_short(value / top), text] for value, text in ticks(0, top)],
    }


def dial(label: str, values: Sequence[Any]) -> dict[str, Any]:
    """The axis of a dial: logarithmic (linear from zero to its smallest value) where most values lie far below the top.

    That is: they span more than 30 times, and half of them are below a quarter of the largest.
    """
    values = np.asarray(values, float)
    sizes = np.abs(values[values != 0])
    bent = len(sizes) > 1 and sizes.max() > 30 * sizes.min() and np.median(sizes) < sizes.max() / 4
    places = _spread(np.sign(values) * np.log10(np.maximum(np.abs(values) / sizes.min(), 0.1) * 10) if bent else values)
    if bent or len(values) <= MOST_TICKS:
        marks = _apart([(place, f"{value:.3g}") for place, value in zip(places, values, strict=True)])
    else:
        low, span = values.min(), np.ptp(values)
        marks = [(MARGIN + (1 - 2 * MARGIN) * (value - low) / span, text) for value, text in ticks(low, low + span)]
    return {
        "label": label,
        "at": rounded(values),
        "pos": rounded(places),
        "ticks": [[_short(float(place)), text.replace("-", "−")] for place, text in marks],
    }


def bins(label: str, count: int) -> dict[str, Any]:
    """The axis of a binned metric: middles of equal bins of [0, 1] where it is a probability's, else 0, 1, .."""
    if "(probability)" in label:
        at = (np.arange(count) + 0.5) / count
        return {
            "label": label,
            "at": rounded(at),
            "pos": rounded(at),
            "ticks": [[_short(value), text] for value, text in ticks(0, 1)],
        }
    top = max(count - 1, 1)
    return {
        "label": label,
        "at": list(range(count)),
        "pos": rounded((np.arange(count) / top) if count > 1 else [0.5]),
        "ticks": [[_short(value / top), text] for value, text in ticks(0, top) if value == int(value)],
    }


def _spread(values: np.ndarray) -> np.ndarray:
    """Values to places, with room at both ends; one value stands in the middle."""
    span = np.ptp(values)
    return MARGIN + (1 - 2 * MARGIN) * (values - values.min()) / span if span > 0 else np.full(len(values), 0.5)


def _apart(marks: list[tuple[Number, str]]) -> list[tuple[Number, str]]:
    """Those of the marks whose texts leave room between them."""
    kept: list[tuple[Number, str]] = []
    for place, text in marks:
        if not kept or place - kept[-1][0] > 0.035 * (len(text) + len(kept[-1][1])) / 2 + 0.03:
            kept.append((place, text))
    return kept


def _tick(value: Number, step: Number) -> str:
    if value == 0:
        return "0"
    if abs(step) < 0.9e-5:
        places = math.floor(math.log10(abs(value)) + 1e-9) - math.floor(math.log10(step) + 1e-9) + _halved(step)
        return f"{value:.{max(0, places)}e}".replace("-", "−")
    if step >= 1000:
        size, letter = (1e6, "M") if step >= 1e6 else (1e3, "k")
        return f"{value / size:g}{letter}".replace("-", "−")
    places = max(0, -math.floor(math.log10(step) + 1e-9) + _halved(step))
    return f"{value:.{places}f}".replace("-", "−")


def _halved(step: Number) -> bool:
    """Whether the step is 2.5 of its power of ten, and needs a digit more."""
    return f"{step:.1e}"[2] == "5"


def _short(value: Number) -> float | int:
    value = float(f"{value:.5g}")
    return int(value) if value.is_integer() and abs(value) < 1e9 else value


def _finite(values: Iterable[Any]) -> np.ndarray:
    array = np.array([value for value in values if value is not None], float)
    return array[np.isfinite(array)]
