"""``gidd-jax plot DIR``: the table of a sweep for people, and its figures."""

import argparse
import importlib
import pathlib
from collections.abc import Callable
from typing import Any

import pandas as pd

from gidd_jax import record
from gidd_jax.errors import InputError

EXAMPLE = "gidd-jax plot runs/a"


# By study: what tells the table, (table, dial) -> text, and what draws it, (table, dial, directory) -> paths.
VIEWS = {
    "sudoku": ("gidd_jax.analysis:format_summary", "gidd_jax.plotting_samplers:save_all"),
    "language": ("gidd_jax.analysis:format_summary", "gidd_jax.plotting:save_all"),
    "phase": ("gidd_jax.analysis:format_guidance", "gidd_jax.plotting:save_all"),
    "concepts": ("gidd_jax.analysis:format_summary", "gidd_jax.plotting:save_all"),
    "pairs": ("gidd_jax.analysis:format_summary", "gidd_jax.plotting:save_all"),
    "kuramoto": ("gidd_jax.analysis:format_transition", "gidd_jax.plotting_transitions:save_all"),
    "syncgap": ("gidd_jax.analysis:format_pairs", "gidd_jax.plotting_pairs:save_all"),
}

SPLITS = {
    "class": "held-out grids are no symmetry of a training grid",
    "document": "a tenth of the documents is held out, near-duplicates together",
    "position": "the last tenth of the text is held out",
    "image": "held-out images are not training images",
    "grid": "held-out grids are not training grids (symmetries of them may be; augmentation is off)",
}


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
    """Prints the table and writes the figures, from the files alone: no model is run."""
    parser.add_argument("directory", type=pathlib.Path, metavar="DIR", help="a finished sweep")
    parser.add_argument("--dial", metavar="NAME", help="what stands on the horizontal axis [the dial of the sweep]")
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR", help="where the figures go [DIR/figures]")
    args = parser.parse_args(arguments)
    show(args.directory, record.table(args.directory), args.dial, args.out)
    return 0


def show(
    directory: pathlib.Path, table: pd.DataFrame, dial: str | None = None, out: pathlib.Path | None = None
) -> None:
    """Prints the table of a sweep, where its held-out data come from, and the paths of its figures, which it writes."""
    said = record.read(directory)
    if said["study"] not in VIEWS or not said["groups"]:
        raise InputError(f"{directory}: a sweep of {said['study']!r}; there are figures of {', '.join(VIEWS)}")
    dial = dial or said["groups"][0]["config"].get("dial")
    if dial not in table.columns:
        raise InputError(f"--dial {dial}: no such column in {directory}/metrics.parquet")
    print(told(said["study"], table, dial))
    for kind in sorted({group["fingerprint"].split("-")[0] for group in said["groups"]} & SPLITS.keys()):
        print(f"split by {kind}: {SPLITS[kind]}")
    for path in _found(VIEWS[said["study"]][1])(table, dial, out or directory / "figures"):
        print(path)


def told(study: str, table: pd.DataFrame, dial: str) -> str:
    """The table of a sweep of the study, as text."""
    return _found(VIEWS[study][0])(table, dial)


def _found(view: str) -> Callable[..., Any]:
    module, name = view.split(":")
    return getattr(importlib.import_module(module), name)
