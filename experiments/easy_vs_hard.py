"""Does coupling two heads become load-bearing on boards that need search? The factorial, with its controls.

    python -m experiments.easy_vs_hard --preset tiny --out runs/easy_vs_hard

{given cells seen, blind} x {boards solvable by singles, boards that need search} x couplings x seeds. Both tiers have
24 clues and come from one generator, so that neither the number of cells nor the generator stands for difficulty.
Settings of one seed share parameters, t and noise. Two towers, coupled by replica attention; K = 0 is two models.

Written down before any run:
  benefit      B(K) = loss(K = 0) - loss(K), nats a cell, each head, over t in [.6, 1], held-out boards of the tier
  claim        D(K) = B(search) - B(singles) > 0 at K = 1, given cells seen, for the jump head (the primary contrast)
  supported    its 95 % t interval over seeds lies above 0;  refuted: equivalence within +-.02 nats at 5 %;  else open
  predicted 0  blind: a model that does not see which cells are given cannot tell search from singles
  void         where the jump head of either tier stands within .1 nats of chance, log 9: what has not learned to use
               its own input cannot show a use of the other head, and a D of 0 says nothing
  power        the least D that these seeds would find with 80 % probability stands beside every null
Everything else is secondary, with Holm's correction over couplings and heads. BCE + CE is the exact chain rule of one
likelihood, so Bayes-optimal heads need nothing of each other: a positive D says that a finite resource pays.
"""

import argparse
import pathlib
import sys

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import t as student

from gidd_jax import files, progress, sweep
from gidd_jax.analysis import Interval, equivalence, final, holm, mean_interval, permutation_test
from gidd_jax.commands import flags
from gidd_jax.data.sudoku import load, tiers
from gidd_jax.studies import sudoku

EASY, HARD = "singles24", "search24"
HEADS = ("jump", "holding")
VISIBILITY = {"g0": "given cells seen", "g1": "blind"}
MARGIN = 0.02
LEARNED = 0.1
HIGH_T = np.array([6, 7, 8, 9])
PRESETS = {
    "tiny": (
        dict(steps=400, eval_every=400, d_model=16, layers=1, heads=2, batch=16, eval_boards=256),
        (0.0, 0.5, 1.0),
        4,
    ),
    "small": (dict(steps=5000, d_model=32, layers=2, batch=32, eval_boards=512), (0, 0.1, 0.2, 0.35, 0.5, 0.75, 1), 8),
    "paper": (dict(steps=31_250, batch=64, eval_boards=2048), (0, 0.1, 0.2, 0.35, 0.5, 0.75, 1), 16),
}
"""Name -> (settings, couplings, seeds). At `paper` 31,250 steps of 64 are 2M boards a row."""


def main(out: pathlib.Path, preset: str, seeds: int, quiet: bool) -> int:
    """Trains, asks, draws -> exit status."""
    flags.prepare_jax()
    settings, couplings, usual = PRESETS[preset]
    names = tiers(load("9x9"))[0]
    tier = [names.index(EASY), names.index(HARD)]
    hypers = sweep.grid(
        sudoku,
        seed=range(seeds or usual),
        tier=tier,
        attention=list(couplings),
        learning_rate=3e-3 if preset != "paper" else 1e-3,
    )
    common = dict(data="9x9", decode=(1, 81), decode_boards=64) | settings
    configs = [sudoku.Config(**common, given=given) for given in (True, False)]
    run = sweep.run(sudoku, [(config, hypers) for config in configs], out, progress.quiet if quiet else progress.bar)
    table = run.table.assign(tier=run.table["tier"].map(dict(zip(tier, (EASY, HARD), strict=True))))
    found = contrasts(table)
    told = [tell(table, found), verdict(table, found)]
    files.write_text(out / "easy_vs_hard.txt", "\n\n".join(told) + "\n")
    found.to_csv(out / "easy_vs_hard.csv", index=False, float_format="%.5g")
    files.write(out / "easy_vs_hard.png", lambda path: drawn(table, found).savefig(path, dpi=150, format="png"))
    print("\n\n".join(told), f"tables and figure in {out}", sep="\n")
    return 0


