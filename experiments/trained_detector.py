"""Attempt 6 behind a detector that was good before the jump began: was it the bootstrap, or is it the gate?

    python -m experiments.trained_detector --out runs/trained_detector

The post explains attempt 6 by a bootstrap: the gate needs a detector, the detector a jump that learns beside it. So a
good detector, trained before and frozen, should repair it. ``six_attempts`` cannot tell: its detectors have not learned
in every seed, and 500 steps behind them do not bring the jump off chance. Here, on the same 4x4 boards and widths:

  detectors   alone (holding loss only) or beside a jump head (attempt 3's two heads, one trunk), a trunk of 24 each
  6c          a jump tower of its own, as wide, behind the hard gate of either, both blind to which cells are given
  pipeline    the same, the gate reading true labels in training and the detector in use
  open        the same tower, the same start, no gate: what the gate changes is the difference by seed
  3, 6, 6b    the attempts, in one trunk of 32, as long;  masked: the positive control

Pilots (seeds 900 to 902) found what held the detectors back: dropout, at the rate of the tiny preset. Here nothing
drops out, the rate warms up and falls by a cosine, and all rows, detectors and jumps, train so; one pilot of the jumps
(seed 900) chose their steps.

Written down before the run, all by 95 % t intervals over seeds, held-out boards, paired by seed:
  good        a detector, if its separation lies above 1/3 (what t alone gives) in every seed, and its mean within .1
              of attempt 3's or above
  learned     a jump, if its loss in training, on what it is trained on, lies below .8 ln n at the end; of one that has
              not, nothing is said
  claim       6c's jump loss is below attempt 3's (the post's explanation: supported); above (refuted); else open
  gate        6c's jump loss less open's, the same start: below 0 the gate helps, above 0 it costs
  bootstrap   6c's jump loss less 6's: what is gained by having the detector before
  expected    a gate costs: the jump behind it reads a function of the board that the open one reads whole, so at the
              optimum it can only lose; it could help by making learning easier, and that is what is asked. Behind true
              labels (6b, pipeline) the jump never meets the errors of a detector: cells are compared for it, too
"""

import argparse
import dataclasses
import datetime
import itertools
import pathlib
import shlex
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments import command, six_attempts
from gidd_jax import export, files, ledger, progress, sweep
from gidd_jax.analysis import final, intervals_by, mean_interval
from gidd_jax.commands import flags
from gidd_jax.grid import row_ids
from gidd_jax.models import two_head
from gidd_jax.plotting import HUES, STROKES
from gidd_jax.studies import sudoku
from gidd_jax.studies.sudoku_model import shape
from gidd_jax.types import Tree

RATE = 3e-3
DETECTORS = {"alone": {"jump_weight": 0.0}, "beside a jump": {}}
GATE = {"gate": 1.0, "gate_hard": 1.0}
BEHIND = {
    "alone": {"open": {}, "6c": GATE, "pipeline": GATE | {"gate_truth": 1.0}},
    "beside a jump": {"6c, detector of 3": GATE},
}
TRUNK = {"3": {}, "6": GATE, "6b": GATE | {"gate_truth": 1.0}}
NAMES = ("3", "open", "6", "6b", "6c", "6c, detector of 3", "pipeline", "masked")
PAIRS = [(name, other) for name in ("6c", "6c, detector of 3", "pipeline") for other in ("3", "open", "6")]
PAIRS += [("6", "3"), ("6b", "3")]
HOLDING = ("separation", "precision", "recall")
TOLD = ("jump_loss", "jump_accuracy", *HOLDING, "cell_accuracy@1", "puzzle_accuracy@1")
BINNED = ("jump_loss/t", "jump_accuracy/t", "separation/t")
T_ALONE, NEAR, LEARNED = 1 / 3, 0.1, 0.8


def base(steps: int, **own: Any) -> sudoku.Config:
    """The tiny preset of the attempts, without dropout, its rate warming up and falling."""
    tiny = six_attempts.PRESETS["tiny"][0]
    calm = dict(
        dropout=0.0,
        schedule="cosine",
        warmup=200,
        steps=steps,
        eval_every=steps // 8,
        log_every=steps // 40,
        decode=(1,),
    )
    return sudoku.Config(**six_attempts.COMMON | tiny | calm | own)


def hypers(attempts: dict[str, dict[str, float]], seeds: list[int]) -> tuple[Any, list[str]]:
    """The rows of every attempt under every seed, and whose each is."""
    usual, names = sudoku.Hyper._field_defaults, [name for name in attempts for _ in seeds]
    rows = [{"seed": seed, "learning_rate": RATE} | own for own in attempts.values() for seed in seeds]
    fields = {field for row in rows for field in row}
    return sweep.rows(sudoku, **{f: [row.get(f, usual[f]) for row in rows] for f in fields}), names


