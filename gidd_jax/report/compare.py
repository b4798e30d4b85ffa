"""Two sweeps or more side by side: what differs in what was run, and by how much they differ where settings match."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from gidd_jax.analysis import axis_label, intervals_by
from gidd_jax.report import axes, tables
from gidd_jax.report.gather import Sweep, hypers, spelled, versions
from gidd_jax.report.markup import Markup, tag
from gidd_jax.report.tables import Column, cell, table
from gidd_jax.report.told import Told


def section(
    told: Told, origin: dict[str, tuple[int, int]], sweeps: Sequence[Sweep], metrics: Sequence[str]
) -> list[Markup]:
    """Everything that tells the sweeps apart."""
    note = (
        f"{tables.INTERVAL}. Differences are paired over the seeds that both sweeps have; in bold those whose "
        "95\u00a0% interval leaves out 0, as one in twenty does where there is no difference."
    )
    return [
        tag("h3", "What differs"),
        differences(sweeps),
        tag("h3", "Where settings match"),
        tag("p", note, class_="note"),
        tables.finder("side-by-side", "metrics and settings"),
        side_by_side(told, origin, sweeps, metrics),
    ]


def differences(sweeps: Sequence[Sweep]) -> Markup:
    """A line for everything that was not the same: versions, settings, data, values of dials, seeds, the command."""
    told = [_facts(sweep) for sweep in sweeps]
    names = dict.fromkeys(name for facts in told for name in facts)
    rows = [
        [name, *(facts.get(name, "–") for facts in told)]
        for name in names
        if len({facts.get(name) for facts in told}) > 1
    ]
    if not rows:
        return tag("p", "Nothing differs in config, data, dials, seeds and versions.")
    return table("what-differs", [Column("what"), *(Column(sweep.name) for sweep in sweeps)], rows, look="words")


def side_by_side(told: Told, origin: dict[str, tuple[int, int]], sweeps: Sequence[Sweep], metrics: list[str]) -> Markup:
    """Means of every setting that two sweeps share, and the differences from the first sweep, paired over seeds."""
    rows = told.last[told.last["metric"].isin(metrics)].merge(
        told.replicas[["group", "row", "seed", "setting", *told.others, told.dial]],
        on=["group", "row"],
        suffixes=("_", ""),
    )
    place = rows["group"].map(origin)
    alike = len({len(sweep.record["groups"]) for sweep in sweeps}) == 1
    several = alike and len(sweeps[0].record["groups"]) > 1
    rows = rows.assign(sweep=place.str[0], part=place.str[1] if several else 0)
    if not alike:  # groups of unlike sweeps have no partner
        rows = rows.iloc[:0]
    by = ["metric", "part", *told.others, told.dial]
    means = intervals_by(rows, [*by, "sweep"]).assign(half=lambda found: found["high"] - found["mean"])
    apart = _differences(rows, by, len(sweeps))
    shared = means.groupby(by, observed=True)["sweep"].transform("size") > 1
    at = {key: of.set_index("sweep") for key, of in means[shared].groupby(by, observed=True, sort=True)}
    if not at:
        return tag("p", "No setting of one sweep is a setting of another: nothing to subtract.")
    columns = [Column("metric"), *([Column("group")] if several else [])]
    columns += [Column(name.replace("_", " "), "", True) for name in (*told.others, told.dial)]
    columns += [Column(sweep.name, "mean", True) for sweep in sweeps]
    columns += [Column(f"{sweep.name} − {sweeps[0].name}", "difference", True) for sweep in sweeps[1:]]
    order = {metric: index for index, metric in enumerate(metrics)}
    lines = []
    for key in sorted(at, key=lambda key: (order[key[0]], *key[1:])):
        metric, part, *where = key
        places = axes.decimals(at[key]["mean"])
        cells = [axis_label(metric), *([f"g{part}"] if several else [])]
        cells += [axes.plain(value) for value in where]
        cells += [cell(at[key], sweep, places, _n(at[key], sweep)) for sweep in range(len(sweeps))]
        cells += [_difference(apart.get((*key, sweep)), places) for sweep in range(1, len(sweeps))]
        lines.append(cells)
    return table("side-by-side", columns, lines)


def _differences(rows: pd.DataFrame, by: list[str], count: int) -> dict[tuple, Any]:
    """Interval of (sweep - first) over the seeds both have, by setting and sweep."""
    same = [*by, "seed"]
    first = rows.loc[rows["sweep"] == 0, [*same, "value"]]
    found = {}
    for sweep in range(1, count):
        pairs = rows.loc[rows["sweep"] == sweep, [*same, "value"]].merge(first, on=same, suffixes=("", "_first"))
        pairs = pairs.assign(value=pairs["value"] - pairs["value_first"])
        for line in intervals_by(pairs, by).itertuples(index=False):
            found[(*line[: len(by)], sweep)] = line
    return found


def _difference(found: Any, places: int) -> Any:
    if found is None or not np.isfinite(found.mean):
        return "–"
    if not np.isfinite(found.high):
        return [axes.shown(found.mean, places), tag("span", f" n {found.n}", class_="half")]
    places = max(places, axes.decimals([found.mean]))
    half = tag("span", f" ±{axes.shown(found.high - found.mean, places)}", class_="half")
    clear = found.low > 0 or found.high < 0
    return [tag("span", axes.shown(found.mean, places), class_="sign" if clear else None), half]


def _n(means: pd.DataFrame, sweep: int) -> int:
    return int(means.at[sweep, "n"]) if sweep in means.index else 0


def _facts(sweep: Sweep) -> dict[str, str]:
    said = sweep.record
    facts = {f"version of {name}": str(value) for name, value in versions(sweep).items()}
    facts["replicas"] = str(len(sweep.table[["group", "row"]].drop_duplicates()))
    for name in ("seed", *hypers(sweep.table)):
        values = np.sort(sweep.table[name].unique())
        facts[f"dial {name}"] = ", ".join(map(axes.plain, values[:12])) + (f", … ({len(values)})" * (len(values) > 12))
    for index, group in enumerate(said["groups"]):
        prefix = f"g{index} " if len(said["groups"]) > 1 else ""
        facts[f"{prefix}data fingerprint"] = str(group["fingerprint"])[:24]
        facts |= {f"{prefix}{name}": spelled(value) for name, value in group["config"].items()}
    return facts
