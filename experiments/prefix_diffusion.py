"""Prefix -> suffix through a concept bottleneck: diffusion with attention among tokens, without, and autoregressive.

    python -m experiments.prefix_diffusion --out runs/prefix_diffusion

The source's prefix diffusion had no attention among tokens and failed (its suffix was predicted at topic level); its
autoregressive decoder worked. Diffusion *with* attention among tokens was recommended there on 2026-03-11 and no run of
it is recorded. Here all decoders are rows of one call, each also without the channel, x seeds.

Written down before any run, paired by seed, two-sided t at alpha = .05, Holm over the four contrasts of each question:
  coordinate   attention lowers the bound of diffusion on the suffix (nats a token): attention less none, below 0
  value        the channel is worth something: bound without less bound with, above 0, for every decoder. That a model
               loses when its concepts are taken away (``zeroed``, ``shuffled``) shows that it leans on them; only a
               model trained without shows what they are worth
  meaning      concepts of diffusion with attention agree better with human similarity (Lee-50) than those of diffusion
               without: above 0; and than those of the autoregressive decoder: open, no prediction
  local path   a decoder that can read the suffix around a cell leans less on concepts: ``shuffled`` of attention less
               that of none, below 0
The bound of an autoregressive model is its -log p; that of diffusion is above -log p by what is lost in the bound.
"""

import pathlib
import sys

import pandas as pd

from experiments import command
from experiments import concept_figures as figures
from experiments import concept_tables as tables
from experiments.concept_fixes import PRESETS as FIXES_PRESETS
from experiments.concept_fixes import RATES
from experiments.concept_runs import parser, rows
from gidd_jax import files, progress, sweep
from gidd_jax.analysis import holm, paired_interval
from gidd_jax.commands import flags
from gidd_jax.studies import concepts

PREFIX = {"prefix": 1.0, "elbo": 1.0, "per_cell": 1.0, "t_min": 0.02, "init_std": 0.1, "gate": 1.0}
DECODERS = {
    "diffusion": PREFIX,
    "diffusion, attention": PREFIX | {"self_attention": 1.0},
    "autoregressive": PREFIX | {"self_attention": 1.0, "causal": 1.0},
    "position only": PREFIX | {"decoder_tokens": 0.0, "self_attention": 1.0, "t_min": 1.0},
}
"""Decoder -> dials; the last is asked for all cells at once and shown none."""

PRESETS = {name: dict(sizes, encoder_layers=2) for name, sizes in FIXES_PRESETS.items()}
PRESETS["tiny"]["steps"] = 1200


def main(out: pathlib.Path, preset: str, seeds: int, quiet: bool, steps: int = 0) -> int:
    """Trains, tells, draws -> exit status: 1 where a model is no better at its own task than untrained."""
    flags.prepare_jax()
    steps = steps or PRESETS[preset]["steps"]
    config = concepts.Config(
        **PRESETS[preset] | {"steps": steps, "eval_every": steps},
        schedule="cosine",
        warmup=min(100, steps // 10),
        clip=1.0,
    )
    settings = DECODERS | {f"{name}, no channel": dials | {"channel": 0.0} for name, dials in DECODERS.items()}
    hypers, names = rows(settings, seeds, learning_rate=RATES[preset])
    result = sweep.run(concepts, [(config, hypers)], out, progress.quiet if quiet else progress.bar)
    table = tables.named(result.table, hypers, names)
    found = contrasts(table)
    shape = f"H{config.d_model} L{config.encoder_layers} C{config.concepts} D{config.decoder_layers}"
    told = "\n\n".join(
        [
            f"{shape}, {config.data}, {config.tokenizer}, {config.length} tokens, {config.batch} a step, {steps} steps"
            f"; mean ±half-width of the 95 % t interval over {seeds} seeds; suffix of 50 to 70 % of a text",
            tables.settings_table(table, list(settings)),
            tell(found),
            tables.PUBLISHED,
        ]
    )
    files.write_text(out / "prefix_diffusion.txt", told + "\n")
    found.to_csv(out / "contrasts.csv", index=False, float_format="%.5g")
    tables.by_seed(table).to_csv(out / "prefix_diffusion.csv", index=False, float_format="%.5g")
    drawn = figures.decoders(table, list(settings), seeds)
    files.write(out / "prefix_diffusion.png", lambda path: drawn.savefig(path, dpi=150, format="png"))
    print(told, f"figure and tables in {out}", sep="\n")
    return 0 if tables.learnt(table).all() else 1


def contrasts(table: pd.DataFrame) -> pd.DataFrame:
    """Every contrast of the questions: mean, interval, p after Holm within its question, least effect found."""
    asked = [("coordinate", "bound", "diffusion, attention", "diffusion")]
    asked += [("value", "bound", f"{name}, no channel", name) for name in DECODERS]
    asked += [("meaning", "similarity", "diffusion, attention", other) for other in ("diffusion", "autoregressive")]
    asked += [("local path", "shuffled", "diffusion, attention", "diffusion")]
    final, lines = tables.measured(table), []
    for question, metric, first, second in asked:
        if metric not in final:
            continue
        one, other = (final.xs(name, level="setting")[metric].sort_index() for name in (first, second))
        each = (one - other).to_numpy()
        line = (question, metric, f"{first} less {second}", *paired_interval(one, other), tables.p_value(each))
        lines.append((*line, tables.least_found(each)))
    found = pd.DataFrame(lines, columns=["question", "metric", "contrast", "mean", "low", "high", "n", "p", "least"])
    return found.assign(holm=found.groupby("question")["p"].transform(holm))


def tell(found: pd.DataFrame) -> str:
    """A line a contrast."""
    wanted = {"coordinate": -1, "value": 1, "meaning": 1, "local path": -1}
    lines = []
    for _, row in found.iterrows():
        word = "open" if row["holm"] >= 0.05 else "shown" if row["mean"] * wanted[row["question"]] > 0 else "opposite"
        lines.append(
            f"{row['question']:11} {word:8} {row['contrast']:58} {row['metric']:10} {row['mean']:+.3f} "
            f"[{row['low']:+.3f}, {row['high']:+.3f}]  p {row['holm']:.3g}  least found {row['least']:.3f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    with command.line("prefix_diffusion"):
        sys.exit(main(**vars(parser(__doc__, "prefix_diffusion", PRESETS).parse_args())))
