"""Figures of ``phase_diffusion``: R along sampling, entropy of the guesses, quality against calls, doses, causality."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments import phase_diffusion_tests as tests
from gidd_jax.analysis import mean_interval
from gidd_jax.studies.phase_arms import DOSES, NAMES

HUES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
METHODS = ("free", "low confidence", "random order", "ancestral", "remdm", "oracle")
USUAL = 2.0


def drawn(
    arrays: dict, by_steps: dict[int, dict], found: pd.DataFrame, real: dict[str, np.ndarray], oracle: str
) -> Figure:
    """Six panels; bands and bars are 95 % t intervals over keys. ``oracle`` says what the arms of that name read."""
    figure = Figure(figsize=(13, 7), layout="constrained")
    axes = figure.subplots(2, 3)
    _paths(
        axes[0, 0],
        arrays,
        "r_path",
        {f"K = {K:g}": (K, "free") for K in tests.couplings(arrays)} | {"untrained, K = 2": (USUAL, "untrained")},
    )
    axes[0, 0].set(ylabel="R (0 to 1)", title="order parameter along sampling")
    _paths(axes[0, 1], arrays, "entropy_path", {name: (USUAL, name) for name in METHODS})
    axes[0, 1].set(ylabel="entropy of the guess at a mask (nats)", title="what the model still does not know")
    _quality(axes[0, 2], by_steps, real)
    _doses(axes[1, 0], arrays, "nll", "samples under the judge (nats per token)")
    _doses(axes[1, 1], arrays, "distinct", "distinct bigrams of a sample (fraction)")
    _causes(axes[1, 2], found)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
        if ax.get_legend_handles_labels()[0]:
            ax.legend(fontsize=7.5, frameon=False)
    seeds, keys = len({seed for *_, seed in arrays}), found["keys"].iloc[0]
    figure.suptitle(
        f"Does R matter? {seeds} seeds, {keys} keys an arm, paired; K = {USUAL:g} where not said; oracle: {oracle}",
        fontsize=11,
    )
    return figure


def _paths(ax, arrays: dict, name: str, shown: dict[str, tuple[float, str]]) -> None:
    for colour, (label, (K, arm)) in zip(HUES, shown.items(), strict=False):
        rows = [row[name][NAMES.index(arm)] for (k, alpha, _), row in arrays.items() if k == K and alpha == 0]
        values = np.concatenate(rows, axis=1)  # [T, keys]
        found = [mean_interval(step) for step in values]
        t = 1 - np.arange(len(values)) / len(values)
        ax.plot(t, [f.mean for f in found], "o-", ms=3, color=colour, label=label)
        ax.fill_between(t, [f.low for f in found], [f.high for f in found], color=colour, alpha=0.2, lw=0)
    ax.set_xlabel("time t (1: all masked)")
    ax.invert_xaxis()


def _quality(ax, by_steps: dict[int, dict], real: dict[str, np.ndarray]) -> None:
    for colour, method in zip(HUES, METHODS, strict=True):
        means = [[each.mean() for each in tests.of_seeds(rows, USUAL, "nll", method)] for rows in by_steps.values()]
        ax.plot(list(by_steps), [np.mean(seeds) for seeds in means], "-", color=colour, label=method)
        for n, seeds in zip(by_steps, means, strict=True):
            ax.plot(np.full(len(seeds), n), seeds, "o", ms=3, color=colour)
    ax.axhline(real["nll"].mean(), color="black", ls="--", lw=1, label="real, held out")
    ax.set(
        xlabel="model calls (steps)", ylabel="samples under the judge (nats per token)", title="quality (a dot a seed)"
    )
    ax.set_xscale("log", base=2)
    ax.set_xticks(list(by_steps), [str(n) for n in by_steps])


def _doses(ax, arrays: dict, name: str, label: str) -> None:
    for colour, K in zip(HUES, tests.couplings(arrays), strict=False):
        found = [mean_interval(tests.pooled(arrays, K, name, f"{dose:g}")) for dose in DOSES]
        ax.errorbar(
            DOSES, [f.mean for f in found], _bars(found), fmt="o-", ms=3, capsize=2, color=colour, label=f"K = {K:g}"
        )
        free = mean_interval(tests.pooled(arrays, K, name, "free"))
        ax.axhline(free.mean, color=colour, ls=":", lw=1)
    ax.set(xlabel="R set to (0 to 1)", ylabel=label, title="dose and response (dotted: R free)")


def _causes(ax, found: pd.DataFrame) -> None:
    told = {"information": "", "oracle": "oracle: ", "alone": "", "certain": "best of cell: ", "positive": "oracle: "}
    rows = found[(found["outcome"] == "nll") & found["family"].isin(told)]
    names = list(dict.fromkeys(zip(rows["family"], rows["contrast"], strict=True)))
    for shift, (colour, (K, part)) in enumerate(zip(HUES, rows.groupby("K"), strict=False)):
        part = part.set_index(["family", "contrast"]).loc[names]
        y = np.arange(len(names)) + 0.2 * shift
        bars = np.abs([part["difference"] - part["low"], part["high"] - part["difference"]])
        ax.errorbar(part["difference"], y, xerr=bars, fmt="o", ms=4, capsize=2, color=colour, label=f"K = {K:g}")
    ax.axvline(0, color="0.5", lw=0.8)
    ax.axvspan(-tests.MARGIN, tests.MARGIN, color="0.9", lw=0, zorder=0)
    ax.set_yticks(np.arange(len(names)) + 0.1, [told[family] + contrast for family, contrast in names], fontsize=8)
    ax.set(xlabel="nats per token more than with R (grey: margin)", title="R's content taken away")
    ax.invert_yaxis()


def _bars(found: list) -> np.ndarray:
    return np.abs([[f.mean - f.low for f in found], [f.high - f.mean for f in found]])
