"""From one table to the numbers of a page: settings, replicas, means over seeds at the end and along the way."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from gidd_jax.analysis import failures, final, intervals_by, references, swept, untrained, with_derived

POINTS = 60_000
"""Means of learning curves that a page holds; where there are more, evenly spaced steps of each metric are kept."""
LEAST_STEPS, MOST_STEPS = 8, 120
SPELLED = 3
"""Hypers, besides the dial, whose value every line tells; of more, only what is not the most common."""


class Told(NamedTuple):
    """What the page shows of a table.

    ``lines`` are the groups and, within them, the values of the hypers other than the dial; a *setting* is a line and a
    value of the dial, columns line, value (indices), seeds, dead, control. ``replicas`` has a line a row of the sweep:
    group, row, seed, hypers, setting, died (step, NaN: alive). The rest are means with columns mean, low, high, n: of
    scalars and bins at the last step (``ends``), of scalars before training (``starts``), along the way (``curves``).
    """

    dial: str
    values: list[float]
    lines: list[str]
    others: list[str]
    settings: pd.DataFrame
    replicas: pd.DataFrame
    last: pd.DataFrame
    ends: pd.DataFrame
    starts: pd.DataFrame
    curves: pd.DataFrame
    places: dict[str, tuple[str, int]]


def tell(table: pd.DataFrame, dial: str, derive: bool) -> Told:
    """All statistics of the page; ``derive`` adds what follows from a pair of rows, where the dial is a coupling."""
    replicas, values, lines, others = _replicas(table, dial)
    at = replicas.set_index(["group", "row"])["setting"]
    watched = _watched(table)
    if derive:
        watched = with_derived(watched, dial)
    watched = watched[watched["metric"] != "alive"]
    watched = watched.assign(setting=at.reindex(pd.MultiIndex.from_frame(watched[["group", "row"]])).to_numpy())
    last, first = final(watched), untrained(watched)
    way = _along(watched, len(replicas["setting"].unique()))
    by = ["metric", "setting"]
    told = last.groupby("metric", observed=True)[["split", "step"]].max()
    return Told(
        dial,
        values,
        lines,
        others,
        _settings(replicas, values),
        replicas,
        last[last["bin"] == -1],
        intervals_by(last, [*by, "bin"]),
        intervals_by(first, [*by, "bin"]),
        intervals_by(way, [*by, "split", "step"]),
        {str(metric): (str(row["split"]), int(row["step"])) for metric, row in told.iterrows()},
    )


def selectable(told: Told) -> list[str]:
    """Metrics with panels of their own, scalars first: all but those that stand beside another as its reference."""
    measured = told.ends[told.ends["mean"].notna()]
    scalars = set(measured.loc[measured["bin"] == -1, "metric"])
    binned = set(measured.loc[measured["bin"] >= 0, "metric"])
    beside = {other for metric in scalars | binned for other in references(metric, scalars | binned)}
    alone = {metric for metric in binned if metric.partition("/")[0] not in scalars}
    several = {metric for metric in binned - alone if metric != first_axis(metric.partition("/")[0], binned)}
    return [*sorted(scalars - beside), *sorted((alone | several) - beside)]


def first_axis(metric: str, binned: set[str] | Sequence[str]) -> str | None:
    """The metric by bins that goes with a scalar one: "jump_loss/t" for "jump_loss"; itself where it is binned."""
    if metric in binned:
        return metric
    return min((name for name in binned if name.partition("/")[0] == metric), default=None)


def _replicas(table: pd.DataFrame, dial: str) -> tuple[pd.DataFrame, list[float], list[str], list[str]]:
    key = table["group"].astype(str) + "\0" + table["row"].astype(str)
    rows = table[~key.duplicated()].drop(columns=["step", "boards", "split", "metric", "bin", "value"])
    others = [name for name in swept(rows) if name != dial]
    rows = rows.sort_values(["group", *others, dial, "seed"], kind="stable", ignore_index=True)
    values = sorted(float(value) for value in rows[dial].unique())
    label = _labels(rows, others)
    lines = list(dict.fromkeys(label))
    rows = rows.assign(
        line=[lines.index(name) for name in label],
        value=np.searchsorted(values, rows[dial].to_numpy(float)),
    )
    rows["setting"] = rows.groupby(["line", "value"]).ngroup()
    died = failures(table).rename(columns={"step": "died"})
    return rows.merge(died, on=["group", "row"], how="left"), values, lines, others


def _labels(rows: pd.DataFrame, others: list[str]) -> list[str]:
    texts = {name: rows[name].map("{:g}".format) for name in others}
    usual = {name: text.mode().iloc[0] for name, text in texts.items()}
    told = []
    for index, group in enumerate(rows["group"].astype(str)):
        parts = [
            f"{name} {text.iloc[index]}"
            for name, text in texts.items()
            if len(others) <= SPELLED or text.iloc[index] != usual[name]
        ]
        told.append(", ".join(part for part in (group, *parts) if part) or ("as most" if others else ""))
    return told


def _settings(replicas: pd.DataFrame, values: list[float]) -> pd.DataFrame:
    by = replicas.groupby("setting")
    found = by.agg(line=("line", "first"), value=("value", "first"), rows=("row", "size"), dead=("died", "count"))
    uncoupled = found["value"].map(values.__getitem__) == 0
    return found.assign(control=uncoupled & (len(values) > 1))


def _watched(table: pd.DataFrame) -> pd.DataFrame:
    """Without the training split of every metric that is also measured on held-out data."""
    held_out = table.loc[table["split"] != "train", ["metric"]].drop_duplicates()["metric"]
    return table[(table["split"] != "train") | ~table["metric"].isin(held_out)]


def _along(watched: pd.DataFrame, settings: int) -> pd.DataFrame:
    """Scalars at the steps a curve shows: of the split measured most often, evenly spaced where there are too many."""
    scalars = watched[watched["bin"] == -1]
    steps = scalars.groupby(["metric", "split"], observed=True)["step"].unique()
    best: dict[str, tuple[str, np.ndarray]] = {}
    for (metric, split), found in steps.items():
        if len(found) > max(1, len(best.get(metric, ("", ()))[1])):
            best[metric] = split, np.sort(found)
    most = int(np.clip(POINTS / max(1, len(best) * settings), LEAST_STEPS, MOST_STEPS))
    kept = [(metric, split, step) for metric, (split, found) in best.items() for step in _thinned(found, most)]
    return scalars.merge(pd.DataFrame(kept, columns=["metric", "split", "step"]), on=["metric", "split", "step"])


def _thinned(steps: np.ndarray, most: int) -> np.ndarray:
    if len(steps) <= most:
        return steps
    return steps[np.unique(np.linspace(0, len(steps) - 1, most).round().astype(int))]
