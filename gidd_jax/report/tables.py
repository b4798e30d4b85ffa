"""Tables of a page: one line a setting, a variant or a replica; every column sorts, controls stand beside."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gidd_jax.analysis import metric_name, metric_unit, references
from gidd_jax.report import axes
from gidd_jax.report.markup import Markup, tag
from gidd_jax.report.panels import GUIDED
from gidd_jax.report.told import BEFORE, Told, variant

MOST_COLUMNS, LONG = 12, 24
INTERVAL = "Mean ± half of the 95\u00a0% Student interval over seeds"


class Column(NamedTuple):
    """A heading, its unit, whether it sorts as numbers, and whether it is there for comparison only."""

    name: str
    unit: str = ""
    number: bool = False
    reference: bool = False


def table(
    name: str, columns: Sequence[Column], rows: Iterable[Any], controls: Iterable[Any] = (), look: str | None = None
) -> Markup:
    """A table in a box of its own to scroll in; a row is its cells, with an optional class before: ("dead", cells)."""
    heads = [
        tag(
            "th",
            tag("button", column.name, type="button"),
            tag("small", column.unit or "\u00a0") if any(c.unit for c in columns) else None,
            scope="col",
            aria_sort="none",
            data_column=place,
            data_kind="number" if column.number else "text",
            class_=_look(column),
        )
        for place, column in enumerate(columns)
    ]
    bodies = [
        tag("tbody", [_row(columns, row) for row in part], class_=kind)
        for kind, part in (("controls", list(controls)), (None, list(rows)))
        if part or kind is None
    ]
    made = tag("table", tag("thead", tag("tr", heads)), *bodies, id=name, class_=look)
    return tag("div", made, class_="box scroll tall", tabindex=0, role="region", aria_label=name.replace("-", " "))


def ends(told: Told, metrics: Sequence[str], name: str) -> Markup:
    """Means over seeds at the end, one line a setting, references beside; above them before training."""
    measured = set(told.ends["metric"])
    beside = [((metric, False), *((other, True) for other in references(metric, measured))) for metric in metrics]
    asked = list(dict.fromkeys(pair for pairs in beside for pair in pairs))
    found = {metric: _ends_of(told.ends, metric) for metric, _ in asked}
    starts = {metric: means for metric, _ in asked if len(means := _ends_of(told.starts, metric))}
    places = {metric: axes.decimals(found[metric]["mean"]) for metric, _ in asked}
    columns = [*_setting_columns(told)]
    columns += [Column(metric_name(m), metric_unit(m), True, kind) for m, kind in asked]
    rows = []
    for setting, of in told.settings.iterrows():
        cells = [cell(found[m], setting, places[m], int(of["rows"])) for m, _ in asked]
        rows.append([*setting_cells(told, setting), *cells])
    return table(name, columns, rows, _before(told, starts, asked, places))


def cell(means: pd.DataFrame, setting: int, places: int, rows: int) -> Any:
    """Mean and half-width of its interval; how many seeds stand behind it where some are missing."""
    if setting not in means.index or not np.isfinite(means.at[setting, "mean"]):
        return "–"
    mean, high, n = (means.at[setting, column] for column in ("mean", "high", "n"))
    parts: list[Any] = [axes.shown(mean, places)]
    if high - mean >= 0.5 * 10**-places:
        parts.append(tag("span", f" ±{axes.shown(high - mean, places)}", class_="half"))
    if n != rows:
        parts.append(tag("span", f" n {int(n)}", class_="half"))
    return parts


def setting_cells(told: Told, setting: int) -> list[Any]:
    """What names a setting: its line where there are several, the dial's value, its seeds and how many died."""
    of = told.settings.loc[setting]
    count: list[Any] = [str(of["rows"])]
    if of["dead"]:
        count += [" ", tag("span", f"{of['dead']} failed", class_="tag bad")]
    value = [axes.plain(told.values[of["value"]])]
    if of["control"]:
        value.append(" ")
        value.append(tag("span", "control", class_="tag", title=f"{told.dial} 0: nothing of what the dial adds"))
    return [*([told.lines[of["line"]] or "all"] if len(told.lines) > 1 else []), value, count]


