"""What was run, on what and from what: command, settings, versions, device, data, cohorts, wall times, arrays."""

import datetime
import json
import shlex
from collections.abc import Sequence
from typing import Any

from gidd_jax.report.gather import Known, Sweep, group_names, spelled, versions
from gidd_jax.report.markup import Markup, tag
from gidd_jax.report.tables import Column, table

EVENTS = {"compile": "compiling", "trained": "training", "checkpoint": "writing checkpoints"}


def section(sweeps: Sequence[Sweep], known: Known) -> list[Markup]:
    """The blocks of each sweep, under its name where there are several."""
    if len(sweeps) == 1:
        return told(sweeps[0], known, "run-0")
    return [
        tag("details", tag("summary", sweep.name), *told(sweep, known, f"run-{index}"), open=True)
        for index, sweep in enumerate(sweeps)
    ]


def told(sweep: Sweep, known: Known, name: str) -> list[Markup]:
    """The blocks of one sweep; ``name`` begins the ids of its tables."""
    said = versions(sweep)
    facts = {"directory": str(sweep.directory), **{key.replace("_", "-"): str(value) for key, value in said.items()}}
    if began := _began(sweep):
        facts["begun"] = began
    blocks = [
        tag("h3", "Command"),
        tag("pre", command(sweep)),
        tag("h3", "Machine and versions"),
        table(
            f"{name}-versions",
            [Column("what"), Column("value")],
            [[key, value] for key, value in facts.items()],
            look="words",
        ),
    ]
    for index, (group, label) in enumerate(zip(sweep.record["groups"], group_names(sweep), strict=True)):
        blocks += _group(group, label, known, f"{name}-g{index}", len(sweep.record["groups"]) > 1)
    blocks += _walls(sweep, name)
    if sweep.arrays:
        listed = [[file, f"{size / 1e6:.2f}"] for file, size in sweep.arrays]
        blocks += [tag("h3", "Arrays"), table(f"{name}-arrays", [Column("file"), Column("size", "MB", True)], listed)]
    return blocks


def command(sweep: Sweep) -> str:
    """The command line that made the directory."""
    said = sweep.record.get("command", [])
    return shlex.join(map(str, said)) if isinstance(said, list) else str(said)


def seconds(sweep: Sweep, event: str = "trained") -> float:
    """Wall time of all events of a kind, 0 where none was recorded."""
    return sum(
        float(e.get("seconds", 0)) for e in sweep.times if e.get("event") == event and _is_number(e.get("seconds", 0))
    )


def duration(count: float) -> str:
    """Seconds as people say them: 48 s, 12 min, 3.4 h."""
    if count < 100:
        return f"{count:.3g} s"
    return f"{count / 60:.3g} min" if count < 6000 else f"{count / 3600:.3g} h"


def _group(group: dict[str, Any], label: str, known: Known, name: str, several: bool) -> list[Markup]:
    config = group["config"]
    usual = {key: json.loads(json.dumps(value)) for key, value in known.defaults.items()}
    changed = [key for key, value in config.items() if key in usual and usual[key] != value]
    others = [key for key in config if key not in changed]
    columns = [Column("setting"), Column("value"), Column("what it is")]

    def lines(keys: Sequence[str]) -> list[list[str]]:
        return [[key, spelled(config[key]), known.help.get(key, "")] for key in keys]

    title = f"Settings of {label}" if several else "Settings"
    blocks = [tag("h3", title)]
    if changed:
        blocks += [
            tag("p", "Those that are not the default, first.", class_="note"),
            table(name, columns, lines(changed), look="words"),
        ]
    listed = table(f"{name}-rest", columns, lines(others), look="words")
    blocks.append(_folded(f"{len(others)} settings as they stand by default", listed) if changed else listed)
    cohorts = [_cohort(cohort) for cohort in group["cohorts"] if isinstance(cohort, dict)]
    blocks += [
        tag("p", "Data fingerprint: ", tag("code", group["fingerprint"]), class_="note"),
        _folded(
            f"Cohorts: {len(cohorts)}",
            table(f"{name}-cohorts", [Column("cohort"), Column("host", "", True), Column("rows", "", True)], cohorts),
        ),
    ]
    return blocks


def _cohort(cohort: dict[str, Any]) -> list[str]:
    columns = cohort.get("hypers")
    lengths = [len(c) for c in columns.values() if isinstance(c, list)] if isinstance(columns, dict) else []
    return [str(cohort.get("name", "–")), str(cohort.get("host", 0)), str(max(lengths, default=0))]


def _walls(sweep: Sweep, name: str) -> list[Markup]:
    if not sweep.times:
        return [tag("h3", "Wall time"), tag("p", "Not recorded.", class_="note")]
    rows = []
    for event in dict.fromkeys(str(e.get("event")) for e in sweep.times):
        of = [e for e in sweep.times if str(e.get("event")) == event]
        rates = [
            f"{value:,.0f} {key.removesuffix('_per_second')}/s"
            for e in of
            for key, value in e.items()
            if key.endswith("_per_second") and _is_number(value)
        ]
        rows.append([EVENTS.get(event, event), str(len(of)), duration(seconds(sweep, event)), ", ".join(rates)])
    columns = [Column("what"), Column("times", "", True), Column("wall time, in all"), Column("rate")]
    return [tag("h3", "Wall time"), table(f"{name}-times", columns, rows, look="words")]


def _began(sweep: Sweep) -> str:
    stamps = [e["at"] for e in sweep.times if _is_number(e.get("at")) and 0 < e["at"] < 4e9]
    if not stamps:
        return ""
    first, last = (datetime.datetime.fromtimestamp(t, datetime.UTC) for t in (min(stamps), max(stamps)))
    return f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"


def _folded(title: str, content: Markup) -> Markup:
    return tag("details", tag("summary", title), content, open=True, data_folded=True)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
