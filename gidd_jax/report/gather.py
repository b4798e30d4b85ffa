"""What a sweep directory tells: the record, the table, wall times, arrays; several sweeps as one table."""

import json
import pathlib
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gidd_jax import record
from gidd_jax.analysis import swept
from gidd_jax.analysis.derive import MEASURED
from gidd_jax.errors import InputError


class Sweep(NamedTuple):
    """One directory: a name no other sweep of the page has, config.json, metrics.parquet, timing.jsonl, arrays/.

    Of the table without the training split of what is also measured on held-out data.
    """

    name: str
    directory: pathlib.Path
    record: dict[str, Any]
    table: pd.DataFrame
    times: list[dict[str, Any]]
    arrays: list[tuple[str, int]]

    @property
    def study(self) -> str:
        return str(self.record["study"])


class Known(NamedTuple):
    """What the study's own code adds, where it is at hand: units and help of its dials, defaults of its settings."""

    units: Mapping[str, str] = MappingProxyType({})
    help: Mapping[str, str] = MappingProxyType({})
    defaults: Mapping[str, Any] = MappingProxyType({})


def sweeps(directories: Sequence[pathlib.Path]) -> list[Sweep]:
    """Every directory read; raises InputError where one is no finished sweep, is named twice or is of another study."""
    places = [directory.resolve() for directory in directories]
    for index, place in enumerate(places):
        if place in places[:index]:
            raise InputError(f"{directories[index]}: named twice; give each sweep once")
    found = [_read(directory, name) for directory, name in zip(directories, _names(directories), strict=True)]
    for other in found[1:]:
        if other.study != found[0].study:
            raise InputError(
                f"{other.directory}: a sweep of {other.study}, beside one of {found[0].study}; make a report of each"
            )
    return found


def dial_of(found: Sequence[Sweep], asked: str | None) -> str:
    """The Hyper on the horizontal axes: the one asked for, or the sweep's own where it varies, or the first that does.

    Raises InputError for one that is not in every table.
    """
    common = [name for name in hypers(found[0].table) if all(name in sweep.table for sweep in found)]
    if asked is not None:
        if asked not in common:
            raise InputError(f"--dial {asked}: no such dial in the table; there are {', '.join(common)}")
        return asked
    if not common:
        raise InputError(f"{found[0].directory}: the table has no dial; was it written by gidd-jax?")
    own = str(found[0].record["groups"][0]["config"].get("dial", ""))
    varied = moved(found)
    if own in varied or (own in common and not varied):
        return own
    return (varied or common)[0]


def moved(found: Sequence[Sweep]) -> list[str]:
    """The Hypers that vary within a sweep, of those that every table has."""
    varied = {name for sweep in found for name in swept(sweep.table)}
    return [name for name in hypers(found[0].table) if name in varied and all(name in s.table for s in found)]


def together(found: Sequence[Sweep]) -> tuple[pd.DataFrame, dict[str, tuple[int, int]]]:
    """One table of all sweeps, and the (sweep, group) behind each name in its column ``group``.

    A name tells what sets sweep and group apart, "" where there is one only. A Hyper that is not in every table
    (another version wrote it) is left out.
    """
    common = [name for name in found[0].table if all(name in sweep.table for sweep in found)]
    tables, origin = [], {}
    for place, sweep in enumerate(found):
        names = {}
        for index, told in enumerate(group_names(sweep)):
            names[f"g{index}"] = ", ".join(part for part in (sweep.name if len(found) > 1 else "", told) if part)
            origin[names[f"g{index}"]] = place, index
        if stray := set(sweep.table["group"].unique()) - names.keys():
            raise InputError(f"{sweep.directory}/metrics.parquet: group {min(map(str, stray))} is not in config.json")
        tables.append(sweep.table[common].assign(group=sweep.table["group"].map(names)))
    return (pd.concat(tables, ignore_index=True) if len(tables) > 1 else tables[0]), origin


