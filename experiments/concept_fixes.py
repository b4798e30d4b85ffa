"""Do the four fixes make concepts that mean something? Depth, ELBO, prefix and a regulariser, each alone and together.

    python -m experiments.concept_fixes --out runs/concept_fixes

The note of 2026-02-26 blames a shallow encoder, the missing 1/t, self-reconstruction and missing regularisation, and
proposes a fix for each; its repository ran them one on top of another, one seed each. Here they are a 2^4 factorial x
seeds, one jitted call, on the Wikipedia leads, with arms of their own beside it (``ARMS``).

Written down before any run, at alpha = .05 over seeds (two-sided t on a contrast of each seed's 16 models):
  moves        a fix moves a measure where its main effect is not 0 after Holm over the 4 main effects and 11
               interactions of that measure; else "open", beside the least effect found with probability .8
  claim 1      depth is the dominant cause: its effect on similarity is above 0 and the largest of the four
  claim 2      ELBO and t_min help: their effect on similarity is above 0. Predicted: no, because without attention
               among tokens t reaches the decoder through its embedding only
  claim 3      prefix -> suffix makes semantic concepts: its effect on similarity is above 0
  claim 4      the regulariser (as the source has it, weight .02) raises the centred rank and the similarity
  order        the note: only after gradient flow is healthy. Regulariser from the start less regulariser from half of
               the steps on, with the other three fixes
  gates        the note's: similarity > .50 "depth was the bottleneck", < .30 "self-reconstruction is insufficient",
               rank > 20 of 128. Its numbers are of STS-B after fine-tuning and of 128 x 512 concepts; these here are
               Lee-50 without any training, and C concepts of width H: not comparable, shown for what they are
  floor        trained less untrained similarity, all models of the factorial: above 0?
Ranks are told uncentred, as the source has them, and centred: one vector shared by all concepts moves only the first.
"""

import itertools
import pathlib
import sys

from experiments import command, concept_runs
from experiments import concept_figures as figures
from experiments import concept_tables as tables
from gidd_jax import files, progress, sweep
from gidd_jax.commands import flags
from gidd_jax.studies import concepts

FIXES = {
    "depth": ({"depth": 2.0}, {"depth": 6.0}),
    "elbo": ({"elbo": 0.0, "t_min": 0.1}, {"elbo": 1.0, "t_min": 0.3}),
    "prefix": ({"prefix": 0.0}, {"prefix": 1.0}),
    "spread": ({"w_nearest": 0.0}, {"w_nearest": 0.02}),
}
"""Fix -> dials without and with it."""

ALL_ON = {name: value for _, on in FIXES.values() for name, value in on.items()}
BASE = {name: value for off, _ in FIXES.values() for name, value in off.items()}

ARMS = {
    "no channel": BASE | {"channel": 0.0},
    "no channel, prefix": BASE | FIXES["prefix"][1] | {"channel": 0.0},
    "all, regulariser late": ALL_ON | {"reg_start": 0.5},
    "all, 50 x the weight": ALL_ON | {"w_nearest": 1.0},
    "all, tree": ALL_ON | {"w_nearest": 0.0, "w_tree": 0.02},
    "all, KoLeo": ALL_ON | {"w_nearest": 0.0, "w_koleo": 0.1},
    "all, VICReg": ALL_ON | {"w_nearest": 0.0, "w_variance": 0.02, "w_covariance": 0.02},
    "all, Seq-VCR": ALL_ON | {"w_nearest": 0.0, "w_layers": 0.1},
    "combined, Kendall-Gal": BASE | {"depth": 6.0, "w_variance": 1.0, "w_uniformity": 1.0, "kendall_gal": 1.0},
    "masked language model": BASE | {"depth": 6.0, "t_min": 0.15, "t_max": 0.15, "encoder_noise": 1.0},
    "TSDAE": BASE | {"depth": 6.0, "delete": 0.6, "t_min": 1.0, "t_max": 1.0, "decoder_tokens": 0.0},
    "visible cells count": BASE | {"visible_weight": 1.0},
    "BiXT, prefix": BASE | FIXES["prefix"][1] | {"bixt": 1.0},
    "4 concepts": BASE | {"n_concepts": 4.0},
    "4 concepts, prefix": BASE | FIXES["prefix"][1] | {"n_concepts": 4.0},
}
"""Beside the factorial; reg_start is a share of the steps."""

