"""``gidd-jax evaluate DIR`` of a language sweep: its rows measured again, on more sequences or finer."""

import argparse
import pathlib

from gidd_jax.commands import flags
from gidd_jax.errors import InputError

MEASURES = {
    "eval_sequences": "held-out sequences",
    "strata": "noise levels at which a sequence is seen",
    "samples": "sequences sampled; 0: none",
    "sample_steps": "steps of ancestral sampling",
    "correct_steps": "most steps of self-correction; 0: none",
}


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
    """Prints the table; with --out writes it as parquet. What is not given is as in the sweep."""
    parser.add_argument("directory", type=pathlib.Path, metavar="DIR", help="a sweep of the language study")
    for name, told in MEASURES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N", help=told)
    parser.add_argument("--out", type=pathlib.Path, metavar="FILE", help="write the table as parquet")
    args = parser.parse_args(arguments)
    if args.out and (args.out.is_dir() or not args.out.parent.is_dir()):
        raise InputError(f"{args.out}: give a file in a folder that exists")
    flags.prepare_jax()
    from gidd_jax import analysis, ledger, metrics, sweep
    from gidd_jax.studies import language

    changed = {name: getattr(args, name) for name in MEASURES if getattr(args, name) is not None}
    table = sweep.evaluate(language, args.directory, "validation", **changed)
    if args.out:
        metrics.write_part(args.out, [table])
    print(analysis.format_summary(table, ledger.read(args.directory)["groups"][0]["config"]["dial"]))
    return 0
