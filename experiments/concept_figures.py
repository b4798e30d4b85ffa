"""Figures of the concept experiments: every setting beside the untrained model, and what each fix moves."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.concept_tables import MEASURES, TESTED, measured
from gidd_jax.analysis import mean_interval

SHOWN = ("bound", "effective_rank", "effective_rank_centred", "similarity", "topic")


def factorial(
    table: pd.DataFrame, effects: pd.DataFrame, fixes: Sequence[str], arms: Sequence[str], seeds: int
) -> Figure:
    """Left: measures by setting, factorial above arms. Right: main effects, in standard deviations over settings."""
    final, first = measured(table), measured(table, 0)
    shown = [name for name in SHOWN if name in final]
    settings = [name for name in final.index.unique("setting") if name not in arms]
    figure = Figure(figsize=(3 + 2.2 * (len(shown) + 1), 8.5), layout="constrained")
    axes = figure.subplots(1, len(shown) + 1, width_ratios=[1.0] * len(shown) + [1.3])
    names = [*settings, *arms]
    for i, (ax, metric) in enumerate(zip(axes, shown, strict=False)):
        by_setting(ax, final, first, names, metric)
        ax.set_yticks(range(len(names)), names if i == 0 else [""] * len(names), fontsize=8)
        ax.axhline(len(settings) - 0.5, color="0.8", lw=0.8)
    main_effects(axes[-1], effects, fixes, final)
    figure.suptitle(
        f"Four fixes of a concept bottleneck: mean and 95 % t interval over {seeds} seeds; grey dashed: untrained",
        fontsize=10,
    )
    return figure


def by_setting(ax: Axes, final: pd.DataFrame, first: pd.DataFrame, names: Sequence[str], metric: str) -> None:
    """One measure of every setting, from the top down, with each seed; floors as vertical lines."""
    for y, name in enumerate(names):
        values = final.xs(name, level="setting")[metric]
        found = mean_interval(values)
        ax.errorbar(found.mean, y, xerr=found.mean - found.low, fmt="o", ms=4, capsize=2, color="#0072B2", lw=1)
        ax.plot(values, np.full(len(values), y), ".", ms=3, color="#56B4E9", zorder=0)
    if metric != "bound":  # an untrained model knows nothing: its bound is log V, far off the axis
        ax.axvline(first[metric].mean(), color="0.5", ls="--", lw=1)
    if f"{metric}_tf_idf" in final:
        ax.axvline(final[f"{metric}_tf_idf"].iloc[0], color="#D55E00", ls=":", lw=1)
        ax.text(final[f"{metric}_tf_idf"].iloc[0], -1.0, "TF-IDF", fontsize=7, color="#D55E00", ha="right")
    if f"{metric}_majority" in final:
        ax.axvline(final[f"{metric}_majority"].iloc[0], color="#D55E00", ls=":", lw=1)
        ax.text(final[f"{metric}_majority"].iloc[0], -1.0, "majority", fontsize=7, color="#D55E00", ha="left")
    ax.set_xlabel(MEASURES[metric], fontsize=8.5)
    ax.set_ylim(len(names) - 0.5, -1.5)
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="0.93", lw=0.6)


def main_effects(ax: Axes, effects: pd.DataFrame, fixes: Sequence[str], final: pd.DataFrame) -> None:
    """Main effects of each fix on each measure, in units of the measure's spread over the settings of the factorial."""
    metrics = [name for name in TESTED if name in final]
    colours = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
    scale = {name: final[name].groupby("setting").mean().std() or 1.0 for name in metrics}
    for k, fix in enumerate(fixes):
        rows = effects[effects["effect"] == fix].set_index("metric").loc[metrics]
        y = np.arange(len(metrics)) + 0.18 * (k - 1.5)
        unit = np.array([scale[name] for name in metrics])
        mean = rows["mean"] / unit
        bars = np.abs([mean - rows["low"] / unit, rows["high"] / unit - mean])
        ax.errorbar(mean, y, xerr=bars, fmt="os^D"[k], ms=4, capsize=2, lw=1, color=colours[k], label=fix)
    ax.axvline(0, color="black", lw=0.8)
    ax.set_yticks(range(len(metrics)), [MEASURES[name] for name in metrics], fontsize=8)
    ax.yaxis.tick_right()
    ax.set_ylim(len(metrics) - 0.5, -0.5)
    ax.set_xlabel("main effect (standard deviations over settings)", fontsize=8.5)
    ax.legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2)
    ax.spines[["top", "left"]].set_visible(False)


