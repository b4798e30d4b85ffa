"""The sections of a page that tell what came out: head, failures, results, figures, the script's place."""

import math
from collections.abc import Sequence
from typing import Any

from gidd_jax.analysis import metric_name
from gidd_jax.report import axes, provenance, tables
from gidd_jax.report.figures import guide, hue, shade, small, stroke
from gidd_jax.report.gather import Sweep
from gidd_jax.report.markup import Markup, tag
from gidd_jax.report.panels import Panels
from gidd_jax.report.told import BEFORE, SPELLED, Told, constant, variant

MOST_PANELS, MOST_NAMED, MOST_LISTED = 12, 20, 8


def head(told: Told, sweeps: Sequence[Sweep]) -> list[Markup]:
    """What was swept, in one sentence, and what it ran on."""
    rows, names = told.replicas, [sweep.name for sweep in sweeps]
    versions, spent = provenance.versions(sweeps[0]), sum(map(provenance.seconds, sweeps))
    device = [str(versions[key]) for key in ("devices", "device") if key in versions]
    facts = {
        "replicas": f"{len(rows):,}",
        "failed": f"{int(rows['died'].notna().sum()):,}",
        "steps": f"{max(step for _, step in told.places.values()):,}" if told.places else "–",
        "trained in": provenance.duration(spent) if spent else "not recorded",
        "device": " × ".join(device) or "not recorded",
        "gidd-jax": str(versions.get("gidd_jax", "not recorded")),
    }
    title = f"{names[0]}, a sweep of {sweeps[0].study}" if len(names) == 1 else None
    return [
        tag("h1", title or f"{' beside '.join(names)}: sweeps of {sweeps[0].study}"),
        tag("p", f"{_count(len(rows), 'replica')}: {_swept(told, len(sweeps))}.", class_="lead"),
        tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in facts.items()), class_="facts"),
    ]


def failures(told: Told) -> Markup:
    """The replicas that died, first of all; or that none did."""
    dead = told.replicas[told.replicas["died"].notna()].sort_values("died", kind="stable")
    if dead.empty:
        return tag("div", tag("p", f"{_count(len(told.replicas), 'replica')}, all alive at the end."), class_="state")
    named = []
    for row in dead.head(MOST_NAMED).to_dict("records"):
        dial = f"{told.dial.replace('_', ' ')} {axes.plain(row[told.dial])}"
        place = ", ".join(part for part in (told.lines[row["line"]], dial) if part)
        named.append(
            tag("li", tag("code", row["row"]), f" {place}, seed {row['seed']}: died by step {row['died']:,.0f}")
        )
    if len(dead) > MOST_NAMED:
        named.append(tag("li", f"and {len(dead) - MOST_NAMED:,} more: red in the table of replicas"))
    note = "Loss, gradient or state was not finite. They stood still from there on, and are in no later mean."
    title = f"{len(dead):,} of {_count(len(told.replicas), 'replica')} failed"
    return tag("div", tag("h2", title), tag("p", note), tag("ul", *named), class_="state failed")


def results(told: Told, families: list[tuple[str, list[str]]]) -> list[Markup]:
    """Means over seeds at the end, a table a family, controls beside."""
    note = f"{tables.INTERVAL}; n where it is not all of them. Italics: what the metric is read beside."
    if len(told.others) > SPELLED:
        note += " Settings are named by the dials that differ from their most common value."
    blocks = [tag("p", note, class_="note")] if families else []
    for index, (title, metrics) in enumerate(families):
        places = dict.fromkeys("{}, step {:,}".format(*told.places[metric]) for metric in metrics)
        blocks += [
            tag("h3", title),
            tables.ends(told, metrics, f"end-{index}"),
            tag("p", f"Measured on {'; '.join(places)}.", class_="note"),
        ]
    last = told.last[told.last["split"] != "train"]
    same = [metric for metric in dict.fromkeys(last["metric"]) if constant(told, metric) and not variant(metric)]
    if same:
        values = [f"{metric_name(m)} {last.loc[last['metric'] == m, 'value'].iloc[0]:z.5g}" for m in same]
        blocks.append(tag("p", f"The same in all replicas: {', '.join(values)}.", class_="note"))
    return blocks


