"""How much gradient reaches a concept, by objective? The note's table, measured.

    python -m experiments.concept_gradients --out runs/concept_gradients

The note derives, from how many positions have a loss, that a concept gets 83 times the gradient under TSDAE and 40 to
60 times under prefix generation that it gets under masked language modelling. Here it is measured: the norm of d task /
d concept, of a text and concept, before training (where all objectives stand on the same weights) and after some steps.
"""

import pathlib
import sys

import pandas as pd

from experiments import command
from experiments import concept_tables as tables
from experiments.concept_fixes import PRESETS, RATES
from experiments.concept_runs import parser, rows
from gidd_jax import files, progress, sweep
from gidd_jax.analysis import mean_interval
from gidd_jax.commands import flags
from gidd_jax.studies import concepts

START = {"init_std": 0.1, "gate": 1.0}
OBJECTIVES = {
    "masked language model, 15 %": ({"t_min": 0.15, "t_max": 0.15, "encoder_noise": 1.0}, "1"),
    "diffusion at t = .5": ({"t_min": 0.5, "t_max": 0.5}, "3.3"),
    "diffusion at t = .9": ({"t_min": 0.9, "t_max": 0.9}, "6"),
    "TSDAE": ({"delete": 0.6, "t_min": 1.0, "t_max": 1.0, "decoder_tokens": 0.0}, "83"),
    "prefix, diffusion": ({"prefix": 1.0}, "40 to 60"),
    "prefix, autoregressive": ({"prefix": 1.0, "self_attention": 1.0, "causal": 1.0}, "-"),
}
"""Objective -> (dials, the note's relative signal)."""


def main(out: pathlib.Path, preset: str, seeds: int, quiet: bool, steps: int = 0) -> int:
    """Measures, tells -> exit status 0. ``steps``: training steps before the second look, 200 where it is 0."""
    flags.prepare_jax()
    steps = steps or 200
    config = concepts.Config(
        **PRESETS[preset] | {"encoder_layers": 2, "steps": steps, "eval_every": steps}, warmup=10, clip=1.0
    )
    settings = {name: dials for name, (dials, _) in OBJECTIVES.items()}
    hypers, names = rows(settings, seeds, learning_rate=RATES[preset], **START)
    result = sweep.run(concepts, [(config, hypers)], out, progress.quiet if quiet else progress.bar)
    table = tables.named(result.table, hypers, names)
    told = tell(table, steps, seeds)
    files.write_text(out / "concept_gradients.txt", told + "\n")
    tables.by_seed(table).to_csv(out / "concept_gradients.csv", index=False, float_format="%.5g")
    print(told)
    return 0


def tell(table: pd.DataFrame, steps: int, seeds: int) -> str:
    """A line an objective: gradient norms, and each as a multiple of the first objective's, seed by seed."""
    heads = ["objective", "the note", "untrained", "x the first", f"step {steps}", "x the first", "concepts zeroed"]
    lines, columns = [heads], {when: tables.measured(table, when) for when in (0, steps)}
    first = next(iter(OBJECTIVES))
    for name, (_, said) in OBJECTIVES.items():
        line = [name, said]
        for found in columns.values():
            own, base = (found.xs(each, level="setting")["concept_gradient"].sort_index() for each in (name, first))
            times = mean_interval(own / base)
            line += [f"{own.mean():.2e}", f"{times.mean:.2f} ±{times.high - times.mean:.2f}"]
        lost = mean_interval(columns[steps].xs(name, level="setting")["zeroed"])
        lines.append([*line, f"{lost.mean:+.3f} ±{lost.high - lost.mean:.3f}"])
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    told = ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) for line in lines]
    note = (
        f"mean ±half-width of the 95 % t interval over {seeds} seeds; norm of d task / d concept, of a text and concept"
    )
    return "\n".join([*told, note])


if __name__ == "__main__":
    with command.line("concept_gradients"):
        sys.exit(main(**vars(parser(__doc__, "concept_gradients", PRESETS).parse_args())))
