"""Three figures of the six attempts: learning curves, skill by noise level, boards solved by cells a pass."""

import pathlib

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from experiments import six_attempts_report as report
from experiments import six_attempts_verdicts as verdicts
from gidd_jax import files
from gidd_jax.analysis import axis_label, final, intervals_by, metric_unit
from gidd_jax.plotting import HUES, STROKES, STYLE

EPOCH = 500_000
SHOWN = ("1", "2", "3", "4b", "5", "6", "6c", "6d", "pipeline", "masked")
LOOKS = {name: (HUES[i % 6], STROKES[i // 6]) for i, name in enumerate(SHOWN)}
FLOORS = {
    "holding_loss": {"holding_floor": "black"},
    "divergence_excess": {"divergence_floor": "black", "divergence_from_t": "0.45", "divergence_at_half": "0.7"},
    "separation": {"separation_ceiling": "black"},
}
LABELS = {"divergence_excess": "Itakura-Saito of 1, 1e-6 − floor (nats)"}
NAMES = {"divergence_from_t": "head that knows t alone", "divergence_at_half": "head that says 1/2"}


def save_all(runs: pd.DataFrame, directory: pathlib.Path, published: bool) -> list[pathlib.Path]:
    """Writes the figures; the posts' points are drawn where the boards are theirs."""
    paths = []
    with mpl.rc_context(STYLE):
        for draw in (curves, by_t, k_pass):
            figure, path = draw(runs, published), directory / f"{draw.__name__}.png"
            files.write(path, lambda pending, figure=figure: figure.savefig(pending, dpi=100))
            paths.append(path)
    return paths


def curves(runs: pd.DataFrame, published: bool) -> Figure:
    """Training losses as the posts print them, with dropout, and separation on held-out boards."""
    figure, axes = _canvas(3, "Learning curves; mean and 95 % t interval over seeds")
    batch = runs["presentations"].max() / runs["step"].max()
    panels = {"jump_loss": "train", "holding_loss": "train", "separation": "validation"}
    for ax, (metric, split) in zip(axes, panels.items(), strict=True):
        rows = runs[(runs["split"] == split) & (runs["metric"] == metric)]
        rows = rows[rows["step"] >= rows["jump_from"]]  # without what the detectors of 6c and pipeline train alone
        rows = rows.assign(boards=rows["presentations"] - rows["jump_from"] * batch)
        # A training curve is read at twenty points: an epoch of the posts each.
        width = rows["boards"].max() / 20 if split == "train" else 1
        _lines(ax, rows.assign(x=(rows["boards"] / width).apply(lambda b: -(-b // 1)) * width), metric)
        key = metric.partition("_")[0]
        for name in ("1", "2", "3", "6") if published else ():
            if (values := verdicts.PUBLISHED[name].get(key)) and not (key == "holding" and name in report.HOLDING):
                at = [EPOCH * epoch for epoch in verdicts.EPOCHS[-len(values) :]]
                ax.plot(at, values, "D", color=LOOKS[name][0], mfc="none", ms=5)
        ax.set(xlabel="boards seen (6c, pipeline: by the jump)", ylabel=f"{axis_label(metric)}, {split}")
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
        means = [y for line in ax.lines for y in line.get_ydata()]
        ax.set_ylim(min(means) - 0.05, max(means) + 0.05)
    return figure


def by_t(runs: pd.DataFrame, published: bool) -> Figure:
    """Both heads at the end by t bin, beside what an oracle reaches."""
    last = final(runs)
    metrics = ("jump_loss", "jump_accuracy", "holding_loss", "divergence_excess", "separation")
    figure, axes = _canvas(len(metrics), "Skill by noise level, held-out boards: means over seeds; black: oracle")
    for ax, metric in zip(axes, metrics, strict=True):
        rows = last[last["metric"] == f"{metric}/t"]
        _lines(ax, rows.assign(x=(rows["bin"] + 0.5) / 10), metric, band=False)
        # Under masked noise the floors are others, and trivial: these are attempt 3's.
        levels = last[last["attempt"] == "3"].groupby(["metric", "bin"])["value"].mean()
        for floor, colour in FLOORS.get(metric, {}).items():
            level = levels[f"{floor}/t"] - (levels["divergence_floor/t"] if metric == "divergence_excess" else 0)
            ax.plot((level.index + 0.5) / 10, level, color=colour, ls=(0, (4, 2)), lw=1.1, label=NAMES.get(floor))
        if metric == "divergence_excess":
            ax.legend(fontsize=7, loc="upper right")
        ax.set(xlabel="noise level t", ylabel=LABELS.get(metric) or axis_label(metric), xlim=(0, 1))
    return figure


def k_pass(runs: pd.DataFrame, published: bool) -> Figure:
    """What completed boards are worth, by attempt and cells committed a pass."""
    last = final(runs)
    last = last[~last["attempt"].isin(verdicts.UNTRAINED_JUMP)]
    names = list(dict.fromkeys(last["attempt"]))
    order = sorted(names, key=lambda name: (not name[0].isdigit(), name))
    place = {name: len(order) - 1 - i for i, name in enumerate(order)}
    figure = Figure(figsize=(9.5, 4.6), layout="constrained")
    figure.suptitle(
        "Boards completed, by cells committed a pass; points: seeds, bars: mean", x=0.01, ha="left", size=10
    )
    axes = figure.subplots(1, 3, sharey=True)
    for ax, (base, label) in zip(axes, verdicts.WORTH.items(), strict=True):
        rows = last[last["metric"].str.startswith(f"{base}@")]
        rows = rows.assign(k=rows["metric"].str.partition("@")[2].astype(int))
        ks = sorted(rows["k"].unique())
        for i, k in enumerate(ks):
            mine = rows[rows["k"] == k]
            y = mine["attempt"].map(place) + 0.22 * (1 - i)
            ax.plot(mine["value"], y, ".", color=HUES[i], ms=5, mew=0, alpha=0.45)
            means = mine.groupby("attempt")["value"].mean()
            ax.plot(means, means.index.map(place) + 0.22 * (1 - i), "|", color=HUES[i], ms=9, mew=2)
            for name, numbers in verdicts.PUBLISHED.items() if published else ():
                if values := numbers.get(label):
                    ax.plot(values[i], place[name] + 0.22 * (1 - i), "D", color=HUES[i], mfc="none", ms=5)
        ax.set(xlabel=f"{label} ({metric_unit(base)})", yticks=list(place.values()), yticklabels=list(place))
    marks = [Line2D([], [], color=HUES[i], marker="|", ls="", mew=2, ms=9) for i in range(len(ks))]
    figure.legend(marks, [f"k = {k}" for k in ks], loc="outside lower center", ncols=4)
    return figure


def _canvas(panels: int, title: str) -> tuple[Figure, list[Axes]]:
    columns = min(panels, 3)
    rows = -(-panels // columns)
    figure = Figure(figsize=(9.5, 2.7 * rows + 0.8), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", size=10)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    handles = [Line2D([], [], color=colour, ls=stroke) for colour, stroke in LOOKS.values()]
    for unused in grid[panels:]:
        unused.remove()
    figure.legend(handles, list(LOOKS), loc="outside lower center", ncols=len(LOOKS))
    return figure, grid[:panels]


def _lines(ax: Axes, rows: pd.DataFrame, metric: str, band: bool = True) -> None:
    for name, (colour, stroke) in LOOKS.items():
        untrained = metric.startswith(("holding", "divergence", "separation")) and name in verdicts.UNTRAINED_HOLDING
        mine = rows[rows["attempt"] == name].groupby(["seed", "x"], as_index=False)["value"].mean()
        # Attempt 2 says 1 everywhere: its cross-entropy has no bound.
        if untrained or mine.empty or (name, metric) == ("2", "holding_loss"):
            continue
        curve = intervals_by(mine, ["x"])
        if band:
            ax.fill_between(curve["x"], curve["low"], curve["high"], color=colour, alpha=0.1, lw=0).set_in_layout(False)
        ax.plot(curve["x"], curve["mean"], color=colour, ls=stroke, lw=1.3)
