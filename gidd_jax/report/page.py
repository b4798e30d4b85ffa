"""The page: sections put into one HTML document that loads nothing and lets no script in but its own."""

from collections.abc import Sequence
from importlib import resources
from typing import Any

from gidd_jax.report import axes, compare, provenance, sections, tables
from gidd_jax.report.gather import Known, Sweep, moved, together
from gidd_jax.report.markup import Markup, data_block, inline, joined, tag
from gidd_jax.report.panels import Panels, panels
from gidd_jax.report.told import Told, headlines, selectable, tell


def build(sweeps: Sequence[Sweep], dial: str, known: Known, printed: Sequence[str] = ()) -> str:
    """The document of one sweep, or of several side by side; ``printed`` is what ``gidd-jax plot`` says of each."""
    table, origin = together(sweeps)
    derive = all(sweep.record["groups"][0]["config"].get("dial") == dial for sweep in sweeps)
    told = tell(table, dial, [name for name in moved(sweeps) if name != dial], derive)
    families = headlines(told)
    shown = [metric for _, metrics in families for metric in metrics]
    drawn = panels(told, selectable(told, families), _dial_label(dial, known))
    several = len(sweeps) > 1
    parts = [
        ("failures", "", sections.failures(told)),
        ("compared", "Side by side", several and compare.section(told, origin, sweeps, shown)),
        ("results", "At the end", sections.results(told, families)),
        ("figures", "Figures", sections.overview(told, drawn, shown)),
        ("explore", "Any metric, closer", sections.explorer()),
        ("variants-all", "Samplers and arms", sections.searchable("variants", tables.variants(told, "variants"))),
        ("replicas-all", "Replicas", sections.searchable("replicas", tables.replicas(told, shown, "replicas"))),
        ("provenance", "What was run", provenance.section(sweeps, known)),
        ("printed", "As gidd-jax plot prints it", sections.printed(sweeps, printed)),
    ]
    kept = [(name, title, content) for name, title, content in parts if content]
    links = [
        tag("a", title, href=f"#{name}", class_="needs-script" if name == "explore" else None)
        for name, title, _ in kept
        if title
    ]
    body = [
        tag("header", sections.head(told, sweeps), tag("nav", *links, aria_label="sections")),
        tag("main", *(_section(*part) for part in kept)),
        tag("footer", "Made by gidd-jax report from the files of the sweep; no model was run."),
        data_block("data", _data(told, drawn)),
    ]
    return _document(f"{', '.join(sweep.name for sweep in sweeps)}: {sweeps[0].study}", joined(body))


def _section(name: str, title: str, content: Any) -> Markup:
    look = "needs-script" if name == "explore" else None
    return tag("section", tag("h2", title) if title else None, content, id=name, class_=look)


def _data(told: Told, drawn: Panels) -> dict[str, Any]:
    """What the script draws from: panels, the axes they share, and what the indices in them stand for."""
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
    parts = [files.joinpath(name).read_text("utf-8") for name in ("tables.js", "figures.js")]
    script, script_hash = inline("script", "".join(parts))
    policy = f"default-src 'none'; style-src {style_hash}; script-src {script_hash}; img-src data:; form-action 'none'"
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        style,
    ]
    return f"<!doctype html>\n{tag('html', tag('head', head), tag('body', body, script), lang='en')}\n"


def _dial_label(dial: str, known: Known) -> str:
    unit = known.units.get(dial)
    return dial.replace("_", " ") + (f" ({unit or 'dimensionless'})" if unit is not None else "")
