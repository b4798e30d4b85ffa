"""From one table to the numbers of a page: settings, replicas, means over seeds at the end and along the way."""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import pandas as pd

from gidd_jax.analysis import (
    FAMILIES,
    among,
    failures,
    final,
    intervals_by,
    references,
    sampler_of,
    untrained,
    with_derived,
)

POINTS = 60_000
"""Means of learning curves that a page holds; where there are more, evenly spaced steps of each metric are kept."""
LEAST_STEPS, MOST_STEPS = 8, 120
BEFORE = "before training"
"""What stands at step 0: an untrained model, or what a row starts from."""
SPELLED = 3
"""Hypers, besides the dial, whose value every line tells; of more, only what is not the most common."""


class Told(NamedTuple):
    """What the page shows of a table.

    ``lines`` are the groups and, within them, the values of the hypers other than the dial; a *setting* is a line and a
    value of the dial, columns line, value (indices), seeds, dead, control. ``replicas`` has a line a row of the sweep:
    group, row, seed, hypers, setting, died (step, NaN: alive). The rest are means with columns mean, low, high, n: of
    scalars and bins at the last step (``ends``), of scalars before training (``starts``), along the way (``curves``,
    of ``measured`` steps by metric, of which a page holds as many as it has room for).
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
    measured: dict[str, int]
    places: dict[str, tuple[str, int]]


def tell(table: pd.DataFrame, dial: str, others: list[str], derive: bool) -> Told:
    """All statistics of the page: means over all rows of one group and one value of the dial and the ``others``.

    ``derive`` adds what follows from a pair of rows, where the dial is a coupling.
    """
    replicas, values, lines = _replicas(table, dial, others)
    at = replicas.set_index(["group", "row"])["setting"]
    watched = table[table["metric"] != "alive"]
    if derive:
        watched = with_derived(watched, dial)
    watched = watched.assign(setting=at.reindex(pd.MultiIndex.from_frame(watched[["group", "row"]])).to_numpy())
    last, first = final(watched), untrained(watched)
    way, measured = _along(watched, len(replicas["setting"].unique()))
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
        measured,
        {str(metric): (str(row["split"]), int(row["step"])) for metric, row in told.iterrows()},
    )


def variant(metric: str) -> str:
    """The sampler or arm of a metric that belongs to a table of these: "resample" of "puzzle_accuracy@resample"."""
    base, _, how = metric.partition("@")
    told = any(base in family for family in FAMILIES.values())
    return sampler_of(metric) if told else how


def headlines(told: Told) -> list[tuple[str, list[str]]]:
    """The scalars of the tables by family: those of the summary in its order, then what else was measured held out."""
    measured = told.ends[(told.ends["bin"] == -1) & told.ends["mean"].notna()]
    found = set(measured["metric"])
    held_out = {metric for metric in found if told.places[metric][0] != "train"} or found
    beside = {other for metric in found for other in references(metric, found)}
    shown = [m for m in dict.fromkeys(measured["metric"]) if m in held_out - beside and not variant(m)]
    known = [(title, [m for m in among(measured, family) if m in shown]) for title, family in FAMILIES.items()]
    taken = {metric for _, metrics in known for metric in metrics}
    rest = [metric for metric in shown if metric not in taken and not constant(told, metric)]
    other = "Also measured" if taken else "Measured"
    return [(title, metrics) for title, metrics in [*known, (other, rest)] if metrics]


def selectable(told: Told, families: list[tuple[str, list[str]]]) -> list[tuple[str, str]]:
    """(family, metric) of everything that has panels, headlines first: all but what stands beside another metric."""
    measured = told.ends[told.ends["mean"].notna()]
    scalars = set(measured.loc[measured["bin"] == -1, "metric"])
    binned = set(measured.loc[measured["bin"] >= 0, "metric"])
    beside = {other for metric in scalars | binned for other in references(metric, scalars | binned)}
    own = {metric for metric in binned if metric != first_axis(told, metric.partition("/")[0], binned)}
    chosen = [(title, metric) for title, metrics in families for metric in metrics]
    taken = {metric for _, metric in chosen} | beside
    return [*chosen, *((_family(told, m), m) for m in [*sorted(scalars - taken), *sorted(own - taken)])]


def constant(told: Told, metric: str) -> bool:
    """Whether all replicas, more than one, have one and the same value."""
    values = told.last.loc[told.last["metric"] == metric, "value"].to_numpy(float)
    return len(values) > 1 and bool(values.min() == values.max())


def first_axis(told: Told, metric: str, binned: Collection[str]) -> str | None:
    """The metric by bins that goes with a scalar one of the same split: "jump_loss/t" with "jump_loss"; or itself."""
    if metric in binned:
        return metric
    split = told.places.get(metric, ("", 0))[0]
    alike = [name for name in binned if name.partition("/")[0] == metric and told.places[name][0] == split]
    return min(alike, default=None)


def _family(told: Told, metric: str) -> str:
    if variant(metric):
        return "Samplers and arms"
    if "/" in metric:
        return "By bin"
    return "In training" if told.places[metric][0] == "train" else "The same in all replicas"


def _replicas(table: pd.DataFrame, dial: str, others: list[str]) -> tuple[pd.DataFrame, list[float], list[str]]:
    key = table["group"].astype(str) + "\0" + table["row"].astype(str)
    rows = table[~key.duplicated()].drop(columns=["step", "presentations", "split", "metric", "bin", "value"])
    rows = rows.assign(place=pd.factorize(rows["group"])[0])  # groups in the order of the record
    rows = rows.sort_values(["place", *others, dial, "seed"], kind="stable", ignore_index=True).drop(columns="place")
    values = sorted(float(value) for value in rows[dial].unique())
    label = _labels(rows, others)
    lines = list(dict.fromkeys(label))
    rows = rows.assign(
        line=[lines.index(name) for name in label],
        value=np.searchsorted(values, rows[dial].to_numpy(float)),
    )
    rows["setting"] = rows.groupby(["line", "value"]).ngroup()
    died = failures(table).rename(columns={"step": "died"})
    return rows.merge(died, on=["group", "row"], how="left"), values, lines


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
        told.append(", ".join(part for part in (group, *parts) if part) or ("usual" if others else ""))
    return told


def _settings(replicas: pd.DataFrame, values: list[float]) -> pd.DataFrame:
    by = replicas.groupby("setting")
    found = by.agg(line=("line", "first"), value=("value", "first"), rows=("row", "size"), dead=("died", "count"))
    uncoupled = found["value"].map(values.__getitem__) == 0
    return found.assign(control=uncoupled & (len(values) > 1))


def _along(watched: pd.DataFrame, settings: int) -> tuple[pd.DataFrame, dict[str, int]]:
    """Scalars at the steps a curve shows: of the split measured most often, evenly spaced where there are too many.

    And how many there are.
    """
    scalars = watched[watched["bin"] == -1]
    steps = scalars.groupby(["metric", "split"], observed=True)["step"].unique()
    best: dict[str, tuple[str, np.ndarray]] = {}
    for (metric, split), found in steps.items():
        if len(found) > max(1, len(best.get(metric, ("", ()))[1])):
            best[metric] = split, np.sort(found)
    most = int(np.clip(POINTS / max(1, len(best) * settings), LEAST_STEPS, MOST_STEPS))
    kept = [(metric, split, step) for metric, (split, found) in best.items() for step in _thinned(found, most)]
    shown = scalars.merge(pd.DataFrame(kept, columns=["metric", "split", "step"]), on=["metric", "split", "step"])
    return shown, {str(metric): len(found) for metric, (_, found) in best.items()}


def _thinned(steps: np.ndarray, most: int) -> np.ndarray:
    if len(steps) <= most:
        return steps
    return steps[np.unique(np.linspace(0, len(steps) - 1, most).round().astype(int))]
