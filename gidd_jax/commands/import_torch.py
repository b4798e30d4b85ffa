"""``gidd-jax import-torch FILE --out DIR``: weights of the posts' PyTorch models of Sudoku."""

import argparse
import pathlib

from gidd_jax.commands import flags

EXAMPLE = "gidd-jax import-torch sudoku_diffusion_gidd_500k.pth --out models/posts"


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
    """Writes params.npz and config.json, for evaluate and sample; nothing where the file is none of the posts'."""
    parser.add_argument("source", type=pathlib.Path, metavar="FILE", help="a state dict: .pth, .pt or .safetensors")
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="DIR", help="where the two files go")
    parser.add_argument("--heads", type=int, default=4, metavar="N", help="attention heads, as in the posts' code [4]")
    args = parser.parse_args(arguments)
    flags.prepare_jax()
    from gidd_jax import export, weights
    from gidd_jax.config import to_json
    from gidd_jax.models.two_head import count_parameters
    from gidd_jax.studies import sudoku

    found = weights.from_posts(args.source, args.heads)
    shape = found.config
    config = sudoku.Config(
        data=f"{shape.digits}x{shape.digits}",
        noise=found.noise,
        decode_by="holding" if found.two_heads else "confidence",
        init="torch",
        **{name: getattr(shape, name) for name in SHAPE},
    )
    notes = [*found.notes, UNKNOWN]
    about = {"source": str(args.source), "study": sudoku.name, "step": None, "hyper": sudoku.Hyper()._asdict()}
    export.save(args.out, found.params, about | {"notes": notes, "config": to_json(config)})
    kind = "two heads" if found.two_heads else f"one head, {found.noise} noise"
    print(f"{count_parameters(found.params):,} parameters, {shape.layers} layers x {shape.d_model}, {kind}")
    for note in notes:
        print(note)
    print(f"{args.source} -> {args.out}/params.npz, {args.out}/config.json")
    return 0


SHAPE = ("trunk", "norm", "given", "gated", "d_model", "layers", "heads", "d_ff", "dropout")
UNKNOWN = "Its training is not known: on which boards, and for how many steps (-1 in tables)."
