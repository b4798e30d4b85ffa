"""What the import commands share: where weights come from, where they go, and what is said of them."""

import argparse
import pathlib
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The checkpoint, the directory to write, and what any checkpoint may leave unsaid."""
    parser.add_argument("source", type=pathlib.Path, metavar="FILE|DIR", help="a checkpoint, or the folder with it")
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="DIR", help="where the two files go")
    parser.add_argument("--heads", type=int, metavar="N", help="attention heads, where the checkpoint does not tell")


def add_vocabulary(parser: argparse.ArgumentParser) -> None:
    """What a checkpoint of a text model may leave unsaid."""
    parser.add_argument("--vocab-size", type=int, metavar="N", help="tokens, the mask included, where it does not tell")


def save(args: argparse.Namespace, imported: Any, model: str, told: str) -> int:
    """Writes params.npz and config.json and says what they hold -> exit status. ``told``: what the model is for."""
    import jax

    from gidd_jax import config, export

    about = {"source": str(args.source), "model": model} | imported.about | {"config": config.to_json(imported.config)}
    export.save(args.out, imported.params, about)
    shape, count = imported.config, sum(leaf.size for leaf in jax.tree.leaves(imported.params))
    print(f"{count:,} parameters, {shape.layers} layers x {shape.d_model}, {told}")
    for note in imported.about["notes"]:
        print(note)
    print(f"{args.source} -> {args.out}/params.npz, {args.out}/config.json")
    return 0
