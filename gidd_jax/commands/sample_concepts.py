"""``gidd-jax sample DIR --row ID --text "..."`` of a concept sweep: a text goes through the bottleneck."""

import argparse
import pathlib

import numpy as np

from gidd_jax.commands import flags
from gidd_jax.errors import InputError


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
    """Prints what the row's decoder writes of the concepts of each text: it again, or what may follow, as trained."""
    parser.add_argument("directory", type=pathlib.Path, metavar="DIR", help="a sweep of the concept study")
    parser.add_argument(
        "--row", required=True, metavar="ID", help="first digits of its identity (gidd-jax export DIR lists)"
    )
    parser.add_argument("--text", nargs="+", required=True, metavar="TEXT", help="texts to encode")
    parser.add_argument("--length", type=int, default=0, metavar="N", help="tokens to write [as many as are read]")
    parser.add_argument("--count", type=int, default=1, metavar="N", help="samples of each [1]")
    parser.add_argument("--steps", type=int, default=32, metavar="N", help="model calls of a diffusion decoder [32]")
    parser.add_argument("--temperature", type=float, default=0.0, metavar="X", help="0: the likeliest tokens [0]")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the draws [0]")
    args = parser.parse_args(arguments)
    if min(args.count, args.steps) < 1 or args.length < 0 or not args.temperature >= 0:
        raise InputError("--count and --steps start at 1, --length and --temperature at 0")
    flags.prepare_jax()
    import jax

    from gidd_jax import export
    from gidd_jax.studies import concepts, concepts_data
    from gidd_jax.studies.concepts_sampling import write

    entry, config, hyper, params = export.load_row(concepts, args.directory, args.row)
    tokenizer = concepts_data.views(config).tokenizer
    data = {"vocabulary": np.zeros((tokenizer.vocab_size, 0), np.uint8)}
    ids, valid = _rows(args.text, tokenizer, config.length)
    read = valid.sum(1)
    count = np.minimum(args.length or read, config.length).astype(np.int32) * np.ones_like(read, np.int32)

    @jax.jit
    def written(key, params, ids, valid, count):
        return write(key, params, hyper, config, data, ids, valid, count, args.steps, args.temperature)

    task = "goes on" if hyper.prefix else "its other version" if hyper.other_view else "again"
    for i in range(args.count):
        rows = np.asarray(written(jax.random.fold_in(jax.random.key(args.seed), i), params, ids, valid, count))
        for text, row, number, length in zip(args.text, rows, count, read, strict=True):
            told = tokenizer.decode(row[:number])
            print(f"row {entry['row']}, {task} ({length} tokens read, {number} written)\n{text}\n-> {told}\n")
    return 0


def _rows(texts: list[str], tokenizer, length: int) -> tuple[np.ndarray, np.ndarray]:
    ids = np.full((len(texts), length), tokenizer.pad_id, np.int32)
    valid = np.zeros(ids.shape, bool)
    for row, text in enumerate(texts):
        found = tokenizer.encode(text)
        if not 0 < len(found) <= length:
            raise InputError(f"--text {text[:40]!r}: {len(found)} tokens; the model reads 1 to {length}")
        ids[row, : len(found)] = found
        valid[row, : len(found)] = True
    return ids, valid
