"""Figures of the synchronisation gap: when pairs of replicas commit, and which modes keep their difference by layer."""

import pathlib

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gidd_jax import files, plotting
from gidd_jax.analysis import axis_label, describe_replicas, final, intervals_by
from gidd_jax.analysis.pairs import SCALES, commitments

DASHES = {"coupled": "-", "control": ":"}


def save_all(table: pd.DataFrame, dial: str, directory: pathlib.Path) -> list[pathlib.Path]:
    """Writes the figure -> its path."""
    path = directory / "commitment.png"
    drawn = commitment_figure(table, dial)
    files.write(path, lambda pending: drawn.savefig(pending, dpi=plotting.DPI, format="png"))
    return [path]


@mpl.rc_context(plotting.STYLE)
def commitment_figure(table: pd.DataFrame, dial: str) -> Figure:
    """Coarse and fine commitment by the step of parting, a colour a value of the dial, mean and interval over seeds;
    and by layer what fine cosine modes of the difference kept over what coarse ones kept."""
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    *scales, layers = figure.subplots(1, 3)
    told, last = commitments(table, dial), final(table)
    kept = last[last["metric"] == "cosine_gap/layer"]
    told = told.assign(share=told["bin"] / max(told["bin"].max(), 1))
    kept = kept.assign(layer=kept["bin"] + 1)
    for value, colour in zip(sorted(told[dial].unique()), plotting.HUES, strict=False):
        for ax, scale in zip(scales, SCALES, strict=True):
            for kind, dash in DASHES.items():
                curve = told[(told[dial] == value) & (told["scale"] == scale) & (told["kind"] == kind)]
                label = f"{dial} = {value:g}" if kind == "coupled" else None
                _line(ax, curve, "share", color=colour, ls=dash, label=label)
        _line(layers, kept[kept[dial] == value], "layer", color=colour)
    for ax, scale in zip(scales, SCALES, strict=True):
        plotting.limit_bands(ax)
        ax.set(xlabel="share of the path before they part", ylabel=f"{scale} commitment (0: strangers, 1: one image)")
    layers.axhline(1, color="black", lw=0.8, zorder=1)
    layers.set(xlabel="layer", ylabel=axis_label("cosine_gap"))
    layers.xaxis.set_major_locator(MaxNLocator(integer=True))
    plotting.limit_bands(layers)
    seeds = last["seed"].nunique()
    band = "bands: 95 % t interval over seeds" if seeds > 1 else "no interval drawn"
    caption = f"{describe_replicas(table, dial)}; lines: mean, dotted: control (no coupling, the same noise); {band}"
    figure.suptitle(f"When pairs commit: {dial}\n{caption}", x=0.01, ha="left", size=9)
    figure.legend(*scales[0].get_legend_handles_labels(), loc="outside right center")
    return figure


def _line(ax: Axes, rows: pd.DataFrame, x: str, color: str, **look) -> None:
    curve = intervals_by(rows, [x])
    ax.fill_between(curve[x], curve["low"], curve["high"], color=color, alpha=0.16, lw=0)
    ax.plot(curve[x], curve["mean"], color=color, marker="o", ms=3, **look)
