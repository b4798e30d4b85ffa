"""The page: pieces put into one HTML document that loads nothing and lets no script in but its own."""

from collections.abc import Sequence
from importlib import resources
from typing import Any

from gidd_jax.analysis import FAMILIES, among, metric_name, references, sampler_of
from gidd_jax.report import axes, compare, provenance, tables
from gidd_jax.report.figures import guide, hue, small
from gidd_jax.report.gather import Known, Sweep, together
from gidd_jax.report.markup import Markup, data_block, inline, joined, tag
from gidd_jax.report.panels import Panels, panels
from gidd_jax.report.told import Told, selectable, tell

MOST_PANELS = 12
INTERVAL = "Mean ± half of the 95 % Student interval over seeds"


def build(sweeps: Sequence[Sweep], dial: str, known: Known, printed: Sequence[str] = ()) -> str:
    """The document of one sweep, or of several side by side; ``printed`` is what ``gidd-jax plot`` says of each."""
    table, origin = together(sweeps)
    derive = all(sweep.record["groups"][0]["config"].get("dial") == dial for sweep in sweeps)
    told = tell(table, dial, derive)
    families = headlines(told)
    drawn = panels(told, _selected(told, families), _dial_label(dial, known))
    overview = _overview(told, drawn, families)
    shown = [metric for _, metrics in families for metric in metrics]
    variants = tables.variants(told, "variants")
    sections = [
        ("failures", None, _failures(told)),
        ("compared", "Side by side", _compared(told, origin, sweeps, shown) if len(sweeps) > 1 else None),
        ("results", "At the end", _results(told, families)),
        ("figures", f"Against {dial.replace('_', ' ')}", overview),
        ("explore", "Any metric, closer", _explorer(told)),
        ("variants-all", "Samplers and arms", variants and _searchable("variants", "variants", variants)),
        ("replicas-all", "Replicas", _searchable("replicas", "replicas", tables.replicas(told, shown, "replicas"))),
        ("provenance", "What was run", _provenance(sweeps, known)),
        ("printed", "As gidd-jax plot prints it", _printed(sweeps, printed)),
    ]
    kept = [(name, title, content) for name, title, content in sections if content]
    links = [tag("a", title, href=f"#{name}") for name, title, _ in kept if title]
    body = [
        tag("header", _head(told, sweeps), tag("nav", *links, aria_label="sections")),
        tag("main", *(_section(*section) for section in kept)),
        tag("footer", "Made from the files of the sweep by gidd-jax report; no model was run."),
        data_block("data", _data(told, drawn)),
    ]
    return _document(f"{', '.join(sweep.name for sweep in sweeps)}: {sweeps[0].study}", joined(body))


def headlines(told: Told) -> list[tuple[str, list[str]]]:
    """The scalars of the tables by family: those of the summary in its order, then what else was measured held out."""
    measured = told.ends[(told.ends["bin"] == -1) & told.ends["mean"].notna()]
    found = set(measured["metric"])
    held_out = {metric for metric in found if told.places[metric][0] != "train"} or found
    beside = {other for metric in found for other in references(metric, found)}
    told_of = [m for m in dict.fromkeys(measured["metric"]) if m in held_out - beside and not sampler_of(m)]
    known = [(title, [m for m in among(measured, family) if m in told_of]) for title, family in FAMILIES.items()]
    taken = {metric for _, metrics in known for metric in metrics}
    rest = [metric for metric in told_of if metric not in taken and not constant(told, metric)]
    other = "Also measured" if taken else "Measured"
    return [(title, metrics) for title, metrics in [*known, (other, rest)] if metrics]


def constant(told: Told, metric: str) -> bool:
    """Whether all replicas have one and the same value."""
    values = told.last.loc[told.last["metric"] == metric, "value"].to_numpy(float)
    return len(values) > 1 and values.min() == values.max()


def _selected(told: Told, families: list[tuple[str, list[str]]]) -> list[tuple[str, str]]:
    """(family, metric) of everything that has panels, headlines first."""
    chosen = [(title, metric) for title, metrics in families for metric in metrics]
    taken = {metric for _, metric in chosen}
    for metric in selectable(told):
        if metric not in taken:
            chosen.append((_other_family(told, metric), metric))
    return chosen


def _other_family(told: Told, metric: str) -> str:
    if sampler_of(metric):
        return "Samplers and arms"
    if "/" in metric:
        return "By bin"
    return "In training" if told.places[metric][0] == "train" else "The same in all replicas"


