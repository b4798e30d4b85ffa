"""The main job, small: 4 seeds x 5 couplings of two-head GIDD on bundled 4x4 boards, one jitted call a chunk.

    python -m experiments.demo --out runs/demo

Prints the table, writes the figures, and exits 1 unless learning is visible: held-out jump accuracy at least .2 above
the untrained model in every t bin below .8.
"""

import pathlib
import sys

from experiments import command
from gidd_jax import progress, sweep
from gidd_jax.analysis import learning_visible
from gidd_jax.commands import flags, plot
from gidd_jax.studies import sudoku

MARGIN = 0.2

CONFIG = sudoku.Config(
    data="4x4",
    steps=300,
    eval_every=50,
    d_model=32,
    layers=2,
    batch=32,
    eval_boards=256,
    decode_boards=64,
    decode=(4, 16),
)
SEEDS, COUPLINGS = range(4), (0.0, 0.25, 0.5, 0.75, 1.0)


def main(out: pathlib.Path) -> int:
    """Trains, tells, draws -> exit status."""
    flags.prepare_jax()
    hypers = sweep.grid(sudoku, seed=SEEDS, attention=COUPLINGS, learning_rate=3e-3)
    result = sweep.run(sudoku, [(CONFIG, hypers)], out, progress.bar)
    plot.show(out, result.table)
    visible, gained = learning_visible(result.table, MARGIN)
    least = gained[gained["bin"] < 8].groupby("bin")["gain"].mean().min()
    print(f"learning is {'visible' if visible else 'NOT visible'}: jump accuracy rose by {least:.3f} or more", end=" ")
    print(f"in every t bin below .8 ({MARGIN:g} asked); figures in {out / 'figures'}")
    return 0 if visible else 1


if __name__ == "__main__":
    with command.line("demo"):
        parser = command.parser("demo", __doc__)
        parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/demo"))
        sys.exit(main(parser.parse_args().out))
