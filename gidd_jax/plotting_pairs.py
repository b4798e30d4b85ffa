"""Figures of the synchronisation gap: when pairs of replicas commit, and which modes keep their difference by layer."""

import pathlib

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from gidd_jax import files
from gidd_jax.analysis import final
from gidd_jax.analysis.pairs import SCALES, commitments

DASHES = {"coupled": "-", "control": ":"}


def save_all(table: pd.DataFrame, dial: str, directory: pathlib.Path) -> list[pathlib.Path]:
    """Writes the figure -> its path."""
    path = directory / "commitment.png"
    files.write(path, lambda pending: commitment_figure(table, dial).savefig(pending, dpi=150, format="png"))
    return [path]


def commitment_figure(table: pd.DataFrame, dial: str) -> Figure:
    """Coarse and fine commitment by the step of parting, a colour a value of the dial, means over seeds; and by layer
    what fine modes of the difference kept over what coarse ones kept."""
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    *scales, layers = figure.subplots(1, 3)
    told = commitments(table, dial)
    rows = final(table)
    rows = rows[rows["metric"] == "cosine_gap/layer"]
    for i, value in enumerate(sorted(told[dial].unique())):
        for ax, scale in zip(scales, SCALES, strict=True):
            for kind, dash in DASHES.items():
                curve = told[(told[dial] == value) & (told["scale"] == scale) & (told["kind"] == kind)]
                mean = curve.groupby("bin")["value"].mean()
                label = f"{dial} = {value:g}" if kind == "coupled" else None
                ax.plot(np.linspace(0, 1, len(mean)), mean, dash, color=f"C{i}", marker="o", ms=3, label=label)
        gap = rows[rows[dial] == value].groupby("bin")["value"].mean()
        layers.plot(np.arange(1, len(gap) + 1), gap, color=f"C{i}", marker="o", ms=3)
    for ax, scale in zip(scales, SCALES, strict=True):
        ax.set(xlabel="share of the path before they part", ylabel=f"commitment, {scale}")
    scales[0].legend(frameon=False, title="dotted: control", fontsize=8)
    layers.axhline(1, color="black", lw=0.8)
    layers.set(xlabel="layer", ylabel="difference kept, fine / coarse")
    for ax in (*scales, layers):
        ax.spines[["top", "right"]].set_visible(False)
    return figure
