"""``gidd-jax sample DIR``: a row of a sweep, or a model, completes boards, shown beside what was given."""

import argparse
import dataclasses
import functools
import itertools
import pathlib
from typing import Any

import numpy as np

from gidd_jax.commands import flags, sample_concepts, sample_phase, sample_text
from gidd_jax.errors import InputError

EXAMPLE = "gidd-jax sample runs/a --row 3f2a --board 1............... --sampler resample --trace"
CHANGES = 12
"""Changes of one step that are written out; more are counted."""


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
    """Prints each board, completed, with its violations and, where the answer is known, the cells that are right."""
    others = {"language": sample_text, "phase": sample_phase, "concepts": sample_concepts}
    if (study := flags.study_in(arguments)) in others:
        return others[study].run(parser, arguments)
    parser.add_argument("directory", type=pathlib.Path, metavar="DIR", help="a sweep, or an exported or imported model")
    parser.add_argument(
        "--row", metavar="ID", help="of a sweep: first digits of its identity (gidd-jax export DIR lists)"
    )
    parser.add_argument("--board", nargs="+", metavar="CELLS", help="boards, '.' or '0' for a blank")
    parser.add_argument("--count", type=int, default=2, metavar="N", help="test boards, where no --board is given [2]")
    parser.add_argument(
        "--sampler",
        default="k-pass",
        metavar="NAME",
        help="k-pass, ancestral, resample, remask; NAME+oracle_... [k-pass]",
    )
    parser.add_argument("--steps", type=int, default=0, metavar="N", help="model calls [one a cell]")
    parser.add_argument(
        "--cells", type=int, metavar="N", help="cells a step [so many that the steps could visit each cell]"
    )
    parser.add_argument(
        "--temperature", type=float, default=1.0, metavar="X", help="of new digits; 0: the likeliest [1]"
    )
    parser.add_argument(
        "--spread", type=float, default=1.0, metavar="X", help="0: least trusted cells first; 1: drawn [1]"
    )
    parser.add_argument("--iterations", type=int, default=0, metavar="N", help="passes of the stack [as in training]")
    parser.add_argument("--trace", action="store_true", help="print the cells that change at each step")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the starting digits and draws [0]")
    args = parser.parse_args(arguments)
    if args.count < 1 or (args.cells is not None and args.cells < 1):
        raise InputError("--cells and --count start at 1")
    flags.prepare_jax()
    import jax

    from gidd_jax import export
    from gidd_jax.data.sudoku import show, violations
    from gidd_jax.studies.sudoku_decoding import complete
    from gidd_jax.studies.sudoku_model import final_couplings, measuring
    from gidd_jax.studies.sudoku_samplers import parse

    record = export.described(args.directory)
    if record["study"] != "sudoku":
        raise InputError(f"{args.directory}: holds {record['study']}, and boards are completed by sudoku models")
    study = flags.study("sudoku")
    if "groups" not in record:
        entry, config, hyper, params = export.load_model(study, args.directory)
    elif args.row:
        entry, config, hyper, params = export.load_row(study, args.directory, args.row)
    else:
        raise InputError("--row ID: which row of the sweep? gidd-jax export DIR lists them")
    config = measuring(dataclasses.replace(config, **_settings(args)))
    question, answer = _boards(args, study, config, params)
    sampler, swaps = parse(args.sampler)
    if any(swaps) and answer is None:
        raise InputError(f"--sampler {args.sampler}: an oracle needs boards with one answer")
    steps = question.shape[1] if sampler == "k-pass" or not args.steps else args.steps
    how = dict(sampler=sampler, cells=args.cells, swaps=swaps, history=steps if args.trace else 0)
    walk = jax.jit(functools.partial(complete, config=config, data={"question": question}, **how))
    dials = final_couplings(hyper, config)
    found = walk(jax.random.key(args.seed), params, question=question, dials=dials, answer=answer)
    boards, calls, history = (np.asarray(each) for each in found)
    for i, board in enumerate(boards.astype(np.uint8)):
        print(show(question[i]), "->", show(board), sep="\n")
        told = f"violations {int(violations(board))}"
        if answer is not None:
            unknown = question[i] == 0
            told += f", cells right {np.mean(board[unknown] == answer[i][unknown]):.3f} of {unknown.sum()}"
        print(f"row {entry['row']}, {args.sampler}, {calls[i]} calls: {told}")
        if args.trace:
            print(*_trace([*history[: calls[i], i], board], question.shape[1]), sep="\n")
        print()
    return 0


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "samplers": (args.sampler,),
        "sampler_steps": args.steps,
        "sampler_temperature": args.temperature,
        "sampler_spread": args.spread,
        "eval_iterations": args.iterations,
    }


def _trace(boards: list[np.ndarray], cells: int) -> list[str]:
    """A line a step: the cells that changed, by row and column from 1, a mask as "?"."""
    from gidd_jax.data.sudoku import Box
    from gidd_jax.data.sudoku.board import SYMBOLS

    size, lines = Box.of(cells).size, []
    symbol = lambda digit: SYMBOLS[digit] if digit <= size else "?"  # noqa: E731
    for i, (old, new) in enumerate(itertools.pairwise(boards), 1):
        changed = np.flatnonzero(old != new)
        told = [f"r{c // size + 1}c{c % size + 1} {symbol(old[c])}->{symbol(new[c])}" for c in changed[:CHANGES]]
        more = [f"and {len(changed) - CHANGES} more"] if len(changed) > CHANGES else []
        lines.append(f"step {i}: {' '.join(told + more) or 'nothing changes'}")
    return lines


def _boards(args: argparse.Namespace, study: Any, config: Any, params: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Boards [B,S] and their answers, which those of --board have if each has one only."""
    from gidd_jax.data.sudoku import Box, count, parse, solve, units

    if not args.board:
        data, _ = study.load(dataclasses.replace(config, init_from=""))
        first, have = data["start"][2, 0], data["count"][2, 0]
        index = first + np.arange(min(args.count, have))
        return data["question"][index], data["answer"][index]
    cells = params["jump"]["kernel"].shape[-1] ** 2
    boards = np.stack([parse(text, Box.of(cells)) for text in args.board])
    for text, board in zip(args.board, boards, strict=True):
        rows = board[units(Box.of(cells))]
        if any(len(set(unit[unit > 0])) < np.count_nonzero(unit) for unit in rows):
            raise InputError(f"board {text}: a row, column or box holds a digit twice")
    known = all(count(board) == 1 for board in boards)
    return boards, np.stack([solve(board) for board in boards]) if known else None
