"""Figures: tables in, matplotlib figures out; nothing is drawn that the table does not hold."""

import os
import pathlib
import textwrap

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FixedLocator, MaxNLocator, StrMethodFormatter

from gidd_jax.analysis import (
    among,
    axis_label,
    describe_replicas,
    final,
    intervals_by,
    presented,
    references,
    require_dial,
    sampler_of,
    untrained,
    with_derived,
)
from gidd_jax.errors import InputError

STYLE = {
    "font.size": 8.5,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.title_fontsize": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    # No common factor above the axis: a panel's legend stands there.
    "axes.formatter.limits": (-9, 9),
    "axes.formatter.useoffset": False,
    "grid.color": "0.92",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
}
DPI = 150
MOST_LEGEND_LINES = 8
LABEL_WIDTH = 36
"""Letters of a label beside an axis of 2.5 inches."""
FLAT = 1e-9
# Okabe and Ito's colours, told apart under every common colour blindness.
HUES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9") * 100
STROKES = ("-", "--", ":", "-.") * 100
REFERENCES = {"untrained": ("0.5", "before training"), "oracle": ("black", "reference: oracle, floor or control")}
LEARNT = (
    *("jump_loss", "jump_accuracy", "holding_loss", "elbo", "sample_nll", "corrected_nll"),
    *("bound", "rankme", "pearson", "spearman", "similarity", "topic"),
)
BY_T = ("jump_accuracy/t", "holding_loss/t", "separation/t", "elbo/t", "nats/t")
# How well it does, then what the coupling does: ten panels fill two rows.
PANELS = (
    *(("elbo",), ("bits_per_character",), ("excess",)),
    *(("sample_nll", "corrected_nll"), ("sample_entropy", "corrected_entropy")),
    *(("jump_loss",), ("jump_accuracy",), ("holding_loss",), ("cell_accuracy",), ("puzzle_accuracy",)),
    ("benefit_jump", "benefit_holding"),
    ("knockout_zero_jump", "knockout_zero_holding"),
    ("knockout_shuffle_jump", "knockout_shuffle_holding"),
    *(("gradient_cosine",), ("tower_cka",)),
    *(("bound",), ("zeroed", "shuffled"), ("effective_rank", "effective_rank_centred"), ("rankme",)),
    *(("pearson",), ("spearman",), ("error",), ("similarity",), ("topic",), ("retrieval",)),
)
SHARED_LABELS = {
    "sample_nll": "samples under the source (nats per token)",
    "sample_entropy": "token entropy of a sample (nats)",
    "zeroed": "knock-outs of the concepts (nats per token)",
    "effective_rank": "effective rank (concepts)",
    "benefit": "benefit of coupling (nats per cell)",
    "knockout_zero": "knock-out zero (nats per cell)",
    "knockout_shuffle": "knock-out shuffle (nats per cell)",
}


@mpl.rc_context(STYLE)
def learning_curves(table: pd.DataFrame, dial: str) -> Figure:
    """Losses, accuracy or sample quality against what was seen: a line a dial value, a row of axes a group."""
    rows = table[table["split"] == "validation"]
    metrics = among(rows, LEARNT)
    figure, grid = _canvas(rows, dial, "Learning curves", f"validation {presented(table)}", metrics)
    for ax in _lines_by_dial(figure, grid, rows, untrained(rows), dial, metrics, "presentations"):
        ax.set_xlabel(f"{presented(table)} seen")
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
        ax.xaxis.set_major_locator(MaxNLocator(5))
    return figure


@mpl.rc_context(STYLE)
def by_t(table: pd.DataFrame, dial: str) -> Figure:
    """Jump accuracy, holding loss and separation by noise level at the last step, beside what an oracle can reach."""
    last = final(table)
    metrics = among(last, BY_T)
    figure, grid = _canvas(last, dial, "Skill by noise level", _where(last, metrics), metrics)
    for ax in _lines_by_dial(figure, grid, last, untrained(table), dial, metrics, "t"):
        ax.set(xlabel="noise level t (probability)", xlim=(0, 1))
    return figure