def group_names(sweep: Sweep) -> list[str]:
    """Each group by the settings in which its config differs from the others', as short as it can be."""
    configs = [group["config"] for group in sweep.record["groups"]]
    if len(configs) == 1:
        return [""]
    differing = [
        name
        for name in dict.fromkeys(name for config in configs for name in config)
        if len({json.dumps(config.get(name)) for config in configs}) > 1
    ]
    usual = {name: Counter(json.dumps(c.get(name)) for c in configs).most_common(1)[0][0] for name in differing}
    told = []
    for config in configs:
        parts = [n for n in differing if len(differing) < 3 or json.dumps(config.get(n)) != usual[n]]
        told.append(", ".join(f"{name} {_short(config.get(name))}" for name in parts))
    return [f"g{index} {text}".strip() if told.count(text) > 1 or not text else text for index, text in enumerate(told)]


def versions(sweep: Sweep) -> dict[str, Any]:
    """Versions and device as the record has them."""
    said = sweep.record.get("versions")
    return said if isinstance(said, dict) else {}


def spelled(value: Any) -> str:
    """A setting's value as a flag would give it."""
    if isinstance(value, list):
        return " ".join(map(spelled, value)) or "(none)"
    return value or '""' if isinstance(value, str) else json.dumps(value)


def _read(directory: pathlib.Path, name: str) -> Sweep:
    if not directory.is_dir():
        raise InputError(f"{directory}: no such directory; give the directory of a sweep")
    said = record.read(directory)
    groups = said["groups"]
    if not groups or not all(isinstance(group["config"], dict) for group in groups):
        raise InputError(f"{directory}/config.json: holds no group with a config; was it written by gidd-jax?")
    table = record.table(directory)
    if missing := [column for column in (*MEASURED, "seed") if column not in table]:
        raise InputError(f"{directory}/metrics.parquet: no column {missing[0]!r}; was it written by gidd-jax?")
    if table.empty:
        raise InputError(f"{directory}/metrics.parquet: holds no line")
    if not all(pd.api.types.is_numeric_dtype(table[column]) for column in ("step", "bin", "value", "seed")):
        raise InputError(f"{directory}/metrics.parquet: step, bin, value and seed must be numbers")
    kept = [column for column in table if column in MEASURED or pd.api.types.is_numeric_dtype(table[column])]
    files = sorted((directory / "arrays").glob("*.npz"))
    return Sweep(
        name, directory, said, _watched(table[kept]), _times(directory), [(f.name, f.stat().st_size) for f in files]
    )


def _watched(table: pd.DataFrame) -> pd.DataFrame:
    """Without the training split of what is also measured on held-out data, who is alive apart; and without the
    splits on which a metric that is measured elsewhere counts nothing.
    """
    finite = np.isfinite(table["value"])
    counted = finite.groupby([table["metric"], table["split"]], observed=True).transform("any")
    alive = finite.groupby(table["metric"], observed=True).transform("any")
    table = table[counted | ~alive]
    held_out = table.loc[table["split"] != "train", "metric"].unique()
    return table[(table["split"] != "train") | (table["metric"] == "alive") | ~table["metric"].isin(held_out)]


def _times(directory: pathlib.Path) -> list[dict[str, Any]]:
    """The events of timing.jsonl; the last line may be cut short by a kill."""
    try:
        lines = (directory / "timing.jsonl").read_text(errors="replace").splitlines()
    except OSError:
        return []
    events = []
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            events.append(event)
    return events


def _names(directories: Sequence[pathlib.Path]) -> list[str]:
    """The last part of each path, or all of it where two end alike."""
    short = [directory.resolve().name for directory in directories]
    return short if len(set(short)) == len(short) else [str(directory) for directory in directories]


def hypers(table: pd.DataFrame) -> list[str]:
    return [name for name in table.columns if name not in (*MEASURED, "seed")]


def _short(value: Any) -> str:
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 32 else f"{text[:12]}…{text[-18:]}"
