"""What the import commands share: where weights come from, where they go, and what is said of them."""

import argparse
import pathlib
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The checkpoint, the directory to write, and what a checkpoint may leave unsaid."""
    parser.add_argument("source", type=pathlib.Path, metavar="FILE|DIR", help="a checkpoint, or the folder with it")
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="DIR", help="where the two files go")
    parser.add_argument("--heads", type=int, metavar="N", help="attention heads, where the checkpoint does not tell")
    parser.add_argument("--vocab-size", type=int, metavar="N", help="tokens, the mask included, where it does not tell")


def save(args: argparse.Namespace, imported: Any) -> int:
    """Writes params.npz and config.json and says what they hold -> exit status."""
    from gidd_jax import config, export
    from gidd_jax.models import dit

    about = {"source": str(args.source), "model": "dit"} | imported.about | {"config": config.to_json(imported.config)}
    export.save(args.out, imported.params, about)
    shape, count = imported.config, dit.parameter_count(imported.config)
    print(f"{count:,} parameters, {shape.layers} layers x {shape.d_model}, {shape.vocab_size} tokens")
    for note in imported.about["notes"]:
        print(note)
    print(f"{args.source} -> {args.out}/params.npz, {args.out}/config.json")
    return 0