def overview(told: Told, drawn: Panels, shown: Sequence[str]) -> list[Markup] | None:
    """Small panels that need no script: headlines against the dial, or by bin what is measured by bin alone."""
    found = [(i, m, "end") for i, m in enumerate(drawn.metrics) if m["key"] in shown and "end" in m]
    found = [entry for entry in found if not constant(told, entry[1]["key"])] or found
    found += [(i, m, "bins") for i, m in enumerate(drawn.metrics) if "/" in m["key"] and "bins" in m]
    if not found:
        return None
    cards = [_card(told, drawn, *entry) for entry in found[:MOST_PANELS]]
    names = list(enumerate(told.lines))[:MOST_PANELS] if len(told.lines) > 1 else []
    key = [tag("span", stroke(f"mean {hue(line)}"), name or "all") for line, name in names]
    beside = dict.fromkeys(name for _, metric, place in found[:MOST_PANELS] for name, *_ in metric[place]["guides"])
    for look, names in ((guide(BEFORE), [BEFORE]), (guide(""), [n for n in beside if n != BEFORE])):
        key += [tag("span", stroke(look), ", ".join(names))] if set(names) & set(beside) else []
    note = "Lines: mean over seeds. Bands: 95\u00a0% t interval. Dots: replicas. What lies far off is told at the edge."
    return [tag("p", note, class_="note"), tag("div", key, class_="key"), tag("div", cards, class_="overview")]


def explorer() -> list[Markup]:
    """The place in which the script draws any metric: at the end, along the way, by bin."""
    figures = [
        tag(
            "figure",
            tag("h3", title, " ", tag("small", class_="where")),
            tag("div", class_="box", tabindex=0, role="group", aria_label=f"{title}: arrow keys walk along the points"),
            tag("div", class_="tip", hidden=True, role="status"),
            id=name,
            hidden=True,
        )
        for name, title in (("end", "At the end"), ("way", "Along the way"), ("bins", "By bin, at the end"))
    ]
    chosen = [tag("label", what, tag("select", id=name)) for name, what in (("metric", "Metric"), ("which", "Lines"))]
    return [tag("div", chosen, class_="controls-row"), tag("div", id="key"), tag("div", figures, class_="charts")]


def printed(sweeps: Sequence[Sweep], texts: Sequence[str]) -> list[Markup]:
    """What ``gidd-jax plot`` prints of each sweep."""
    return [
        tag("details", tag("summary", sweep.name), tag("pre", text), open=True, data_folded=True)
        for sweep, text in zip(sweeps, texts, strict=False)
        if text
    ]


def searchable(name: str, table: Markup | None) -> list[Markup] | None:
    """A table with a box above it that filters its rows."""
    return table and [tables.finder(name, name), table]


def _card(told: Told, drawn: Panels, index: int, metric: dict[str, Any], place: str) -> Markup:
    panel, rows = metric[place], told.replicas
    x = drawn.axes[panel["x"]]
    title = f"{panel['label']}, mean over seeds, {panel['where']}"
    button = tag("button", metric["name"], type="button", data_metric=index)
    unit = panel["label"][len(metric["name"]) :].strip(" ()")
    dots = []
    if place == "end":
        looks = [hue(line) for line in panel["s"]]
        at = told.settings["value"].to_numpy()[rows["setting"].to_numpy()]
        dots = [(x["pos"][value], dot) for value, dot in zip(at, panel["dots"], strict=True) if dot is not None]
    else:
        looks = [shade(told.settings.at[setting, "value"], len(told.values)) for setting in panel["s"]]
    return tag("figure", tag("h3", button, " ", tag("small", unit)), small(panel, x, looks, title, dots))


def _swept(told: Told, sweeps: int) -> str:
    """The grid of a sweep, axis by axis; where its rows are no full grid, how many settings of which dials."""
    rows = told.replicas
    axis = {name: sorted(rows[name].dropna().unique()) for name in (told.dial, *told.others)}
    moved = {name.replace("_", " "): values for name, values in axis.items() if len(values) > 1}
    groups, seeds = rows["group"].nunique(), rows["seed"].nunique()
    if len(rows) == groups * seeds * math.prod(map(len, moved.values())):
        parts = [f"{name} {_listed(values)}" for name, values in moved.items()]
        kinds = [_count(groups, "sweep" if groups == sweeps else "group")] if groups > 1 else []
        return " × ".join([*kinds, *parts, _count(seeds, "seed")])
    names = [*list(moved)[:MOST_LISTED], *([f"{len(moved) - MOST_LISTED} more"] if len(moved) > MOST_LISTED else [])]
    said = f" of {', '.join(names)}" if names else ""
    kinds = f" in {_count(groups, 'group')}" if groups > 1 else ""
    return f"{_count(len(told.settings), 'setting')}{said}{kinds}, {_count(seeds, 'seed')}"


def _listed(values: Sequence[Any]) -> str:
    told = [axes.plain(value) for value in values]
    return ", ".join(told) if len(told) <= MOST_LISTED else f"{told[0]} to {told[-1]} ({len(told)} values)"


def _count(number: Any, what: str) -> str:
    return f"{number:,} {what}{'s' * (number > 1)}"
