"""Which mix of masks and uniform tokens, and when does self-correction help? One sweep, every mix a row.

    python -m experiments.noise_mix --out runs/noise_mix

Six mixes of ``log_snr(scale, shift)`` x seeds, on a Markov source whose entropy is known exactly and on real text. The
claim of arXiv 2503.04482: self-correction improves samples of models trained with p_u >= .1 and not of masked ones.
Asked here, fixed before any run: the change of -log P(sample) under the source, a token, paired by seed; "helps" where
its 95 % t interval lies below 0, "hurts" where above. Token entropy stands beside it, since a sample can be made likely
by being made dull: the right value is that of the source, not the least. The bound is told as its excess over the bound
of the best possible model on the same noised tokens. On real text the law is not known: there are bound and entropy.
"""

import math
import pathlib
import sys

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments import command
from gidd_jax import files, known, progress, sweep
from gidd_jax.analysis import Interval, final, mean_interval, paired_interval
from gidd_jax.commands import flags
from gidd_jax.studies import language
from gidd_jax.studies.text_data import source

MIXES = {
    "masked": (1.0, -1000.0),
    "p_u .1": (0.5, math.log(2 * 0.1 / 0.9)),
    "p_u .2": (0.5, math.log(2 * 0.2 / 0.8)),
    "balanced": (1.0, 0.0),
    "high-uniform": (1.0, 2.0),
    "uniform": (1.0, 1000.0),
}
"""Name -> (scale, shift); p_u, the mass of uniform tokens at t = 1/2, is scale .5 and shift ln(2 p / (1 - p))."""

MODEL = {"d_model": 32, "layers": 2, "heads": 2, "batch": 32, "schedule": "cosine", "warmup": 50, "clip": 1.0}
PROBE = {"data": "markov", "tokens": 8}
TEXT = {"data": "kjv", "tokenizer": "characters"}
SIZES = {
    "tiny": {
        **{"steps": 1000, "eval_every": 500, "log_every": 100, "length": 24},
        **{"eval_sequences": 128, "strata": 32, "samples": 64, "sample_steps": 32, "correct_steps": 32},
    },
    "full": {
        **{"steps": 20_000, "eval_every": 2000, "log_every": 200, "d_model": 256, "layers": 6, "batch": 128},
        **{
            "length": 128,
            "eval_sequences": 512,
            "strata": 64,
            "samples": 256,
            "sample_steps": 128,
            "correct_steps": 128,
        },
    },
}


def main(out: pathlib.Path, size: str, seeds: int, quiet: bool) -> int:
    """Trains, tells, draws -> exit status: 1 where a model stays further from the source than the untrained one."""
    flags.prepare_jax()
    rows = [(seed, *mix) for mix in MIXES.values() for seed in range(seeds)]
    seed, scale, shift = map(list, zip(*rows, strict=True))
    hypers = sweep.rows(language, seed=seed, scale=scale, shift=shift, learning_rate=[3e-3] * len(rows))
    configs = [language.Config(**MODEL | SIZES[size] | kind) for kind in (PROBE, TEXT)]
    groups = [(config, hypers) for config in configs]
    table = named(sweep.run(language, groups, out, progress.quiet if quiet else progress.bar).table)
    probe, prose = (table[table["group"] == group] for group in ("g0", "g1"))
    told = [f"Markov source of {PROBE['tokens']} tokens, sequences of {configs[0].length}", tell(probe)]
    told += [verdicts(probe), f"{TEXT['data']}, {TEXT['tokenizer']}, sequences of {configs[1].length}", tell(prose)]
    told.append(
        f"mean [95 % t interval] over {seeds} seeds; nats a token; entropies are those of a sample's own tokens"
    )
    told.append(f"token entropy of true sequences of the source, measured alike: {true_entropy(configs[0]):.3f}")
    text = "\n\n".join(told)
    files.write_text(out / "noise_mix.txt", text + "\n")
    files.write(out / "noise_mix.png", lambda path: drawn(probe, prose, seeds).savefig(path, dpi=150, format="png"))
    last = final(table)[["mix", "group", "seed", "step", "metric", "bin", "value"]]
    last.to_csv(out / "noise_mix.csv", index=False, float_format="%.5g")
    print(text, f"figure and tables in {out}", sep="\n")
    first = probe[(probe["step"] == 0) & (probe["metric"] == "excess")]["value"].mean()
    return 0 if all(measured(probe, "excess")[mix].mean < first for mix in MIXES) else 1


def named(table: pd.DataFrame) -> pd.DataFrame:
    """The table with each row's mix by name."""
    names = {(np.float32(scale), np.float32(shift)): name for name, (scale, shift) in MIXES.items()}
    keys = zip(table["scale"].astype(np.float32), table["shift"].astype(np.float32), strict=True)
    return table.assign(mix=[names[key] for key in keys])


