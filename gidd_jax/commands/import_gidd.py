"""``gidd-jax import-gidd FILE|DIR --out DIR``: weights of the authors' PyTorch models of GIDD."""

import argparse

from gidd_jax.commands import flags, importing

EXAMPLE = "gidd-jax import-gidd gidd-small-p_unif-0.2 --out models/gidd"


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
    """Writes params.npz and config.json; nothing where the checkpoint is none of GIDD's."""
    importing.add_arguments(parser)
    importing.add_vocabulary(parser)
    args = parser.parse_args(arguments)
    flags.prepare_jax()
    from gidd_jax import weights

    found = weights.from_gidd(args.source, args.heads, args.vocab_size)
    return importing.save(args, found, "dit", f"{found.config.vocab_size} tokens")
