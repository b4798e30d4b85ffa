"""``gidd-jax sample DIR --row ID``: one row completes boards, shown beside what was given."""

import argparse
import dataclasses
import functools
import pathlib

import numpy as np

from gidd_jax.commands import flags

EXAMPLE = "gidd-jax sample runs/a --row 3f2a --board 1...............  --k 1"


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
    """Prints each board, completed, with its violations and, where the answer is known, the cells that are right."""
    parser.add_argument("directory", type=pathlib.Path, metavar="DIR", help="a sweep")
    parser.add_argument(
        "--row", required=True, metavar="ID", help="first digits of the row's identity (gidd-jax export DIR lists them)"
    )
    parser.add_argument("--board", nargs="+", metavar="CELLS", help="boards, '.' or '0' for a blank")
    parser.add_argument("--count", type=int, default=2, metavar="N", help="test boards, where no --board is given [2]")
    parser.add_argument("--k", type=int, default=1, metavar="K", help="cells committed a pass [1]")
    parser.add_argument("--seed", type=int, default=0, help="seed of the starting digits [0]")
    args = parser.parse_args(arguments)
    flags.prepare_jax()
    import jax

    from gidd_jax import export, ledger
    from gidd_jax.data.sudoku import show, violations
    from gidd_jax.studies.sudoku_evaluation import decode
    from gidd_jax.studies.sudoku_model import final_couplings

    study = flags.study(ledger.read(args.directory)["study"])
    entry, config, hyper, params = export.load_row(study, args.directory, args.row)
    data, _ = study.load(dataclasses.replace(config, init_from=""))
    question, answer = _boards(args, data)
    run_decoder = jax.jit(functools.partial(decode, config=config, data=data, k=args.k))
    filled = run_decoder(jax.random.key(args.seed), params, question=question, dials=final_couplings(hyper, config))
    for i, board in enumerate(np.asarray(filled).astype(np.uint8)):
        print(show(question[i]), "->", show(board), sep="\n")
        told = f"violations {int(violations(board))}"
        if answer is not None:
            unknown = question[i] == 0
            told += f", cells right {np.mean(board[unknown] == answer[i][unknown]):.3f} of {unknown.sum()}"
        print(f"row {entry['row']}, {args.k} a pass: {told}\n")
    return 0


def _boards(args: argparse.Namespace, data: dict) -> tuple[np.ndarray, np.ndarray | None]:
    from gidd_jax.data.sudoku import Box, parse, units
    from gidd_jax.errors import InputError

    if args.k < 1 or args.count < 1:
        raise InputError("--k and --count start at 1")
    if args.board:
        box = Box.of(data["question"].shape[1])
        boards = np.stack([parse(text, box) for text in args.board])
        for text, board in zip(args.board, boards, strict=True):
            rows = board[units(box)]
            if any(len(set(unit[unit > 0])) < np.count_nonzero(unit) for unit in rows):
                raise InputError(f"board {text}: a row, column or box holds a digit twice")
        return boards, None
    first, have = data["start"][2, 0], data["count"][2, 0]
    index = first + np.arange(min(args.count, have))
    return data["question"][index], data["answer"][index]
