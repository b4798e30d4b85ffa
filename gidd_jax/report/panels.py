"""From means to panels: what one set of axes shows, as plain values that both our SVG and the page's script draw."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gidd_jax.analysis import axis_label, metric_name, references
from gidd_jax.report import axes
from gidd_jax.report.told import BEFORE, Told, first_axis

# What a binned metric is binned by, as an axis says it; others say the word after the "/".
AXES = {
    "t": "noise level t (probability)",
    "r": "R (probability)",
    "level": "level of the ramp",
    "up": "level of the ramp, on the way up",
    "down": "level of the ramp, on the way down",
    "fork": "step of parting (of the path)",
    "layer": "layer",
}
FAR = 2.0
"""A guide farther off than this many ranges of the data is told in words."""
ALIKE = 0.25
"""Settings of a line share a reference where it varies among them by no more than this share."""
GUIDED = 4
"""Lines whose references are drawn each in its colour; of more, their mean."""


class Panels(NamedTuple):
    """Panels by metric, and the axes they share: a panel's ``x`` is an index into these."""

    axes: list[dict[str, Any]]
    metrics: list[dict[str, Any]]


def panels(told: Told, metrics: list[tuple[str, str]], label: str) -> Panels:
    """The panels of every (family, metric): at the end against the dial, along the way by setting, by bin.

    A panel: x, y [low, high, ticks], label, by ("line" or "setting"), s (their indices), mean and half [s][x], n, and
    guides [[name, line or null, values]], in the metric's units; half is null where one seed is all there is. beyond:
    [text, above] of the guides that lie too far off to be drawn without flattening the rest.
    """
    shared: list[dict[str, Any]] = []
    found = []
    at = _by_metric(told)
    binned = [name for name, rows in at["ends"].items() if (rows["bin"] >= 0).any()]
    for family, metric in metrics:
        of = {
            "end": _end(told, at, metric, label),
            "way": _way(told, at, metric),
            "bins": _bins(told, at, first_axis(told, metric, binned)),
        }
        drawn = {place: panel for place, panel in of.items() if panel is not None}
        for panel in drawn.values():
            if panel["x"] not in shared:
                shared.append(panel["x"])
            panel["x"] = shared.index(panel["x"])
        if drawn:
            found.append({"key": metric, "name": metric_name(metric), "family": family, **drawn})
    return Panels(shared, found)


def _by_metric(told: Told) -> dict[str, dict[str, pd.DataFrame]]:
    tables = {"ends": told.ends, "starts": told.starts, "curves": told.curves, "last": told.last}
    return {name: dict(iter(rows.groupby("metric", observed=True))) for name, rows in tables.items()}


def _end(told: Told, at: dict, metric: str, label: str) -> dict[str, Any] | None:
    if metric not in at["ends"] or not (at["ends"][metric]["bin"] == -1).any():
        return None
    shape = (len(told.lines), len(told.values))

    def grid(rows: pd.DataFrame, column: str) -> np.ndarray:
        rows = rows[rows["bin"] == -1]
        index = told.settings.loc[rows["setting"], ["line", "value"]].to_numpy().T
        return _filled(shape, index, rows[column])

    guides = [(BEFORE, grid(at["starts"][metric], "mean"))] if _told_of(at["starts"], metric) else []
    if metric.startswith("benefit"):
        guides = [("no effect", np.where(np.isfinite(grid(at["ends"][metric], "mean")), 0.0, np.nan))]
    for other in references(metric, set(at["ends"])):
        guides.append((metric_name(other), grid(at["ends"][other], "mean")))
    split, step = told.places[metric]
    panel = _panel(metric, axes.dial(label, told.values), "line", guides)
    rows = at["last"][metric].set_index(["group", "row"])["value"]
    rows = rows[~rows.index.duplicated()].reindex(pd.MultiIndex.from_frame(told.replicas[["group", "row"]]))
    told_n = grid(at["ends"][metric], "n")
    numbers = [grid(at["ends"][metric], column) for column in ("mean", "high")]
    panel |= {"where": f"{split}, step {step:,}", "dots": axes.rounded(rows.to_numpy(float))}
    return _with(panel, *numbers, told_n, rows.to_numpy(float))


def _way(told: Told, at: dict, metric: str) -> dict[str, Any] | None:
    if metric not in at["curves"]:
        return None
    rows = at["curves"][metric]
    steps, place = np.unique(rows["step"], return_inverse=True)
    index = (rows["setting"].to_numpy(int), place)
    shape = (len(told.settings), len(steps))
    numbers = [_filled(shape, index, rows[column]) for column in ("mean", "high", "n")]
    guides = [
        (metric_name(other), _of_lines(told, at["ends"][other], len(steps)))
        for other in references(metric, set(at["ends"]))
    ]
    panel = _panel(metric, axes.steps(steps.astype(float).tolist()), "setting", guides)
    where, measured = str(rows["split"].iloc[0]), told.measured[metric]
    if len(steps) < measured:
        where += f", {len(steps)} of {measured:,} measured steps"
    return _with(panel | {"where": where}, *numbers)