def _head(told: Told, sweeps: Sequence[Sweep]) -> list[Markup]:
    rows, names = told.replicas, [sweep.name for sweep in sweeps]
    seeds = rows["seed"].nunique()
    dials = [(told.dial, told.values), *((name, sorted(rows[name].dropna().unique())) for name in told.others)]
    moved = [f"{name.replace('_', ' ')} {_listed(values)}" for name, values in dials if len(values) > 1]
    steps = " or ".join(f"{step:,}" for step in sorted({step for _, step in told.places.values() if step > 0})[-1:])
    swept = " × ".join([*moved, f"{seeds} seed{'s' * (seeds > 1)}"])
    versions = compare.versions(sweeps[0])
    spent = sum(map(provenance.seconds, sweeps))
    facts = {
        "replicas": f"{len(rows)}",
        "failed": f"{int(rows['died'].notna().sum())}",
        "steps": steps or "–",
        "trained in": provenance.duration(spent) if spent else "not recorded",
        "device": " × ".join(str(versions[key]) for key in ("devices", "device") if key in versions) or "not recorded",
        "gidd-jax": str(versions.get("gidd_jax", "not recorded")),
    }
    return [
        tag(
            "h1",
            " beside ".join(names),
            f", a sweep of {sweeps[0].study}" if len(names) == 1 else f": sweeps of {sweeps[0].study}",
        ),
        tag("p", f"{len(rows)} replicas: {swept}.", class_="lead"),
        tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in facts.items()), class_="facts"),
    ]


def _failures(told: Told) -> Markup:
    dead = told.replicas[told.replicas["died"].notna()].sort_values("died", kind="stable")
    if dead.empty:
        return tag("div", tag("p", f"All {len(told.replicas)} replicas lived to the end."), class_="state")
    said = [
        tag(
            "li",
            tag("code", row["row"]),
            f" {_where(told, row)}, seed {row['seed']}: died by step {int(row['died']):,}",
        )
        for row in dead.head(20).to_dict("records")
    ]
    more = f"and {len(dead) - 20} more, marked in the table of replicas" if len(dead) > 20 else None
    count = f"{len(dead)} of {len(told.replicas)} replicas failed"
    note = (
        "Their loss, gradient or state was not finite; they stood still from there, and no mean holds them after that."
    )
    return tag(
        "div", tag("h2", count), tag("p", note), tag("ul", *said), more and tag("p", more), class_="state failed"
    )


def _where(told: Told, row: dict[str, Any]) -> str:
    line = told.lines[row["line"]]
    return ", ".join(part for part in (line, f"{told.dial.replace('_', ' ')} {axes.plain(row[told.dial])}") if part)


def _results(told: Told, families: list[tuple[str, list[str]]]) -> list[Markup]:
    blocks = [
        tag("p", f"{INTERVAL}; n where it is not all of them. Italics: what the metric is read beside.", class_="note")
    ]
    for index, (title, metrics) in enumerate(families):
        places = dict.fromkeys("{}, step {:,}".format(*told.places[metric]) for metric in metrics)
        blocks.append(tag("h3", title))
        blocks.append(tables.ends(told, metrics, f"end-{index}"))
        blocks.append(tag("p", f"Measured on {'; '.join(places)}.", class_="note"))
    last = told.last[told.last["split"] != "train"]
    same = [metric for metric in dict.fromkeys(last["metric"]) if constant(told, metric) and not sampler_of(metric)]
    if same:
        values = [f"{metric_name(m)} {last.loc[last['metric'] == m, 'value'].iloc[0]:.5g}" for m in same]
        blocks.append(tag("p", f"The same in all replicas: {', '.join(values)}.", class_="note"))
    return blocks


def _overview(told: Told, drawn: Panels, families: list[tuple[str, list[str]]]) -> list[Markup] | None:
    wanted = {metric for _, metrics in families for metric in metrics}
    found = [(i, m) for i, m in enumerate(drawn.metrics) if m["key"] in wanted and "end" in m][:MOST_PANELS]
    if not found:
        return None
    at = list(zip(told.settings["line"], told.settings["value"], strict=True))
    dots = [at[setting] for setting in told.replicas["setting"]]
    cards = []
    for index, metric in found:
        panel = metric["end"]
        title = f"{panel['label']} against {told.dial}: mean over seeds at {panel['where']}"
        button = tag("button", metric["name"], type="button", data_metric=index)
        unit = panel["label"][len(metric["name"]) :].strip(" ()")
        cards.append(
            tag("figure", tag("h3", button, " ", tag("small", unit)), small(panel, drawn.axes[panel["x"]], dots, title))
        )
    names = [(line, name) for line, name in enumerate(told.lines) if len(told.lines) > 1][:12]
    key = [tag("span", _stroke(f"mean {hue(line)}"), name or "all") for line, name in names]
    beside = dict.fromkeys(name for _, metric in found for name, *_ in metric["end"]["guides"])
    for look, names in ((guide("untrained"), ["untrained"]), (guide(""), [n for n in beside if n != "untrained"])):
        key += [tag("span", _stroke(look), ", ".join(names))] if set(names) & set(beside) else []
    note = "Lines: mean over seeds. Bands: 95 % t interval. Dots: replicas. What lies far off is told at the edge."
    return [tag("p", note, class_="note"), tag("div", key, class_="key"), tag("div", cards, class_="overview")]


