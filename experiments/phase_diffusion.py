"""Does the order parameter R of a Kuramoto phase core guide unmasking by what it says, or only by being there?

    python -m experiments.phase_diffusion --preset tiny --out runs/phase

A masked language model on a source of known law, with a phase core whose R sets how many cells are revealed and in
which order; K = 0 and 2 times several seeds, and a row that multiplies hidden states by (1 + R) once, in one call.
From every model all arms of ``phase_arms`` are sampled from the same keys; the unit is the key, paired between arms.

Written down before any run:
  wired        R set to .3 waits longer (more masks, mean over steps) and is more diverse (distinct bigrams a sample)
               than R set to .7, both one-sided; guaranteed for the first by construction, so it shows only the wiring
  information  nats a token of samples under the source (less is better) and their token entropy, free against arms
               that keep R's distribution and take its content: yoked (pace), shuffled (order), neither (both). Matters
               where neither - free > 0, p < .05 after Holm over arms and outcomes; nothing where equivalent within
               +-.05 nats; else open. Beside it the least difference found with probability .8
  alone        the same contrast, shuffled - R alone, where R alone makes the order
  positive     with the certainty of the best model in R's place the contrast of alone must be found
  negative     with span 0 and R out of the order the clamps give the same tokens, to the bit
  modulation   h (1 + R) once: the KL between guesses at R = .3 and R = .7, where the proposal's document asserts none
A first run (2,500 steps) had the positive control beside the model's confidence, and did not find it: what is certain
is what the model is sure of. The arms called alone were written after that run and before this one.
The denoiser has to be within .05 nats a token of the best possible one, else quality differences mean little: said.
"""

import argparse
import pathlib
import sys

import numpy as np
import pandas as pd

from experiments import phase_diffusion_figures as figures
from experiments import phase_diffusion_tests as tests
from gidd_jax import files, progress, sweep
from gidd_jax.analysis import format_summary
from gidd_jax.commands import flags
from gidd_jax.studies import phase

SOURCE = dict(data="markov", tokens=8, length=24, concentration=0.2)
PRESETS = {
    "tiny": dict(SOURCE, d_model=64, heads=4, cond=16, batch=64, steps=4500, samples=200, sample_steps=8),
    "small": dict(
        SOURCE | dict(tokens=16, length=64),
        d_model=128,
        layers=4,
        batch=128,
        steps=20_000,
        samples=400,
        sample_steps=16,
    ),
}
COUPLINGS = (0.0, 2.0)
STEPS = (3, 6, 12, 24)
"""Model calls at which quality is measured again."""

Rows = dict[tuple[float, float, int], dict[str, np.ndarray]]
"""(K, alpha, seed) -> array by name, [A,N,...]."""


def main(out: pathlib.Path, preset: str, seeds: int, quiet: bool) -> int:
    """Trains, tells, draws -> exit status: 1 where a control fails."""
    flags.prepare_jax()
    config = phase.Config(**PRESETS[preset], schedule="cosine", warmup=100, eval_every=PRESETS[preset]["steps"])
    kinds = [(K, 0.0) for K in COUPLINGS] + [(2.0, 1.0)]
    rows = [(K, alpha, seed) for K, alpha in kinds for seed in range(seeds)]
    K, alpha, seed = map(list, zip(*rows, strict=True))
    hypers = sweep.rows(phase, seed=seed, coupling=K, modulation=alpha, learning_rate=[3e-3] * len(rows))
    result = sweep.run(phase, [(config, hypers)], out, progress.quiet if quiet else progress.bar)
    by_steps = {n: sweep.evaluate(phase, out, "validation", sample_steps=n, samples=100) for n in STEPS}
    arrays = by_row(out, result.table, config.steps)
    found, controls = tests.contrasts(arrays), tests.controls(result.table, arrays)
    told = [format_summary(result.table[result.table["modulation"] == 0], "coupling")]
    told += [tests.tell(found, arrays), tests.told_controls(controls), tests.proposal()]
    text = "\n\n".join(told)
    files.write_text(out / "phase_diffusion.txt", text + "\n")
    found.to_csv(out / "phase_diffusion.csv", index=False, float_format="%.5g")
    drawn = figures.drawn(result.table, arrays, by_steps, found)
    files.write(out / "phase_diffusion.png", lambda path: drawn.savefig(path, dpi=150, format="png"))
    print(text, f"figure and tables in {out}", sep="\n")
    return 0 if controls["negative"] and controls["positive"] else 1


def by_row(directory: pathlib.Path, table: pd.DataFrame, step: int) -> Rows:
    """The arrays of the evaluation at ``step``, by row."""
    rows = table.drop_duplicates("row").set_index("row")
    found: Rows = {}
    for path in sorted((directory / "arrays").glob(f"*-{step:08d}-validation.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            for i, row in enumerate(arrays["rows"]):
                K, alpha, seed = rows.loc[row, ["coupling", "modulation", "seed"]]
                found[round(K, 6), round(alpha, 6), int(seed)] = {name: arrays[name][i] for name in arrays.files}
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/phase_diffusion"))
    parser.add_argument("--preset", choices=tuple(PRESETS), default="tiny")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--quiet", action="store_true")
    arguments = parser.parse_args()
    sys.exit(main(arguments.out, arguments.preset, arguments.seeds, arguments.quiet))