def _bins(told: Told, at: dict, metric: str | None) -> dict[str, Any] | None:
    if metric is None or metric not in at["ends"]:
        return None
    rows = at["ends"][metric]
    count = int(rows["bin"].max()) + 1
    name = AXES.get(metric.partition("/")[2], metric.partition("/")[2].replace("_", " "))

    def grid(rows: pd.DataFrame, column: str) -> np.ndarray:
        shape = (len(told.settings), max(count, int(rows["bin"].max()) + 1))
        return _filled(shape, (rows["setting"].to_numpy(int), rows["bin"].to_numpy(int)), rows[column])[:, :count]

    guides = [(BEFORE, _lines_of(told, grid(at["starts"][metric], "mean")))] if metric in at["starts"] else []
    others = references(metric, set(at["ends"]))
    guides += [(metric_name(other), _lines_of(told, grid(at["ends"][other], "mean"))) for other in others]
    panel = _panel(metric, axes.bins(name, count), "setting", guides)
    panel["where"] = "{}, step {:,}".format(*told.places[metric])
    return _with(panel, *(grid(rows, column) for column in ("mean", "high", "n")))


def _panel(metric: str, x: dict[str, Any], by: str, guides: list[tuple[str, np.ndarray]]) -> dict[str, Any]:
    return {"x": x, "label": axis_label(metric), "by": by, "guides": _drawn(guides)}


def _with(panel: dict, mean: np.ndarray, high: np.ndarray, n: np.ndarray, dots: Any = ()) -> dict[str, Any] | None:
    """The panel with its series, but for those without a number; None where none is left."""
    kept = np.flatnonzero(np.isfinite(mean).any(axis=1))
    if not len(kept):
        return None
    mean, n, half = mean[kept], n[kept], (high - mean)[kept]
    near, beyond = _near(panel["guides"], [*mean.ravel(), *dots])
    counts = [sorted({int(count) for count in row if count > 0}) for row in n]
    return panel | {
        "s": kept.tolist(),
        "mean": [axes.rounded(row) for row in mean],
        "half": [axes.rounded(row) if np.isfinite(row).any() else None for row in half],
        "n": [c[0] if len(c) == 1 else axes.rounded(row) for c, row in zip(counts, n, strict=True)],
        "y": axes.vertical([*mean.ravel(), *dots, *near], [*(mean - half).ravel(), *(mean + half).ravel()]),
        "beyond": beyond,
    }


def _filled(shape: tuple[int, int], index: Any, values: pd.Series) -> np.ndarray:
    grid = np.full(shape, np.nan)
    grid[tuple(index)] = values.to_numpy(float)
    return grid


def _of_lines(told: Told, rows: pd.DataFrame, count: int) -> np.ndarray:
    """A scalar of every line, the same at all x."""
    rows = rows[rows["bin"] == -1]
    grid = _filled((len(told.settings), 1), (rows["setting"].to_numpy(int), 0), rows["mean"])
    return np.repeat(_lines_of(told, grid), count, axis=1)


def _lines_of(told: Told, grid: np.ndarray) -> np.ndarray:
    """Means over the settings of each line, [lines, x]; NaN where they are not alike, as a theory along a dial."""
    by = pd.DataFrame(grid).groupby(told.settings["line"].to_numpy())
    mean, spread = by.mean(), by.max() - by.min()
    return mean.where(spread <= ALIKE * mean.abs()).to_numpy()


def _told_of(tables: dict[str, pd.DataFrame], metric: str) -> bool:
    return metric in tables and bool((tables[metric]["bin"] == -1).any())


def _near(guides: list[list[Any]], shown: list[Any]) -> tuple[list[Any], list[list[Any]]]:
    """Values of the guides within reach of what is ``shown``; what the others are, in words."""
    shown = [value for value in shown if np.isfinite(value)]
    low, high = min(shown), max(shown)
    reach = max(FAR * (high - low), 0.1 * max(abs(low), abs(high)))
    near, beyond = [], {}
    for name, _, values in guides:
        known = [value for value in values if value is not None]
        if known and (min(known) > high + reach or max(known) < low - reach):
            beyond.setdefault((name, bool(min(known) > high)), []).append(float(np.mean(known)))
        else:
            near += known
    return near, [[f"{name} {axes.plain(float(f'{np.mean(v):.3g}'))}", above] for (name, above), v in beyond.items()]


def _drawn(guides: list[tuple[str, np.ndarray]]) -> list[list[Any]]:
    """References by line where these are few and differ, else as one."""
    found = []
    for name, grid in guides:
        lines = pd.DataFrame(grid).dropna(how="all")
        differ = (lines.max() - lines.min()).max() > 1e-6 * lines.abs().max().max()
        if len(lines) > 1 and differ and len(lines) <= GUIDED:
            found += [
                [name, int(line), axes.rounded(row)] for line, row in zip(lines.index, lines.to_numpy(), strict=True)
            ]
        elif len(lines):
            found.append([name, None, axes.rounded(lines.mean().to_numpy())])
    return found
