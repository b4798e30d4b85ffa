"""``gidd-jax plot DIR``: the table of a sweep for people, and its figures."""

import argparse
import pathlib
from typing import Any

import pandas as pd

from gidd_jax import analysis, ledger

EXAMPLE = "gidd-jax plot runs/a"


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
    """Prints the table and writes the figures, from the files alone: no model is run."""
    parser.add_argument("directory", type=pathlib.Path, metavar="DIR", help="a finished sweep")
    parser.add_argument("--dial", help="Hyper field on the horizontal axis [the one the sweep was made for]")
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR", help="where the figures go [DIR/figures]")
    args = parser.parse_args(arguments)
    table = ledger.table(args.directory)
    dial = args.dial or ledger.read(args.directory)["groups"][0]["config"].get("dial", "")
    print(told(table, dial, args.directory))
    for path in draw(table, dial, args.out or args.directory / "figures"):
        print(path)
    return 0


def told(table: pd.DataFrame, dial: str, directory: pathlib.Path) -> str:
    """The summary table, and where the held-out boards came from."""
    groups = ledger.read(directory)["groups"]
    kinds = {group["fingerprint"].split("-")[0] for group in groups}
    split = {
        "class": "held-out grids are no symmetry of a training grid",
        "grid": "held-out grids are not training grids (symmetries of them may be; augmentation is off)",
    }
    lines = [analysis.format_summary(table, dial)]
    lines += [f"split by {kind}: {split[kind]}" for kind in sorted(kinds) if kind in split]
    return "\n".join(lines)


def draw(table: pd.DataFrame, dial: str, directory: pathlib.Path) -> list[Any]:
    """Writes the figures -> their paths."""
    from gidd_jax import plotting

    return plotting.save_all(table, dial, directory)
