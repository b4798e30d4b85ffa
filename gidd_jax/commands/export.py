"""``gidd-jax export DIR --row ID``: one row as standalone files."""

import argparse
import pathlib

from gidd_jax.commands import flags
from gidd_jax.errors import InputError

EXAMPLE = "gidd-jax export runs/a --row 3f2a --out models/best"


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
    """Writes params.npz and config.json."""
    parser.add_argument("directory", type=pathlib.Path, metavar="DIR", help="a sweep")
    parser.add_argument(
        "--row", metavar="ID", help="first digits of the row's identity; without it the rows are listed"
    )
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR", help="where the two files go")
    args = parser.parse_args(arguments)
    from gidd_jax import export, ledger

    study = flags.study(ledger.read(args.directory)["study"])
    if args.row is None:
        for entry in export.rows(study, args.directory):
            print(f"g{entry['group']}:{entry['row']}  step {entry['step']}  {entry['told']}")
        return 0
    if args.out is None:
        raise InputError("--row needs --out, the directory to write")
    flags.prepare_jax()
    entry = export.write(study, args.directory, args.row, args.out)
    print(f"row {entry['row']} at step {entry['step']} -> {args.out}/params.npz, {args.out}/config.json")
    return 0
