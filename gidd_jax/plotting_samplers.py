"""The figure of completed boards: what each sampler solves, by itself and with the truth in place of a head."""

import os
import pathlib

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gidd_jax import plotting
from gidd_jax.analysis import axis_label, describe_replicas, final, intervals_by, require_dial, sampler_of
from gidd_jax.errors import InputError

SHOWN = ("puzzle_accuracy", "cell_accuracy", "violations", "model_calls")


@mpl.rc_context(plotting.STYLE)
def samplers(table: pd.DataFrame, dial: str) -> Figure:
    """A line of dots a sampler, a colour a dial value: mean over seeds with its interval; a row of axes a group."""
    require_dial(table, dial)
    last = final(table)
    last = last.assign(sampler=last["metric"].map(sampler_of), base=last["metric"].str.partition("@")[0])
    last = last[(last["sampler"] != "") & last["base"].isin(SHOWN)]
    if last.empty:
        raise InputError("the figure of samplers has nothing to draw: none of their metrics are in the table")
    names, groups, dials = (list(dict.fromkeys(last[column])) for column in ("sampler", "group", dial))
    colours = mpl.colormaps["viridis"](np.linspace(0.02, 0.86, len(dials)))
    shifts = np.linspace(-0.3, 0.3, len(dials)) if len(dials) > 1 else [0.0]
    size = (2.6 * len(SHOWN) + 2.5, (0.3 * len(names) + 0.9) * len(groups) + 0.7)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(groups), len(SHOWN), squeeze=False, sharey=True)
    for group, axes in zip(groups, grid, strict=True):
        for base, ax in zip(SHOWN, axes, strict=True):
            rows = last[(last["group"] == group) & (last["base"] == base)]
            means = intervals_by(rows, ["sampler", dial])
            for value, colour, shift in zip(dials, colours, shifts, strict=True):
                of = means[means[dial] == value].set_index("sampler").reindex(names)
                places = np.arange(len(names)) + shift
                ax.hlines(places, of["low"], of["high"], color=colour, lw=1.2, alpha=0.5)
                ax.plot(of["mean"], places, "o", color=colour, ms=4, gid="mean")
            ax.set(xlabel=axis_label(base), yticks=range(len(names)), yticklabels=names)
            low, high = rows["value"].min(), rows["value"].max()
            ax.set_xlim(min(0, low), 1.05 * max(high, 1e-9) if base not in SHOWN[:2] else 1.05)
        axes[0].invert_yaxis()
        if len(groups) > 1:
            axes[0].set_title(str(group), loc="left", size=9, weight="bold")
    places = sorted(set(zip(last["split"], last["step"], strict=True)))
    where = " and ".join(f"{split} boards, step {step}" for split, step in places)
    caption = f"Completed boards: {where}; {describe_replicas(table, dial)}; bars: 95 % t interval over seeds"
    figure.suptitle(caption, x=0.01, ha="left", size=9)
    key = [Line2D([], [], color=colour, marker="o", ms=4) for colour in colours]
    figure.legend(key, [f"{value:g}" for value in dials], title=plotting.dial_label(dial), loc="outside right center")
    return figure


def save_all(table: pd.DataFrame, dial: str, directory: str | pathlib.Path) -> list[pathlib.Path]:
    """The figures of ``plotting.save_all``, and the one of samplers where the table has any."""
    paths = plotting.save_all(table, dial, directory)
    if table["metric"].map(sampler_of).any():
        path, unfinished = (pathlib.Path(directory) / name for name in ("samplers.png", f".samplers.{os.getpid()}.png"))
        samplers(table, dial).savefig(unfinished, dpi=plotting.DPI)
        os.replace(unfinished, path)
        paths.append(path)
    return paths