def losses(table: pd.DataFrame, group: str, head: str, bins: np.ndarray = HIGH_T) -> pd.DataFrame:
    """Final test loss over the bins of t, [seed] x [tier, K]: a bin weighs as its resampled cells do."""
    rows = final(table)
    rows = rows[(rows["group"] == group) & (rows["metric"] == f"{head}_loss/t") & rows["bin"].isin(bins)]
    weight = rows["bin"] + 0.5 if head == "jump" else pd.Series(1.0, rows.index)
    rows = rows.assign(total=rows["value"] * weight, weight=weight)
    sums = rows.groupby(["seed", "tier", "attention"])[["total", "weight"]].sum()
    return (sums["total"] / sums["weight"]).unstack(["tier", "attention"])


def contrasts(table: pd.DataFrame) -> pd.DataFrame:
    """Benefit by tier and difference in differences, paired by seed, for every visibility, head and coupling."""
    lines = []
    for group, seen in VISIBILITY.items():
        for head in HEADS:
            loss = losses(table, group, head)
            for K in sorted({K for _, K in loss.columns if K > 0}):
                easy, hard = (loss[tier, 0.0] - loss[tier, K] for tier in (EASY, HARD))
                d = mean_interval(hard - easy)
                same = equivalence(hard, easy, MARGIN)
                lines.append(
                    {
                        **{"visibility": seen, "head": head, "coupling": K, "seeds": len(loss)},
                        **{f"benefit_{name}": mean_interval(x).mean for name, x in (("easy", easy), ("hard", hard))},
                        **{f"{name}_half": half(mean_interval(x)) for name, x in (("easy", easy), ("hard", hard))},
                        **{"difference": d.mean, "low": d.low, "high": d.high},
                        **{
                            "p": permutation_test(hard, easy),
                            "p_equivalent": same.p,
                            "detectable": detectable(hard - easy),
                        },
                    }
                )
    found = pd.DataFrame(lines)
    return found.assign(p_holm=holm(found["p"]))


def detectable(differences: np.ndarray) -> float:
    """The least mean difference found with probability .8 by a two-sided t test at 5 % with this spread and number."""
    n = len(differences)
    return float((student.ppf(0.975, n - 1) + student.ppf(0.8, n - 1)) * np.std(differences, ddof=1) / np.sqrt(n))


def half(interval: Interval) -> float:
    return interval.high - interval.mean


def tell(table: pd.DataFrame, found: pd.DataFrame) -> str:
    """Losses without coupling, then an aligned line a contrast."""
    lines = ["loss without coupling, t in [.6, 1] (nats a cell), and cells right at k = 1 (fraction)"]
    last = final(table)
    right = last[(last["metric"] == "cell_accuracy@1") & (last["attention"] == 0)]
    for group, seen in VISIBILITY.items():
        for tier in (EASY, HARD):
            parts = [f"{head} {losses(table, group, head)[tier, 0.0].mean():.3f}" for head in HEADS]
            cells = right[(right["group"] == group) & (right["tier"] == tier)]["value"].mean()
            lines.append(f"  {seen:18}{tier:12}{'   '.join(parts)}   cells right {cells:.3f}")
    heads = ("visibility", "head", "K", "B singles", "B search", "D = search - singles", "detectable", "p Holm")
    widths = (18, 9, 6, 18, 18, 28, 12, 8)
    lines.append("".join(f"{name:>{width}}" for name, width in zip(heads, widths, strict=True)))
    for row in found.itertuples():
        cells = (row.visibility, row.head, f"{row.coupling:g}", f"{row.benefit_easy:+.3f} ±{row.easy_half:.3f}")
        cells += (
            f"{row.benefit_hard:+.3f} ±{row.hard_half:.3f}",
            f"{row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]",
        )
        cells += (f"{row.detectable:.3f}", f"{row.p_holm:.3f}")
        lines.append("".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)))
    lines.append(f"mean and 95 % t interval over {found['seeds'].iloc[0]} seeds, paired; B and D in nats a cell")
    return "\n".join(lines)


