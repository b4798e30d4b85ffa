"""``gidd-jax import-dit FILE|DIR --out DIR``: weights of DiT, for images, as its authors or diffusers store them."""

import argparse

from gidd_jax.commands import flags, importing

EXAMPLE = "gidd-jax import-dit DiT-XL-2-512x512.pt --out models/dit"


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
    """Writes params.npz and config.json, for models.dit_image; nothing where the checkpoint is none of a DiT."""
    importing.add_arguments(parser)
    args = parser.parse_args(arguments)
    flags.prepare_jax()
    from gidd_jax import weights

    found = weights.from_dit(args.source, args.heads)
    shape = found.config
    told = f"images {shape.channels} x {shape.size} x {shape.size}, {shape.classes} classes"
    return importing.save(args, found, "dit_image", told)