def variants(told: Told, name: str) -> Markup | None:
    """Samplers and arms ("metric@how"): a line each and setting; None where the sweep has none."""
    means = told.ends[told.ends["bin"] == -1]
    means = means[means["metric"].map(variant) != ""]
    if means.empty:
        return None
    means = means.assign(how=means["metric"].map(variant), base=means["metric"].str.partition("@")[0])
    bases = list(dict.fromkeys(means["base"]))
    places = {base: axes.decimals(means.loc[means["base"] == base, "mean"]) for base in bases}
    columns = [Column("variant"), *_setting_columns(told)]
    columns += [Column(metric_name(base), metric_unit(base), True) for base in bases]
    of = {key: rows.set_index("setting") for key, rows in means.groupby(["how", "base"], sort=False)}
    rows = [
        [
            kind,
            *setting_cells(told, setting),
            *(cell(of[kind, base], setting, places[base], count) if (kind, base) in of else "–" for base in bases),
        ]
        for kind in dict.fromkeys(means["how"])
        for setting, count in told.settings["rows"].items()
    ]
    return table(name, columns, rows)


def replicas(told: Told, metrics: Sequence[str], name: str) -> Markup:
    """Every replica: identity, what varies, alive or the step it died at, the metrics at the end."""
    metrics = list(metrics)[:MOST_COLUMNS]
    rows = told.replicas
    grouped = rows["group"].nunique() > 1
    values = told.last[told.last["metric"].isin(metrics)]
    values = values.pivot_table(
        index=["group", "row"], columns="metric", values="value", aggfunc="first", observed=True
    )
    values = values.reindex(pd.MultiIndex.from_frame(rows[["group", "row"]])).reindex(columns=metrics)
    places = [axes.decimals(values[metric]) for metric in metrics]
    columns = [Column("replica"), *([Column("group")] if grouped else [])]
    columns += [Column(other.replace("_", " "), "", True) for other in (*told.others, told.dial, "seed")]
    columns += [Column("state"), *(Column(metric_name(m), metric_unit(m), True) for m in metrics)]
    lines = []
    for row, numbers in zip(rows.to_dict("records"), values.to_numpy(float), strict=True):
        died = not np.isnan(row["died"])
        cells = [row["row"], *([row["group"]] if grouped else [])]
        cells += [axes.plain(row[other]) for other in (*told.others, told.dial, "seed")]
        cells.append(f"died by step {int(row['died']):,}" if died else "alive")
        cells += [axes.shown(value, place) for value, place in zip(numbers, places, strict=True)]
        lines.append(("dead", cells) if died else cells)
    return table(name, columns, lines)


def finder(name: str, what: str) -> Markup:
    """A box to type into that keeps the rows of a table which hold every word."""
    field = tag("input", type="search", data_table=name, placeholder="filter", aria_label=f"filter {what}")
    return tag("div", tag("label", f"Filter {what}", field, tag("output")), class_="controls-row needs-script")


def _setting_columns(told: Told) -> list[Column]:
    named = [Column("setting")] if len(told.lines) > 1 else []
    return [*named, Column(told.dial.replace("_", " "), "", True), Column("seeds", "", True)]


def _before(
    told: Told, starts: dict[str, pd.DataFrame], asked: list[tuple[str, bool]], places: dict[str, int]
) -> list[list]:
    """The model before its first update: a line of each line, or one where there are many."""
    known = [not beside and m in starts and not m.startswith("benefit") for m, beside in asked]
    if not any(known):
        return []
    by = told.settings["line"] if len(told.lines) <= GUIDED else told.settings["line"] * 0
    found = []
    for line, members in by.groupby(by):
        means = [
            starts[m]["mean"].reindex(members.index).mean() if is_known else np.nan
            for (m, _), is_known in zip(asked, known, strict=True)
        ]
        name = [told.lines[line] or "all" if by.nunique() > 1 else "all"] if len(told.lines) > 1 else []
        cells = [axes.shown(mean, places[m]) for mean, (m, _) in zip(means, asked, strict=True)]
        if np.isfinite(means).any():
            found.append([*name, BEFORE, "", *cells])
    return found


def _ends_of(means: pd.DataFrame, metric: str) -> pd.DataFrame:
    return means[(means["metric"] == metric) & (means["bin"] == -1)].set_index("setting")


def _row(columns: Sequence[Column], row: Any) -> Markup:
    look, cells = row if isinstance(row, tuple) else (None, row)
    return tag("tr", [_cell(*pair, place) for place, pair in enumerate(zip(columns, cells, strict=True))], class_=look)


def _cell(column: Column, content: Any, place: int) -> Markup:
    if place:
        return tag("td", content, class_=_look(column))
    long = "long" if isinstance(content, str) and len(content) > LONG else None
    return tag("th", content, scope="row", class_=_look(column) or long)


def _look(column: Column) -> str | None:
    return " ".join(["number"] * column.number + ["reference"] * column.reference) or None
