"""``gidd-jax evaluate DIR``: the rows of a sweep measured again, by default with every decoding of the posts."""

import argparse
import pathlib

from gidd_jax.commands import flags
from gidd_jax.errors import InputError

EXAMPLE = "gidd-jax evaluate runs/a --decode 1 5 10 20 81 --decode-boards 1000"
DECODE = (1, 5, 10, 20, 81)


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
    """Prints the table; with --out writes it as parquet."""
    parser.add_argument("directory", type=pathlib.Path, metavar="DIR", help="a sweep")
    parser.add_argument("--split", default="test", choices=("validation", "test"), help="held-out boards [test]")
    parser.add_argument("--data", help="measure on all boards of this file or bundled set instead")
    parser.add_argument("--decode", type=int, nargs="+", default=DECODE, metavar="K", help=f"cells a pass {DECODE}")
    parser.add_argument("--decode-by", choices=("holding", "confidence"), help="which cells are committed first")
    parser.add_argument("--decode-boards", type=int, metavar="N", help="boards decoded")
    parser.add_argument("--eval-boards", type=int, metavar="N", help="boards noised")
    parser.add_argument("--out", type=pathlib.Path, metavar="FILE", help="write the table as parquet")
    args = parser.parse_args(arguments)
    if args.out and (args.out.is_dir() or not args.out.parent.is_dir()):
        raise InputError(f"{args.out}: give a file in a folder that exists")
    flags.prepare_jax()
    from gidd_jax import analysis, ledger, metrics, sweep
    from gidd_jax.config import from_json

    study = flags.study(ledger.read(args.directory)["study"])
    changed = {name: getattr(args, name) for name in ("data", "decode_by", "decode_boards", "eval_boards")}
    changed = {name: value for name, value in changed.items() if value is not None}
    recorded = from_json(study.Config, ledger.read(args.directory)["groups"][0]["config"])
    told = study.overlap(recorded, args.data) if args.data else ""
    table = sweep.evaluate(study, args.directory, args.split, decode=tuple(args.decode), **changed)
    if args.out:
        metrics.write_part(args.out, [table])
    print(analysis.format_summary(table, recorded.dial))
    if told:
        print(told)
    return 0
