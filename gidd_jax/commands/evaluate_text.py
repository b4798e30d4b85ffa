"""``gidd-jax evaluate DIR`` of a sweep of text: its rows measured again, on more sequences or finer."""

import argparse
import pathlib

from gidd_jax.commands import flags
from gidd_jax.errors import InputError

SEEN = {
    "eval_sequences": "held-out sequences",
    "strata": "noise levels, or draws of masks, at which a sequence is seen",
}
SAMPLED = SEEN | {"samples": "sequences sampled; 0: none", "sample_steps": "model calls of a sampler"}
MEASURES = {
    "language": SAMPLED | {"correct_steps": "most steps of self-correction; 0: none"},
    "phase": SAMPLED,
    "concepts": SEEN,
}
"""Study -> the settings that say how closely it is measured."""


def run(parser: argparse.ArgumentParser, arguments: list[str], name: str) -> int:
    """Prints the table of the study ``name``; with --out writes it as parquet. What is not given is as in the sweep."""
    parser.add_argument("directory", type=pathlib.Path, metavar="DIR", help=f"a sweep of the {name} study")
    for setting, told in MEASURES[name].items():
        parser.add_argument(f"--{setting.replace('_', '-')}", type=int, metavar="N", help=told)
    parser.add_argument("--out", type=pathlib.Path, metavar="FILE", help="write the table as parquet")
    args = parser.parse_args(arguments)
    if args.out and (args.out.is_dir() or not args.out.parent.is_dir()):
        raise InputError(f"{args.out}: give a file in a folder that exists")
    flags.prepare_jax()
    from gidd_jax import ledger, metrics, sweep
    from gidd_jax.commands import plot

    changed = {each: getattr(args, each) for each in MEASURES[name] if getattr(args, each) is not None}
    table = sweep.evaluate(flags.study(name), args.directory, "validation", **changed)
    if args.out:
        metrics.write_part(args.out, [table])
    print(plot.told(name, table, ledger.read(args.directory)["groups"][0]["config"]["dial"]))
    return 0