@mpl.rc_context(STYLE)
def against_coupling(table: pd.DataFrame, dial: str) -> Figure:
    """Every headline metric at the last step against the dial: mean, interval, each seed, and the untrained model."""
    last, floor = final(with_derived(table, dial)), untrained(table)
    scalars = last[last["bin"] == -1]
    scalars = scalars[scalars["metric"].map(sampler_of) == ""]  # they have a figure of their own
    panels = [metrics for metrics in (among(scalars, panel) for panel in PANELS) if metrics]
    shown = [metric for metrics in panels for metric in metrics]
    figure, grid = _canvas(scalars, dial, "Skill and coupling", _where(last, shown), shown, len(panels))
    groups = list(scalars["group"].unique())
    for metrics, ax in zip(panels, grid.flat, strict=False):
        for place, metric in enumerate(metrics):
            # One group: colour tells the metrics apart. Several: colour is the group, in every panel alike.
            alone = len(metrics) == 1 or len(groups) > 1
            # The benefit's floor is zero, drawn below; at step 0 it only compares initialisations.
            if not metric.startswith("benefit"):
                _reference_by_dial(ax, floor, metric, dial, "untrained")
            for beside in references(metric, set(scalars["metric"]))[:1]:
                _reference_by_dial(ax, scalars, beside, dial, "oracle", {} if alone else {"color": HUES[place]})
            for group in groups:
                hue, stroke = place, groups.index(group)
                hue, stroke = (hue, stroke) if len(groups) == 1 else (stroke, hue)
                rows = scalars[(scalars["metric"] == metric) & (scalars["group"] == group)]
                ax.plot(rows[dial], rows["value"], ".", color=HUES[hue], ms=4.5, mew=0, alpha=0.35, gid="seed")
                _line(ax, intervals_by(rows, [dial]), dial, color=HUES[hue], ls=STROKES[stroke], marker="o", ms=3.5)
        if metrics[0].startswith("benefit"):
            ax.axhline(0, color="0.3", lw=0.9, zorder=1.5, gid="zero")
        if len(metrics) > 1:
            looks = [(HUES[i], "-") if len(groups) == 1 else ("0.3", STROKES[i]) for i in range(len(metrics))]
            handles = [Line2D([], [], color=colour, ls=stroke) for colour, stroke in looks]
            _panel_legend(ax, handles, _short(metrics))
        ax.set(xlabel=dial_label(dial), ylabel=_folded(_panel_label(metrics)))
        _frame(ax, scalars[dial].to_numpy(float))
    marks = [(Line2D([], [], color=HUES[i], marker="o", ms=3.5), name) for i, name in enumerate(groups)]
    seed = (Line2D([], [], color="0.4", marker=".", ms=5, mew=0, alpha=0.7, ls=""), "one seed")
    _guide(figure, [*(marks if len(groups) > 1 else []), seed])
    return figure


def save_all(table: pd.DataFrame, dial: str, directory: str | pathlib.Path) -> list[pathlib.Path]:
    """Write the figures as PNG, by noise level where that was measured, each whole or not at all."""
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    paths, leveled = [], among(final(table), BY_T)
    for draw in (learning_curves, against_coupling, by_t) if leveled else (learning_curves, against_coupling):
        path = directory / f"{draw.__name__}.png"
        unfinished = directory / f".{draw.__name__}.{os.getpid()}.png"
        draw(table, dial).savefig(unfinished, dpi=DPI)
        os.replace(unfinished, path)
        paths.append(path)
    return paths


def dial_label(dial: str) -> str:
    """The dial as an axis or a legend names it; every dial is a pure number but the learning rate."""
    return f"{dial.replace('_', ' ')} ({'per step' if dial == 'learning_rate' else 'dimensionless'})"