def decoders(table: pd.DataFrame, names: Sequence[str], seeds: int) -> Figure:
    """Measures by decoder, with the channel above and without below, and nats by share of masks."""
    final, first = measured(table), measured(table, 0)
    shown = [name for name in ("bound", "shuffled", "similarity", "rankme", "topic") if name in final]
    figure = Figure(figsize=(3 + 2.2 * (len(shown) + 1), 3.6), layout="constrained")
    axes = figure.subplots(1, len(shown) + 1, width_ratios=[1.0] * len(shown) + [1.4])
    for i, (ax, metric) in enumerate(zip(axes, shown, strict=False)):
        by_setting(ax, final, first, names, metric)
        ax.set_yticks(range(len(names)), names if i == 0 else [""] * len(names), fontsize=8)
        ax.axhline(len(names) / 2 - 0.5, color="0.8", lw=0.8)
    by_masks(axes[-1], table, [name for name in names if "diffusion" in name])
    figure.suptitle(
        f"Prefix to suffix through concepts: mean and 95 % t interval over {seeds} seeds; grey dashed: untrained",
        fontsize=10,
    )
    return figure


def by_masks(ax: Axes, table: pd.DataFrame, names: Sequence[str]) -> None:
    """Nats a masked cell against the share of masks t."""
    rows = table[(table["metric"] == "nats/t") & (table["split"] == "validation")]
    rows = rows[rows["step"] == rows["step"].max()]
    for k, name in enumerate(names):
        by_bin = rows[rows["setting"] == name].groupby("bin")["value"]
        found = [mean_interval(values) for _, values in by_bin]
        t, mean = (np.array(list(by_bin.groups)) + 0.5) / 10, np.array([each.mean for each in found])
        colour = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")[k % 4]
        ax.plot(t, mean, "-" if "no channel" not in name else "--", color=colour, label=name)
        ax.fill_between(t, [each.low for each in found], [each.high for each in found], color=colour, alpha=0.2, lw=0)
    ax.set_xlabel("share of masks t", fontsize=8.5)
    ax.set_ylabel("nats per masked token", fontsize=8.5)
    ax.yaxis.tick_right()
    ax.yaxis.set_label_position("right")
    ax.tick_params(labelsize=8)
    ax.legend(fontsize=7, frameon=False)
    ax.spines[["top", "left"]].set_visible(False)


def floor(table: pd.DataFrame, names: Sequence[str], counted: dict[str, float], seeds: int) -> Figure:
    """Human similarity and topics by step, a line and band an objective; step 0 is the untrained encoder."""
    shown = ("similarity", "similarity_centred", "topic")
    figure = Figure(figsize=(12, 4.0), layout="constrained")
    axes = figure.subplots(1, len(shown))
    steps = sorted(table.loc[table["metric"] == "similarity", "step"].unique())
    by = {step: measured(table, step) for step in steps}
    for ax, metric in zip(axes, shown, strict=True):
        for colour, name in zip(("#0072B2", "#D55E00", "#009E73", "#CC79A7"), names, strict=False):
            found = [mean_interval(by[step].xs(name, level="setting")[metric]) for step in steps]
            ax.plot(steps, [each.mean for each in found], "o-", ms=3, color=colour, label=name)
            low, high = [each.low for each in found], [each.high for each in found]
            ax.fill_between(steps, low, high, color=colour, alpha=0.2, lw=0)
        final = by[steps[-1]]
        beside = {"majority": final["topic_majority"].iloc[0]} if metric == "topic" else {}
        if metric == "similarity":
            beside = {"words": final["similarity_bag_of_words"].iloc[0], "TF-IDF": final["similarity_tf_idf"].iloc[0]}
            beside |= {"pieces": counted["counts"], "pieces, TF-IDF": counted["weighed"]}
        for name, value in beside.items():
            ax.axhline(value, color="0.5", ls=":", lw=1)
            ax.text(steps[-1], value, name, fontsize=7, color="0.3", ha="right", va="bottom")
        ax.set_xlabel("training step", fontsize=8.5)
        ax.set_ylabel(MEASURES[metric], fontsize=8.5)
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    axes[-1].legend(fontsize=7, frameon=False, loc="center right")
    figure.suptitle(f"Agreement with people by training: mean and 95 % t interval over {seeds} seeds", fontsize=10)
    return figure