def verdict(table: pd.DataFrame, found: pd.DataFrame) -> str:
    """What was decided by the thresholds of the docstring."""
    alone = {
        seen: losses(table, group, "jump").xs(0.0, axis=1, level="attention") for group, seen in VISIBILITY.items()
    }
    strongest = found[found["coupling"] == found["coupling"].max()].set_index(["visibility", "head"])
    lines = []
    for seen, claim in (("given cells seen", "primary contrast"), ("blind", "control, predicted 0")):
        row = strongest.loc[(seen, "jump")]
        above = np.log(9) - float(alone[seen].mean().max())
        if above < LEARNED:
            word = f"void: a jump head stands {above:.3f} nats from chance, it has not learned; train longer"
        elif row["low"] > 0:
            word = "supported: coupling helps the jump head more on boards that need search"
        elif row["p_equivalent"] < 0.05:
            word = f"refuted: the difference lies within ±{MARGIN:g} nats"
        else:
            word = f"open: {row['detectable']:.3f} nats would have been found with probability .8"
        lines.append(f"{claim}, {seen}: D = {row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]; {word}")
    return "\n".join(lines)


def drawn(table: pd.DataFrame, found: pd.DataFrame) -> Figure:
    """Benefit against coupling by tier, and the difference, a column a head and a row a visibility; benefit by t."""
    figure = Figure(figsize=(11, 6), layout="constrained")
    axes = figure.subplots(2, 3)
    for line, (group, seen) in zip(axes, VISIBILITY.items(), strict=True):
        for ax, head in zip(line, HEADS, strict=False):
            rows = found[(found["visibility"] == seen) & (found["head"] == head)]
            for tier, name, colour in (("easy", "singles", "#0072B2"), ("hard", "search", "#D55E00")):
                look = dict(fmt="o-", ms=4, capsize=2, color=colour, label=f"B, {name}")
                ax.errorbar(rows["coupling"], rows[f"benefit_{tier}"], rows[f"{tier}_half"], **look)
            ax.fill_between(rows["coupling"], rows["low"], rows["high"], color="0.6", alpha=0.3, lw=0)
            ax.plot(rows["coupling"], rows["difference"], "k--", lw=1.2, label="D = search − singles")
            ax.set(xlabel="coupling K (dimensionless)", ylabel=f"{head}: benefit (nats per cell)", title=seen)
        ax = line[-1]
        for tier, colour in ((EASY, "#0072B2"), (HARD, "#D55E00")):
            curves = [losses(table, group, "jump", np.array([b])) for b in range(10)]
            strongest = max(K for _, K in curves[0].columns)
            found_by_t = [mean_interval(curve[tier, 0.0] - curve[tier, strongest]) for curve in curves]
            mean, low, high = (
                np.array([getattr(each, part) for each in found_by_t]) for part in ("mean", "low", "high")
            )
            t = np.arange(10) / 10 + 0.05
            ax.plot(t, mean, "o-", ms=3, color=colour, label=tier)
            ax.fill_between(t, low, high, color=colour, alpha=0.15, lw=0)
        ax.set(
            xlabel="noise level t (probability)",
            ylabel=f"jump: benefit at K = {strongest:g} (nats per cell)",
            title=seen,
        )
    for ax in axes.flat:
        ax.axhline(0, color="0.5", lw=0.8)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0, 0].legend(fontsize=8, frameon=False)
    axes[0, 2].legend(fontsize=8, frameon=False)
    count = found["seeds"].iloc[0]
    figure.suptitle(
        f"Does coupling pay on boards that need search? 24 clues, mean and 95 % t interval, {count} seeds", size=11
    )
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/easy_vs_hard"))
    parser.add_argument("--preset", choices=tuple(PRESETS), default="tiny")
    parser.add_argument("--seeds", type=int, default=0, help="0: as many as the preset has")
    parser.add_argument("--quiet", action="store_true")
    arguments = parser.parse_args()
    sys.exit(main(arguments.out, arguments.preset, arguments.seeds, arguments.quiet))