SOURCE = {"init_std": 0.1, "smoothing": 0.1, "gate": 1.0, "reg_warmup": 0.05}
"""In every row; reg_warmup is a share of the steps (the source's 2,000 of 39,000). Its gates were meant to start at 0
but were most likely drawn anew, all else as wide as here; at 0 a small model spends its time opening them."""

TEXT = dict(data="wiki-leads", similarity="lee")
PRESETS = {
    "tiny": dict(
        TEXT, tokenizer="bpe-512", length=32, batch=16, d_model=64, concepts=16, encoder_layers=6, heads=4, hidden=128
    )
    | dict(steps=800, eval_sequences=128, strata=4),
    "small": dict(TEXT, tokenizer="bpe-4096", length=128, batch=64, d_model=128, concepts=32, encoder_layers=6, heads=8)
    | dict(hidden=256, steps=6000, eval_sequences=256, strata=8),
    "paper": dict(
        TEXT, data="JeanKaddour/minipile", tokenizer="bpe-32000", length=512, batch=512, d_model=512, concepts=128
    )
    | dict(encoder_layers=6, heads=8, hidden=2048, steps=39_000, eval_sequences=512, strata=8, dtype="bfloat16"),
}
RATES = {"tiny": 2e-3, "small": 1e-3, "paper": 3e-4}


def rows(preset: str, seeds: int, arms: list[str]) -> tuple[concepts.Hyper, list[str]]:
    """Factorial and arms x seeds, and the name of each row's setting: "depth+elbo", "-" for none, or an arm's."""
    steps, named = PRESETS[preset]["steps"], {}
    for which in itertools.product((0, 1), repeat=len(FIXES)):
        chosen = [name for name, on in zip(FIXES, which, strict=True) if on]
        named["+".join(chosen) or "-"] = {
            dial: value for name, on in zip(FIXES, which, strict=True) for dial, value in FIXES[name][on].items()
        }
    named |= {name: ARMS[name] for name in arms}
    shares = {"reg_start": 0.0, **SOURCE}
    for name, dials in named.items():
        full = shares | dials
        named[name] = full | {dial: full[dial] * steps for dial in ("reg_start", "reg_warmup")}
    return concept_runs.rows(named, seeds, learning_rate=RATES[preset])


def main(out: pathlib.Path, preset: str, seeds: int, quiet: bool, steps: int = 0, arms: list[str] | None = None) -> int:
    """Trains, tells, draws -> exit status: 1 where a model is no better at its own task than untrained."""
    flags.prepare_jax()
    arms = list(ARMS) if arms is None else arms
    steps = steps or PRESETS[preset]["steps"]
    PRESETS[preset] |= {"steps": steps, "eval_every": steps}
    config = concepts.Config(**PRESETS[preset], schedule="cosine", warmup=min(100, steps // 10), clip=1.0)
    hypers, names = rows(preset, seeds, arms)
    result = sweep.run(concepts, [(config, hypers)], out, progress.quiet if quiet else progress.bar)
    table = tables.named(result.table, hypers, names)
    effects = tables.effects(table, tuple(FIXES))
    told = tables.report(table, effects, tuple(FIXES), arms, config, seeds)
    files.write_text(out / "concept_fixes.txt", told + "\n")
    effects.to_csv(out / "effects.csv", index=False, float_format="%.5g")
    tables.by_seed(table).to_csv(out / "concept_fixes.csv", index=False, float_format="%.5g")
    drawn = figures.factorial(table, effects, tuple(FIXES), arms, seeds)
    files.write(out / "concept_fixes.png", lambda path: drawn.savefig(path, dpi=150, format="png"))
    print(told, f"figure and tables in {out}", sep="\n")
    learnt = tables.learnt(table)
    print("" if learnt.all() else f"not learnt: {', '.join(learnt.index[~learnt])}", file=sys.stderr)
    return 0 if learnt.all() else 1


if __name__ == "__main__":
    with command.line("concept_fixes"):
        made = concept_runs.parser(__doc__, "concept_fixes", PRESETS)
        made.add_argument("--arms", nargs="*", choices=tuple(ARMS), help="arms beside the factorial [all]")
        sys.exit(main(**vars(made.parse_args())))