def behind(detector: Tree, config: sudoku.Config, seed: int) -> Tree:
    """Parameters of two towers: the detector's trunk and holding head, and a fresh jump tower, the seed's."""
    fresh = two_head.init(jax.random.key(seed), shape(config, sudoku.load(config)[0]))

    def placed(path: tuple, own: jax.Array, trained: jax.Array) -> jax.Array:
        if path[0].key in ("holding", "jump"):
            return trained if path[0].key == "holding" else own
        # The detector never saw a MASK, whose embedding its tower has and does not read.
        return own.at[(0, *map(slice, trained.shape[1:]))].set(trained[0])

    return jax.tree_util.tree_map_with_path(placed, fresh, jax.tree.map(jnp.asarray, detector))


def run(steps: int, before: int, seeds: list[int], out: pathlib.Path, bar: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Detectors, then all that stands behind them and beside -> both tables with a column ``attempt``."""
    gated = base(steps, gated=True)
    towers = dataclasses.replace(gated, trunk="towers", dial="")
    width = six_attempts.matched_width(towers, six_attempts.count(base(steps)))
    towers = dataclasses.replace(towers, d_model=width)
    alone = trained([(base(before, d_model=width), DETECTORS, seeds)], out / "detectors", bar)
    groups = [(gated, TRUNK, seeds)]
    groups += [(base(steps, noise="masked", decode_by="confidence"), {"masked": {"holding_weight": 0.0}}, seeds)]
    for kind, attempts in BEHIND.items():
        # A holding loss that counts nothing leaves the detector's tower as it is, to the bit.
        still = {name: {"holding_weight": 0.0} | own for name, own in attempts.items()}
        for seed in seeds:
            row = alone.loc[(alone["attempt"] == kind) & (alone["seed"] == seed), "row"].iloc[0]
            start = out / "starts" / f"{kind.replace(' ', '_')}-{seed}"
            detector = export.load_row(sudoku, out / "detectors", row)[3]
            export.save(start, behind(detector, towers, seed), {"model": f"detector {row}, a fresh jump tower"})
            groups.append((dataclasses.replace(towers, init_from=str(start)), still, [seed]))
    return alone, trained(groups, out / "jumps", bar)


def trained(groups: list[tuple[sudoku.Config, dict, list[int]]], out: pathlib.Path, bar: Any) -> pd.DataFrame:
    """One sweep of every group's attempts under its seeds -> its table with a column ``attempt``."""
    made = [(config, *hypers(attempts, seeds)) for config, attempts, seeds in groups]
    table = sweep.run(sudoku, [(config, rows) for config, rows, _ in made], out, bar).table
    names = {}
    for g, (_, rows, own) in enumerate(made):
        names |= {(f"g{g}", row): name for row, name in zip(row_ids(rows), own, strict=True)}
    return table.assign(attempt=[names.get(key) for key in zip(table["group"], table["row"], strict=True)])


def of(last: pd.DataFrame, attempt: str, metric: str) -> np.ndarray:
    """The final values of a metric, by seed."""
    found = last[(last["attempt"] == attempt) & (last["metric"] == metric) & (last["bin"] == -1)]
    return found.sort_values("seed")["value"].to_numpy(float)


def tell(alone: pd.DataFrame, jumps: pd.DataFrame, digits: int) -> str:
    """The table, the detectors, and what was asked."""
    last, trained, uniform = final(jumps), final(alone), np.log(digits)
    training = jumps[(jumps["split"] == "train") & (jumps["step"] == jumps["step"].max())]
    known = last[(last["attempt"] != "masked") | ~last["metric"].isin(HOLDING)]
    rows = [{"attempt": n} | {m.replace("_", " "): _cell(of(known, n, m)) for m in TOLD} for n in NAMES]
    lines = [pd.DataFrame(rows).to_string(index=False), ""]
    own = of(last, "3", "separation")
    for kind in DETECTORS:
        found = of(trained, kind, "separation")
        good = found.min() > T_ALONE and found.mean() > own.mean() - NEAR
        seen = ", ".join(f"{x:.2f}" for x in found)
        lines.append(
            f"detector {kind}: {'good' if good else 'NOT GOOD'}; separation by seed {seen}; 3: {own.mean():.2f}"
        )
    for name in NAMES:
        found = mean_interval(of(training, name, "jump_loss") / uniform)
        state = "has learned" if found.high < LEARNED else "HAS NOT LEARNED" if found.low > LEARNED else "UNDECIDED"
        lines.append(
            f"jump of {name}: {state}; training loss / ln {digits} {found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"
        )
    for (name, other), metric in itertools.product(PAIRS, ("jump_loss", "cell_accuracy@1")):
        gap = mean_interval(of(last, name, metric) - of(last, other, metric))
        what = metric.replace("_", " ")
        lines.append(f"{what}, {name} - {other}: {gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]")
    for name in ("6c", "6c, detector of 3"):
        gap = mean_interval(of(last, name, "jump_loss") - of(last, "3", "jump_loss"))
        answer = "SUPPORTED" if gap.high < 0 else "REFUTED" if gap.low > 0 else "OPEN"
        lines.append(f"claim, a detector trained before repairs the gate ({name}): {answer}")
    return "\n".join([*lines, f"mean ±half-width of the 95 % t interval over {len(own)} seeds, nats, held-out boards"])


def _cell(values: np.ndarray) -> str:
    found = mean_interval(values)
    return "-" if np.isnan(found.mean) else f"{found.mean:z.3f} ±{found.high - found.mean:.3f}"


def drawn(alone: pd.DataFrame, jumps: pd.DataFrame, digits: int) -> Figure:
    """Separation of the detectors and jump loss by step, and jump loss by t."""
    figure = Figure(figsize=(10.5, 3.6), layout="constrained")
    axes = figure.subplots(1, 3)
    looks = {name: dict(color=HUES[i % 6], ls=STROKES[i // 6], lw=1.4) for i, name in enumerate(NAMES)}
    shades = {"alone": looks["6c"], "beside a jump": looks["6c, detector of 3"]}
    last = final(jumps).assign(x=lambda rows: (rows["bin"] + 0.5) / 10)
    held, held_alone = (table[table["split"] == "validation"].assign(x=table["step"]) for table in (jumps, alone))
    panels = (
        (axes[0], held_alone, "separation", shades, "steps of the detector", "separation, validation"),
        (axes[1], held, "jump_loss", looks, "steps of the jump", "jump loss, validation (nats)"),
        (axes[2], last, "jump_loss/t", looks, "noise level t", "jump loss, test (nats)"),
    )
    for ax, rows, metric, styles, x, y in panels:
        for name, style in styles.items():
            own = rows[(rows["attempt"] == name) & (rows["metric"] == metric)]
            curve = intervals_by(own, ["x"])
            ax.plot(curve["x"], curve["mean"], label=name, **style)
            for _, seed in own.groupby("seed"):
                ax.plot(seed["x"], seed["value"], **style | dict(lw=0.5, alpha=0.35))
        ax.set(xlabel=x, ylabel=y)
        ax.spines[["top", "right"]].set_visible(False)
        level = T_ALONE if metric == "separation" else np.log(digits)
        ax.axhline(level, color="black", lw=0.8, ls=(0, (4, 2)))
    axes[1].set_ylim(top=1.2 * np.log(digits))
    axes[0].legend(frameon=False, fontsize=8)
    handles = axes[1].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=len(NAMES), frameon=False, fontsize=8)
    figure.suptitle("thin: seeds; dashed: t alone, and chance", x=0.01, ha="left", size=9)
    return figure


def main(args: argparse.Namespace) -> int:
    """Trains, tells, draws -> exit status."""
    flags.prepare_jax()
    bar = progress.quiet if args.quiet else progress.bar
    alone, jumps = run(args.steps, args.before, args.seeds, args.out, bar)
    digits = shape(base(1), sudoku.load(base(1))[0]).digits
    about = shlex.join(["python", "-m", "experiments.trained_detector", *sys.argv[1:]])
    versions = ", ".join(f"{name} {value}" for name, value in ledger.read(args.out / "jumps")["versions"].items())
    text = "\n".join([f"{about}  ({datetime.date.today().isoformat()}; {versions})", "", tell(alone, jumps, digits)])
    print(text)
    files.write_text(args.out / "trained_detector.txt", text + "\n")
    both = pd.concat([final(alone).assign(attempt=lambda t: "detector " + t["attempt"]), final(jumps)])
    both = both[both["metric"].isin([*TOLD, *BINNED])]
    kept = both[["attempt", "seed", "metric", "bin", "value"]].sort_values(["attempt", "metric", "bin", "seed"])
    files.write(args.out / "trained_detector.csv", lambda p: kept.to_csv(p, index=False, float_format="%.4g"))
    figure = drawn(alone, jumps, digits)
    files.write(args.out / "trained_detector.png", lambda p: figure.savefig(p, dpi=120, format="png"))
    return 0


if __name__ == "__main__":
    with command.line("trained_detector"):
        parser = command.parser("trained_detector", __doc__)
        parser.add_argument("--seeds", type=int, nargs="+", metavar="N", default=[0, 1, 2])
        parser.add_argument("--before", type=int, default=3000, help="steps of the detectors [%(default)s]")
        parser.add_argument("--steps", type=int, default=2000, help="steps of the jumps [%(default)s]")
        parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/trained_detector"))
        parser.add_argument("--quiet", action="store_true")
        sys.exit(main(parser.parse_args()))