def values(table: pd.DataFrame, metric: str, mix: str) -> np.ndarray:
    """The metric at the last step, by seed."""
    rows = final(table)
    rows = rows[(rows["metric"] == metric) & (rows["mix"] == mix)].sort_values("seed")
    return rows["value"].to_numpy()


def measured(table: pd.DataFrame, metric: str) -> dict[str, Interval]:
    """Mean and interval of the metric at the last step, by mix."""
    return {mix: mean_interval(values(table, metric, mix)) for mix in MIXES}


def tell(table: pd.DataFrame) -> str:
    """One aligned line a mix."""
    asked = (
        "elbo",
        "excess",
        "bits_per_character",
        "sample_nll",
        "corrected_nll",
        "sample_entropy",
        "corrected_entropy",
    )
    metrics = [metric for metric in asked if (table["metric"] == metric).any()]
    found = {metric: measured(table, metric) for metric in metrics}
    lines = [f"{'mix':14}" + "".join(f"{metric.replace('_', ' '):>25}" for metric in metrics)]
    for mix in MIXES:
        cells = [found[metric][mix] for metric in metrics]
        shown = [f"{cell.mean:.3f} [{cell.low:.3f}, {cell.high:.3f}]" for cell in cells]
        lines.append(f"{mix:14}" + "".join(f"{cell:>25}" for cell in shown))
    return "\n".join(lines)


def verdicts(table: pd.DataFrame) -> str:
    """Does self-correction help, by mix? And is the excess over the best model's bound that of the masked one?"""
    entropy = values(table, "entropy", "masked").mean()
    lines = [f"entropy of the source: {entropy:.3f} nats a token, the mean of -log P over right samples"]
    for mix in MIXES:
        change = paired_interval(values(table, "corrected_nll", mix), values(table, "sample_nll", mix))
        word = "helps" if change.high < 0 else "hurts" if change.low > 0 else "changes nothing that can be told"
        extra = paired_interval(values(table, "excess", mix), values(table, "excess", "masked"))
        lines.append(
            f"{mix:14} self-correction {word}: {change.mean:+.3f} [{change.low:+.3f}, {change.high:+.3f}] nats a token"
            f"; excess over masked {extra.mean:+.3f} [{extra.low:+.3f}, {extra.high:+.3f}]"
        )
    return "\n".join(lines)


def true_entropy(config: language.Config) -> float:
    """Mean entropy of the tokens within true sequences: what that of samples should be."""
    import jax

    from gidd_jax.sampling import sample_entropy

    drawn = known.sample(jax.random.key(1), source(config), 4096, config.length)
    return float(sample_entropy(drawn, config.tokens + 1).mean())


def drawn(probe: pd.DataFrame, prose: pd.DataFrame, seeds: int) -> Figure:
    """Excess of the bound, samples before and after, their entropy; and the bound on real text, by mix."""
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    panels = [
        (probe, ("excess",), "bound − best model's (nats per token)"),
        (probe, ("sample_nll", "corrected_nll"), "samples under the source (nats per token)"),
        (probe, ("sample_entropy", "corrected_entropy"), "token entropy of a sample (nats)"),
        (prose, ("bits_per_character",), "real text: bits per character"),
    ]
    for ax, (table, metrics, label) in zip(figure.subplots(1, 4), panels, strict=True):
        for shift, metric in enumerate(metrics):
            found = list(measured(table, metric).values())
            x = np.arange(len(MIXES)) + 0.16 * shift
            mean, low, high = (np.array([getattr(cell, part) for cell in found]) for part in ("mean", "low", "high"))
            name = "after self-correction" if shift else "sampled"
            ax.errorbar(x, mean, np.abs([mean - low, high - mean]), fmt="os"[shift], ms=4, capsize=2, label=name)
        if "sample_nll" in metrics:
            ax.axhline(values(table, "entropy", "masked").mean(), color="black", ls="--", lw=1, label="entropy")
        if len(metrics) > 1:
            ax.legend(fontsize=7.5, frameon=False)
        ax.set_xticks(range(len(MIXES)), MIXES, rotation=35, ha="right", fontsize=8)
        ax.set_ylabel(label, fontsize=8.5)
        ax.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"From masks to uniform tokens: mean and 95 % t interval over {seeds} seeds", fontsize=10)
    return figure


if __name__ == "__main__":
    with command.line("noise_mix"):
        parser = command.parser("noise_mix", __doc__)
        parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/noise_mix"))
        parser.add_argument("--size", choices=tuple(SIZES), default="tiny")
        parser.add_argument("--seeds", type=command.count, default=4, help="how many [%(default)s]")
        parser.add_argument("--quiet", action="store_true")
        arguments = parser.parse_args()
        sys.exit(main(arguments.out, arguments.size, arguments.seeds, arguments.quiet))
