"""``gidd-jax evaluate DIR``: the rows of a sweep, or one model, measured again, with other decodings or samplers."""

import argparse
import dataclasses
import pathlib
from typing import Any

from gidd_jax.commands import evaluate_text, flags
from gidd_jax.errors import InputError

EXAMPLE = "gidd-jax evaluate runs/a --decode 1 5 10 20 81 --decode-boards 1000"
DECODE = (1, 5, 10, 20, 81)
SAMPLER_NUMBERS = (
    ("steps", int, "N", "model calls a sampler may make"),
    ("cells", int, "N", "cells a sampler may rewrite at a step"),
    ("temperature", float, "X", "of new digits in resample and remask"),
    ("spread", float, "X", "1: resample and remask draw the cells they rewrite; 0: the least trusted"),
)


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
    """Prints the table; with --out writes it as parquet."""
    if (study := flags.study_in(arguments)) in evaluate_text.MEASURES:
        return evaluate_text.run(parser, arguments, study)
    parser.add_argument("directory", type=pathlib.Path, metavar="DIR", help="a sweep, or an exported or imported model")
    parser.add_argument("--split", default="test", choices=("validation", "test"), help="held-out boards [test]")
    parser.add_argument("--data", metavar="FILE", help="measure on all boards of this file or bundled set instead")
    parser.add_argument(
        "--decode", type=int, nargs="+", default=DECODE, metavar="K", help="cells a pass [1 5 10 20 81]"
    )
    parser.add_argument("--decode-by", choices=("holding", "confidence"), help="what tells which cells come first")
    parser.add_argument("--decode-boards", type=int, metavar="N", help="boards decoded")
    parser.add_argument("--eval-boards", type=int, metavar="N", help="boards noised")
    parser.add_argument("--eval-tier", metavar="NAME", help="tier all held-out boards are of [the tier of each row]")
    parser.add_argument("--branch-boards", type=int, metavar="N", help="boards of a wrong search branch, for AUROC")
    parser.add_argument("--eval-iterations", type=int, metavar="N", help="passes of the stack, of an iterated model")
    parser.add_argument(
        "--samplers",
        nargs="+",
        metavar="NAME",
        help="k-pass, ancestral, resample, remask; NAME+oracle_holding, NAME+oracle_jump",
    )
    for name, kind, shown, help_ in SAMPLER_NUMBERS:
        parser.add_argument(f"--sampler-{name}", type=kind, metavar=shown, help=help_)
    parser.add_argument("--out", type=pathlib.Path, metavar="FILE", help="write the table as parquet")
    args = parser.parse_args(arguments)
    if args.out and (args.out.is_dir() or not args.out.parent.is_dir()):
        raise InputError(f"{args.out}: give a file in a folder that exists")
    flags.prepare_jax()
    from gidd_jax import analysis, export, metrics

    record = export.described(args.directory)
    if record["study"] != "sudoku":
        raise InputError(f"{args.directory}: holds {record['study']}, which is measured whole in its sweep: see plot")
    study = flags.study(record["study"])
    changed = _changed(args)
    table, dial, notes = (_sweep if "groups" in record else _model)(args, study, changed)
    if args.out:
        metrics.write_part(args.out, [table])
    print(analysis.format_summary(table, dial))
    for note in notes:
        print(note)
    return 0


def _changed(args: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given."""
    names = ["data", "decode", "decode_by", "decode_boards", "eval_boards", "eval_tier", "branch_boards"]
    names += ["eval_iterations", "samplers"]
    names += [f"sampler_{name}" for name, *_ in SAMPLER_NUMBERS]
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


def _sweep(args: argparse.Namespace, study: Any, changed: dict[str, Any]) -> tuple[Any, str, list[str]]:
    from gidd_jax import ledger, sweep
    from gidd_jax.config import from_json

    recorded = from_json(study.Config, ledger.read(args.directory)["groups"][0]["config"])
    notes = [study.overlap(recorded, args.data)] if args.data else []
    return sweep.evaluate(study, args.directory, args.split, **changed), recorded.dial, notes


def _model(args: argparse.Namespace, study: Any, changed: dict[str, Any]) -> tuple[Any, str, list[str]]:
    from gidd_jax import export, sweep

    entry, config, hyper, _ = export.load_model(study, args.directory)
    unfiltered = study.unfiltered if args.data else {}
    config = dataclasses.replace(config, **unfiltered | changed | {"init_from": str(args.directory)})
    table = sweep.evaluate_model(study, config, study.settled(hyper), args.split, entry["step"], bool(args.data))
    return table, config.dial, entry["notes"]
