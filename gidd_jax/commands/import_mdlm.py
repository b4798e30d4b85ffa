"""``gidd-jax import-mdlm FILE|DIR --out DIR``: weights of the authors' PyTorch models of MDLM."""

import argparse

from gidd_jax.commands import flags, importing

EXAMPLE = "gidd-jax import-mdlm mdlm-owt --out models/mdlm"


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
    """Writes params.npz and config.json; nothing where the checkpoint is none of MDLM's."""
    importing.add_arguments(parser)
    importing.add_vocabulary(parser)
    parser.add_argument(
        "--time-conditioning", action=argparse.BooleanOptionalAction, help="whether it saw time, where it does not tell"
    )
    args = parser.parse_args(arguments)
    flags.prepare_jax()
    from gidd_jax import weights

    found = weights.from_mdlm(args.source, args.heads, args.vocab_size, args.time_conditioning)
    return importing.save(args, found, "dit", f"{found.config.vocab_size} tokens")