def _explorer(told: Told) -> list[Markup]:
    panels = [("end", "At the end"), ("way", "Along the way"), ("bins", "By bin, at the end")]
    figures = [
        tag(
            "figure",
            tag("h3", title, " ", tag("small", class_="where")),
            tag("div", class_="box", tabindex=0, role="group", aria_label=f"{title}: arrow keys walk along the points"),
            tag("div", class_="tip", hidden=True, role="status"),
            id=name,
            hidden=True,
        )
        for name, title in panels
    ]
    chosen = [
        tag("label", "Metric", tag("select", id="metric")),
        tag("label", "Lines", tag("select", id="which")),
    ]
    return [
        tag("div", chosen, class_="controls-row"),
        tag("div", id="key"),
        tag("div", figures, class_="charts"),
    ]


def _compared(told: Told, origin: dict, sweeps: Sequence[Sweep], metrics: list[str]) -> list[Markup]:
    note = (
        f"{INTERVAL}. Differences are paired over the seeds that both sweeps have; in bold those whose 95 % interval "
        "leaves out 0, as one in twenty does where there is no difference."
    )
    return [
        tag("h3", "What differs"),
        compare.differences(sweeps),
        tag("h3", "Where settings match"),
        tag("p", note, class_="note"),
        tables.finder("side-by-side", "metrics and settings"),
        compare.side_by_side(told, origin, sweeps, metrics),
    ]


def _provenance(sweeps: Sequence[Sweep], known: Known) -> list[Markup]:
    parts = []
    for index, sweep in enumerate(sweeps):
        blocks = provenance.told(sweep, known, f"run-{index}")
        parts += [tag("details", tag("summary", sweep.name), *blocks, open=True)] if len(sweeps) > 1 else blocks
    return parts


def _printed(sweeps: Sequence[Sweep], printed: Sequence[str]) -> list[Markup]:
    pairs = [(sweep, text) for sweep, text in zip(sweeps, printed, strict=False) if text]
    return [
        tag("details", tag("summary", sweep.name), tag("pre", text), open=True, data_folded=True)
        for sweep, text in pairs
    ]


def _searchable(name: str, what: str, table: Markup) -> list[Markup]:
    return [tables.finder(name, what), table]


def _section(name: str, title: str | None, content: Any) -> Markup:
    needs = {"class_": "needs-script"} if name == "explore" else {}
    return tag("section", title and tag("h2", title), content, id=name, **needs)


def _data(told: Told, drawn: Panels) -> dict[str, Any]:
    return {
        "dial": told.dial.replace("_", " "),
        "values": axes.rounded(told.values),
        "lines": told.lines,
        "settings": told.settings[["line", "value"]].to_numpy().tolist(),
        "replicas": told.replicas[["row", "setting", "seed"]].astype({"row": str}).to_numpy().tolist(),
        "axes": drawn.axes,
        "metrics": drawn.metrics,
    }


def _document(title: str, body: Markup) -> str:
    files = resources.files("gidd_jax.report")
    style, style_hash = inline("style", files.joinpath("style.css").read_text("utf-8"))
    script, script_hash = inline("script", files.joinpath("script.js").read_text("utf-8"))
    policy = f"default-src 'none'; style-src {style_hash}; script-src {script_hash}; img-src data:; form-action 'none'"
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("link", rel="icon", href="data:,"),
        Markup(f"<title>{joined(title)}</title>"),
        style,
    ]
    return f"<!doctype html>\n{tag('html', tag('head', head), tag('body', body, script), lang='en')}\n"


def _stroke(look: str) -> Markup:
    return tag("svg", tag("path", d="M1 6h20", class_=look), width=22, height=12, aria_hidden="true")


def _dial_label(dial: str, known: Known) -> str:
    unit = known.units.get(dial)
    return dial.replace("_", " ") + (f" ({unit or 'dimensionless'})" if unit is not None else "")


def _listed(values: Sequence[float]) -> str:
    told = [axes.plain(value) for value in values]
    return ", ".join(told) if len(told) <= 8 else f"{told[0]} to {told[-1]} ({len(told)} values)"