def _canvas(
    drawn: pd.DataFrame, dial: str, title: str, place: str, metrics: list[str], panels: int | None = None
) -> tuple[Figure, np.ndarray]:
    """A grid of axes below a title and a caption line, both flush left in a header that no axes may enter."""
    require_dial(drawn, dial)
    if not metrics:
        raise InputError(f"the figure {title!r} has nothing to draw: none of its metrics are in the table")
    columns = len(metrics) if panels is None else panels if panels < 5 else -(-panels // 2)
    rows = drawn["group"].nunique() if panels is None else -(-panels // columns)
    bands = drawn["seed"].nunique() > 1 and (panels is not None or drawn[dial].nunique() <= MOST_LEGEND_LINES)
    interval = "lines: mean, bands: 95 % t interval over seeds" if bands else "lines: mean, no interval drawn"
    width = max(2.5 * columns if panels else 2.9 * columns + 1, 5.5)
    caption = textwrap.wrap(f"{place}; {describe_replicas(drawn, dial)}; {interval}", int(width * 15))
    header = 0.36 + 0.17 * len(caption)
    height = 2.5 * rows + header + 0.5
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06, rect=(0, 0, 1, 1 - header / height))
    left, top = 0.1 / width, 1 - 0.1 / height
    figure.text(left, top, f"{title}: {dial.replace('_', ' ')}", size=11, weight="bold", va="top")
    figure.text(left, top - 0.24 / height, "\n".join(caption), color="0.35", va="top", gid="caption")
    grid = figure.subplots(rows, columns, squeeze=False)
    for unused in grid.flat[grid.size if panels is None else panels :]:
        unused.remove()
    return figure, grid


def _lines_by_dial(
    figure: Figure, grid: np.ndarray, rows: pd.DataFrame, floor: pd.DataFrame, dial: str, metrics: list[str], x: str
) -> list[Axes]:
    """Fill the grid: an axes a group and metric, a line a dial value against x, the floors and ceilings, the key."""
    colours = _dial_colours(rows[dial])
    groups = list(rows["group"].unique())
    for group, axes in zip(groups, grid, strict=True):
        members, untaught = rows[rows["group"] == group], floor[floor["group"] == group]
        for metric, ax in zip(metrics, axes, strict=True):
            _reference(ax, untaught, metric, "untrained")
            _reference(ax, members, metric, "oracle")
            points = _with_t(members[members["metric"] == metric])
            for value, curve in intervals_by(points, [dial, x]).groupby(dial):
                crowded = len(colours) > MOST_LEGEND_LINES
                marker = "" if crowded or len(curve) > 12 else "o"
                _line(ax, curve, x, not crowded, color=colours[value], marker=marker, ms=3)
            limit_bands(ax)
            ax.set_ylabel(_folded(axis_label(metric)))
        if len(groups) > 1:
            axes[0].set_title(str(group), loc="left", size=9, weight="bold")
    _dial_key(figure, grid, dial, colours)
    _guide(figure, [])
    return list(grid.flat)


def _line(ax: Axes, curve: pd.DataFrame, x: str, band: bool = True, **look) -> None:
    if band:
        ax.fill_between(curve[x], curve["low"], curve["high"], color=look["color"], alpha=0.16, lw=0)
    ax.plot(curve[x], curve["mean"], gid="mean", mec="white", mew=0.5, **look)


def _reference(ax: Axes, rows: pd.DataFrame, metric: str, kind: str) -> None:
    """What the metric is before training, or at best: a dashed level, or a dashed curve against t."""
    if kind == "oracle":
        metric = next(iter(references(metric, set(rows["metric"]))), "")
    levels = _with_t(rows[rows["metric"] == metric]).groupby("t")["value"].mean().dropna()
    look = {"color": REFERENCES[kind][0], "ls": (0, (4, 2)), "lw": 1.1, "zorder": 1.8, "gid": kind}
    if len(levels) and metric.endswith("/t"):
        ax.plot(levels.index, levels, **look)
    elif len(levels):
        ax.axhline(levels.iloc[0], **look)


def _reference_by_dial(
    ax: Axes, rows: pd.DataFrame, metric: str, dial: str, kind: str, own: dict | None = None
) -> None:
    """The metric at each value of the dial, dashed: couplings act before they are trained, and controls on them."""
    levels = rows[rows["metric"] == metric].groupby(dial)["value"].mean().dropna()
    look = {"color": REFERENCES[kind][0], "ls": (0, (4, 2)), "lw": 1.1, "zorder": 1.8, "gid": kind} | (own or {})
    if len(levels) > 1:
        ax.plot(levels.index, levels, **look)
    elif len(levels):
        ax.axhline(levels.iloc[0], **look)


def _with_t(rows: pd.DataFrame) -> pd.DataFrame:
    """The middle of each row's t bin, of width .1."""
    return rows.assign(t=(rows["bin"] + 0.5) / 10)


def _dial_colours(values: pd.Series) -> dict[float, tuple]:
    known = np.unique(values.dropna())
    shades = mpl.colormaps["viridis"](np.linspace(0.02, 0.86, len(known)))
    return {float(value): tuple(shade) for value, shade in zip(known, shades, strict=True)}


def _dial_key(figure: Figure, grid: np.ndarray, dial: str, colours: dict[float, tuple]) -> None:
    """Which colour is which dial value: a legend for a few, a colour bar with thinned ticks for many."""
    values = list(colours)
    title = dial_label(dial).replace(" (", "\n(")
    if len(values) <= MOST_LEGEND_LINES:
        handles = [Line2D([], [], color=colours[value]) for value in values]
        figure.legend(handles, [f"{value:g}" for value in values], title=title, loc="outside right center")
        return
    norm = BoundaryNorm(np.arange(len(values) + 1) - 0.5, len(values))
    bar = figure.colorbar(ScalarMappable(norm, ListedColormap(list(colours.values()))), ax=list(grid.flat), pad=0.02)
    ticks = np.unique(np.linspace(0, len(values) - 1, MOST_LEGEND_LINES).round().astype(int))
    bar.set_ticks(ticks, labels=[f"{values[i]:.3g}" for i in ticks])
    bar.minorticks_off()
    bar.set_label(title.replace("\n", " "))


def _guide(figure: Figure, marks: list[tuple[Line2D, str]]) -> None:
    """The legend below the axes: the given marks, then the dashed references that were drawn."""
    drawn = {line.get_gid() for ax in figure.axes for line in ax.lines}
    dashes = [
        (Line2D([], [], color=colour, ls=(0, (4, 2)), lw=1.1), name)
        for kind, (colour, name) in REFERENCES.items()
        if kind in drawn
    ]
    if marks or dashes:
        figure.legend(*zip(*marks, *dashes, strict=True), loc="outside lower center", ncols=5)


def _panel_label(metrics: list[str]) -> str:
    if len(metrics) == 1:
        return axis_label(metrics[0])
    shared = SHARED_LABELS.get(metrics[0]) or SHARED_LABELS.get(metrics[0].rpartition("_")[0])
    return shared or axis_label(metrics[0].partition("@")[0])


def _folded(label: str) -> str:
    return label if len(label) <= LABEL_WIDTH else "\n(".join(label.rsplit(" (", 1))


def _short(metrics: list[str]) -> list[str]:
    """How a panel that holds several metrics tells them apart: by what they do not share."""
    if "@" in metrics[0]:
        return [f"{metric.partition('@')[2]} a pass" for metric in metrics]
    ends = [metric.rpartition("_") for metric in metrics]
    return [start if len({end for *_, end in ends}) == 1 else end for start, _, end in ends]


def _panel_legend(ax: Axes, handles: list[Line2D], names: list[str]) -> None:
    """A legend above the axes, in the room of a title: it can hide no data and shifts no neighbour."""
    ax.set_title("\n" * ((len(names) - 1) // 3) + " ")
    look = {"fontsize": 7.5, "handlelength": 1.4, "columnspacing": 0.8, "handletextpad": 0.4, "borderaxespad": 0.1}
    ax.legend(handles, names, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, **look).set_in_layout(False)


def _frame(ax: Axes, values: np.ndarray) -> None:
    """The dial's axis: logarithmic (linear from zero to its smallest value) where it spans more than a factor of 30."""
    values, sizes = np.unique(values), np.abs(values[values != 0])
    low, high = values.min(), values.max()
    if len(sizes) and sizes.max() > 30 * sizes.min():
        ax.set_xscale("symlog", linthresh=sizes.min())
        beyond = {-1: 1.5 * low, 0: -sizes.min() / 3, 1: low / 1.5}
        ax.set_xlim(beyond[int(np.sign(low))], high * 1.5 if high > 0 else sizes.min() / 3)
        if low < 0:
            ax.xaxis.set_major_locator(FixedLocator(values))
            ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    elif low < high:
        ax.set_xlim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    else:
        ax.set_xticks([low])
    limit_bands(ax)


def limit_bands(ax: Axes) -> None:
    """Keep a wild interval (two seeds: 12.7 standard errors) from flattening the lines: cut it off outside the axes."""
    drawn = np.concatenate([np.asarray(line.get_ydata(), float) for line in ax.lines] or [np.array([])])
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) and np.ptp(drawn) < FLAT:
        room = 0.05 * max(1, abs(drawn[0]))
        ax.set_ylim(drawn[0] - room, drawn[0] + room)
    elif len(drawn):
        bottom, top = ax.get_ylim()
        slack = 0.5 * np.ptp(drawn)
        ax.set_ylim(max(bottom, drawn.min() - slack), min(top, drawn.max() + slack))


def _where(last: pd.DataFrame, metrics: list[str]) -> str:
    """The boards and the step of the evaluation that is drawn."""
    rows = last[last["metric"].isin(metrics)]
    steps = sorted(rows["step"].unique())
    return f"{' and '.join(sorted(rows['split'].unique()))} {presented(last)}, step {' and '.join(map(str, steps))}"
