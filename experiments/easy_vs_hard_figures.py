"""The factorial drawn: benefit and D against coupling, benefit by t, knock-outs and wrong branches beside controls."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.easy_vs_hard_contrasts import HEADS, OWN, TIERS, losses, visible
from gidd_jax.analysis import axis_label, mean_interval

HUES = {"easy": "#0072B2", "hard": "#D55E00"}
MODELS, MARKS = ("#009E73", "#CC79A7", "#000000"), ("^", "o", "s", "D")


def drawn(table: pd.DataFrame, found: pd.DataFrame, ordered: pd.DataFrame, levels: pd.DataFrame, boards: str) -> Figure:
    """A row of panels a visibility."""
    seen_by = visible(table)
    figure = Figure(figsize=(19, 0.4 + 3.2 * len(seen_by)), layout="constrained")
    axes = figure.subplots(len(seen_by), 6, squeeze=False)
    for line, (group, seen) in zip(axes, seen_by.items(), strict=True):
        for ax, head in zip(line, HEADS, strict=False):
            _benefit(ax, found[(found["visibility"] == seen) & (found["head"] == head) & (found["test"] == OWN)])
            ax.set_ylabel(f"{head}: benefit\n(nats per cell)")
        _by_t(line[2], table, group)
        here = ordered[ordered["visibility"] == seen]
        _order(line[3], here[(here["measure"] == "knock-out, jump") & (here["tier"] == here["test"])])
        line[3].set_ylabel("jump loss added\n(nats)")
        _order(line[4], here[(here["measure"] == "AUROC of holding") & (here["test"] == TIERS[1])])
        _auroc_by_t(line[5], levels[(levels["visibility"] == seen) & (levels["test"] == TIERS[1])])
        for i, ax in enumerate(line):
            ax.set_title(seen, size=10)
            if i not in (2, 5):
                ax.set_xlabel("coupling K (dimensionless)")
            if i > 3:
                ax.set_ylim(0.3, 1.02)
            ax.axhline(0.5 if i > 3 else 0, color="0.5", lw=0.8)
            ax.spines[["top", "right"]].set_visible(False)
        line[4].set_ylabel("AUROC on hard boards\n(probability)")
    for i, place in ((0, "upper left"), (2, "upper right"), (3, "upper left"), (4, "lower left"), (5, "lower left")):
        if i < 4:
            axes[0, i].margins(y=0.3)
        axes[0, i].legend(fontsize=7.5, frameon=False, loc=place)
    seeds = found["seeds"].iloc[0]
    figure.suptitle(f"Does coupling pay on hard boards? {boards}; mean and 95 % t interval, {seeds} seeds", size=11)
    return figure


def _benefit(ax: Axes, rows: pd.DataFrame) -> None:
    for tier, hue in HUES.items():
        look = dict(fmt="o-", ms=4, capsize=2, color=hue, label=f"B, {tier}")
        ax.errorbar(rows["coupling"], rows[f"benefit_{tier}"], rows[f"{tier}_half"], **look)
    ax.fill_between(rows["coupling"], rows["low"], rows["high"], color="0.6", alpha=0.3, lw=0)
    off = (rows["difference"] - rows["low"], rows["high"] - rows["difference"])
    ax.errorbar(rows["coupling"], rows["difference"], off, fmt="kd--", ms=3, lw=1.2, capsize=2, label="D = hard − easy")
    ax.set_xlim(-0.05, 1.05)


def _by_t(ax: Axes, table: pd.DataFrame, group: str) -> None:
    curves = [losses(table, group, "jump", np.array([b])) for b in range(10)]
    strongest = max(K for *_, K in curves[0].columns)
    for tier in TIERS:
        each = [mean_interval(curve[tier, tier, 0.0] - curve[tier, tier, strongest]) for curve in curves]
        mean, low, high = (np.array([getattr(found, part) for found in each]) for part in ("mean", "low", "high"))
        ax.plot(t := np.arange(10) / 10 + 0.05, mean, "o-", ms=3, color=HUES[tier], label=tier)
        ax.fill_between(t, low, high, color=HUES[tier], alpha=0.15, lw=0)
    ax.set(xlabel="noise level t (probability)", ylabel=f"jump: benefit at K = {strongest:g}\n(nats per cell)")


def _order(ax: Axes, rows: pd.DataFrame) -> None:
    """A measure in full lines, its control in broken ones."""
    control = "random change" if rows["measure"].str.startswith("knock").all() else "random cells wrong"
    measure = "path zeroed" if control == "random change" else "wrong branch"
    for tier in TIERS:
        own = rows[rows["tier"] == tier]
        look = dict(ms=4, capsize=2, color=HUES[tier])
        ax.errorbar(own["coupling"], own["value"], own["value_half"], fmt="o-", **look)
        ax.errorbar(own["coupling"], own["control"], own["control_half"], fmt="s:", **look)
    for label, marks in ((measure, "o-"), (control, "s:")):
        ax.plot([], [], marks, ms=4, color="0.3", label=label)


def _auroc_by_t(ax: Axes, levels: pd.DataFrame) -> None:
    """At the strongest coupling; a wrong branch in full lines, random cells in broken ones."""
    strongest = levels["coupling"].max()
    for metric, stroke, label in (("auroc_branch/t", "o-", "wrong branch"), ("auroc_random/t", "s:", "random cells")):
        rows = levels[(levels["metric"] == metric) & (levels["coupling"] == strongest)]
        for tier in TIERS:
            own = rows[rows["tier"] == tier]
            t = own["bin"] / 10 + 0.05
            ax.plot(t, own["mean"], stroke, ms=3, color=HUES[tier])
            ax.fill_between(t, own["low"], own["high"], color=HUES[tier], alpha=0.12, lw=0)
        ax.plot([], [], stroke, ms=3, color="0.3", label=label)
    ax.set(xlabel="noise level t (probability)", ylabel=f"AUROC on hard boards\nat K = {strongest:g} (probability)")


def against_calls(found: pd.DataFrame, boards: str) -> Figure:
    """Boards solved and cells right against model calls, a column a tier: models by hue, samplers by mark."""
    figure = Figure(figsize=(10, 6.5), layout="constrained")
    axes = figure.subplots(2, len(TIERS), sharex=True, sharey="row")
    models, samplers = (list(dict.fromkeys(found[name])) for name in ("model", "sampler"))
    for line, (measure, label) in zip(axes, (("solved", "boards solved"), ("cells", "cells right")), strict=True):
        for ax, tier in zip(line, TIERS, strict=True):
            own = found[(found["tier"] == tier) & (found["measure"] == measure)]
            for (model, sampler), rows in own.groupby(["model", "sampler"]):
                mark = MARKS[samplers.index(sampler)]
                # Side by side where they make the same number of calls.
                at = rows["calls"] * 1.035 ** (3 * models.index(model) + samplers.index(sampler) - 5)
                low, high = rows["low"].clip(0, 1), rows["high"].clip(0, 1)
                look = dict(fmt=f"{mark}-", ms=5, capsize=2, lw=1, color=MODELS[models.index(model)])
                ax.errorbar(at, rows["mean"], [rows["mean"] - low, high - rows["mean"]], **look)
            ticks = sorted(own["calls"].round().unique())
            ax.set(title=tier, xscale="log", xlabel="model calls (per board)", ylabel=f"{label} (fraction)")
            ax.set_xticks(ticks, [f"{calls:g}" for calls in ticks])
            ax.set_xticks([], minor=True)
            ax.spines[["top", "right"]].set_visible(False)
    handles = [Line2D([], [], color=MODELS[i], label=model) for i, model in enumerate(models)]
    handles += [Line2D([], [], color="0.3", marker=MARKS[i], ls="", label=each) for i, each in enumerate(samplers)]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8, frameon=False)
    seeds = found["n"].max()
    figure.suptitle(f"Uniform against masked noise. {boards}; mean and 95 % t interval, {seeds} seeds", size=9)
    return figure


def by_volume(curves: dict[str, dict[str, pd.DataFrame]], chance: dict[str, float], boards: str) -> Figure:
    """What takes off against boards seen, a column of panels a set of boards: seeds thin, their means thick."""
    figure = Figure(figsize=(5 * len(curves), 3 * len(chance)), layout="constrained")
    axes = figure.subplots(len(chance), len(curves), sharex=True, sharey="row", squeeze=False)
    for column, (name, measured) in zip(axes.T, curves.items(), strict=True):
        for ax, (measure, found) in zip(column, measured.items(), strict=True):
            found = found.loc[:, found.columns > 0]  # the axis is logarithmic
            for (K, rows), colour in zip(found.groupby(level="attention"), MODELS, strict=False):
                ax.plot(found.columns, rows.T, color=colour, lw=0.6, alpha=0.5)
                ax.plot(found.columns, rows.mean(), color=colour, lw=1.8, label=f"K = {K:g}")
            ax.axhline(chance[measure], color="0.5", lw=0.8, ls="--", label="chance")
            ax.set(xscale="log", ylabel=axis_label(measure))
            ax.spines[["top", "right"]].set_visible(False)
        column[0].set_title(f"trained on {name}", size=10)
        column[-1].set_xlabel("presentations (boards)")
    axes[0, 0].legend(fontsize=8, frameon=False)
    seeds = len(next(iter(curves.values()))["jump_loss"].loc[0.0])
    figure.suptitle(f"When do the heads take off? {boards}; thin: {seeds} seeds, thick: their mean", size=9)
    return figure


def by_skill(curves: pd.DataFrame, levels: tuple[float, ...], boards: str) -> Figure:
    """AUROC on wrong branches against that on random wrong cells, along training: a line a seed, a panel a tier."""
    trained = [tier for tier in TIERS if tier in curves.index.get_level_values("tier")]
    first = curves.index.get_level_values("seed").min()
    figure = Figure(figsize=(max(6, 4.6 * len(trained)), 4), layout="constrained")
    axes = figure.subplots(1, len(trained), sharex=True, sharey=True, squeeze=False)[0]
    for ax, tier in zip(axes, trained, strict=True):
        for (K, seed), own in curves.loc[tier].groupby(level=["attention", "seed"]):
            colour, label = MODELS[int(K > 0)], f"K = {K:g}" if seed == first else None
            ax.plot(
                own["auroc_random"], own["auroc_branch"], "o-", ms=2.5, lw=0.7, alpha=0.6, color=colour, label=label
            )
        for level in levels:
            ax.axvline(level, color="0.7", lw=0.8, ls=":")
        ax.axhline(0.5, color="0.5", lw=0.8, ls="--")
        ax.set(title=f"trained on {tier} boards", xlabel="AUROC, random cells wrong (probability)")
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("AUROC, wrong branch (probability)")
    axes[0].legend(frameon=False, fontsize=8)
    seeds = curves.index.get_level_values("seed").nunique()
    told = f"Detectors as they learn, asked on hard boards: {seeds} seeds a K, a dot an evaluation"
    figure.suptitle(f"{told}\n{boards}", size=9)
    return figure


def by_setting(curves: dict[str, dict[str, pd.DataFrame]], levels: dict[str, tuple[str, float]], boards: str) -> Figure:
    """Measures of settings against boards seen, a panel a measure with its level: seeds thin, their mean thick.

    ``curves[measure][setting]`` are [seed] x [boards].
    """
    figure = Figure(figsize=(4.4 * len(curves), 4.2), layout="constrained")
    axes = figure.subplots(1, len(curves), squeeze=False)[0]
    for ax, (measure, settings) in zip(axes, curves.items(), strict=True):
        for (name, rows), colour in zip(settings.items(), MODELS, strict=True):
            rows = rows.loc[:, rows.columns > 0]  # the axis is logarithmic
            ax.plot(rows.columns, rows.T, color=colour, lw=0.6, alpha=0.5)
            ax.plot(rows.columns, rows.mean(), color=colour, lw=1.8, label=name)
        word, level = levels[measure]
        ax.axhline(level, color="0.5", lw=0.8, ls="--", label=word)
        ax.set(xscale="log", xlabel="presentations (boards)", ylabel=axis_label(measure))
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(fontsize=8, frameon=False)
    figure.suptitle(f"Held-out boards along training; thin: {len(rows)} seeds, thick: their mean\n{boards}", size=9)
    return figure


def by_width(found: pd.DataFrame) -> Figure:
    """Knock-out of the jump against coupling, a panel a board, a line a width; a transition would sharpen with it."""
    rows = found[found["measure"] == "knock-out, jump"]
    rows = rows.assign(board=rows["arm"].str.split().str[0], width=rows["arm"].str.split().str[-1].astype(int))
    boards, widths = list(dict.fromkeys(rows["board"])), sorted(rows["width"].unique())
    figure = Figure(figsize=(4.2 * len(boards), 3.6), layout="constrained")
    axes = figure.subplots(1, len(boards), squeeze=False)[0]
    for ax, board in zip(axes, boards, strict=True):
        for colour, width in zip(MODELS, widths, strict=False):
            own = rows[(rows["board"] == board) & (rows["width"] == width)]
            ax.plot(own["coupling"], own["mean"], "o-", ms=4, color=colour, label=f"width {width}")
            ax.fill_between(own["coupling"], own["low"], own["high"], color=colour, alpha=0.15, lw=0)
        ax.set(title=board, xlabel="coupling K", ylabel="jump loss added, path zeroed (nats)")
        ax.axhline(0, color="black", lw=0.8)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=8)
    figure.suptitle(f"Use of the cross path by width; mean and 95 % t interval, {rows['n'].max()} seeds", size=9)
    return figure
