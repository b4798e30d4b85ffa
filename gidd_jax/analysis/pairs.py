"""Pairs of replicas by the step of their parting: how committed they were, coarse and fine."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from gidd_jax.analysis.columns import blocks, column
from gidd_jax.analysis.derive import final
from gidd_jax.analysis.labels import metric_name, metric_unit
from gidd_jax.analysis.sigmoid import POINTS, bootstrap_midpoint, fit_sigmoid

SCALES = ("coarse", "fine")


class Midpoint(NamedTuple):
    """Where a sigmoid through the curve has its middle, its 95 % interval, and the share of resamples refused.

    NaN where the fit is refused; an interval is given only where fewer than one resample in twenty is refused.
    """

    step: float
    low: float
    high: float
    refused: float


def midpoint(t: ArrayLike, y: ArrayLike, idx: ArrayLike, rising: bool | None = None) -> Midpoint:
    """Of the median over seeds of y [M, T] at t [T]; resamples idx [nb, M] of seeds, the same for all curves compared.

    Resamples whose own fit is refused are counted, not dropped in silence.
    """
    found = bootstrap_midpoint(t, y, idx, rising)
    refused = float(np.isnan(found).mean())
    step = fit_sigmoid(t, np.median(np.asarray(y, float), axis=0), rising).midpoint
    if refused >= 0.05 or not np.isfinite(step):
        return Midpoint(step, np.nan, np.nan, refused)
    low, high = np.quantile(found[np.isfinite(found)], [0.025, 0.975])
    return Midpoint(step, float(low), float(high), refused)


def commitment(curve: ArrayLike, strangers: ArrayLike) -> np.ndarray:
    """1 - median d / median d of independent pairs, [T]: 0 for strangers, 1 for one and the same image."""
    return 1 - np.asarray(curve, float) / np.asarray(strangers, float)


def commitments(table: pd.DataFrame, dial: str) -> pd.DataFrame:
    """Commitment by dial, seed, kind ("coupled" or "control"), scale and bin of the parting, at the last step."""
    rows = final(table)
    rows = rows[(rows["split"] == "pairs") & rows["metric"].str.endswith("/fork")]
    by = rows.pivot_table(index=[dial, "seed", "bin"], columns="metric", values="value", observed=True)
    found = [
        pd.DataFrame({"kind": kind, "scale": scale, "value": commitment(by[name], by[f"stranger_{scale}/fork"])})
        .set_index(by.index)
        .reset_index()
        for scale in SCALES
        for kind, name in (("coupled", f"{scale}/fork"), ("control", f"control_{scale}/fork"))
    ]
    return pd.concat(found, ignore_index=True)


def format_pairs(table: pd.DataFrame, dial: str) -> str:
    """A line a value of the dial: the model, and where its pairs commit (share of the path), means over seeds."""
    last, told = final(table[table["split"] != "pairs"]), commitments(table, dial)
    by_value = list(told.groupby(dial))
    shown = [column(dial, "", [f"{value:g}" for value, _ in by_value])]
    for name in MODEL:
        of = last[last["metric"] == name].groupby(dial)["value"].mean()
        shown.append(column(metric_name(name), metric_unit(name), [f"{of[value]:.4f}" for value, _ in by_value]))
    for kind, before in (("coupled", ""), ("control", "control: ")):
        for scale in SCALES:
            places = [_place(rows, kind, scale) for _, rows in by_value]
            cells = [f"{x:.3f}" if np.isfinite(x) else "refused" for x in places]
            shown.append(column(f"{before}{scale}", "of the path", cells))
    lines = blocks([], shown)
    lines.append(
        "refused: the curve is flat, falls or is no sigmoid. control: no coupling, the same noise until they part."
    )
    return "\n".join(lines)


MODEL = ("noise_error", "encoder_accuracy")


def _place(rows: pd.DataFrame, kind: str, scale: str) -> float:
    """Midpoint of the mean curve over seeds, as a share of the path; NaN where refused."""
    curve = rows[(rows["kind"] == kind) & (rows["scale"] == scale)].groupby("bin")["value"].mean()
    if len(curve) < POINTS:
        return float("nan")
    return fit_sigmoid(np.linspace(0, 1, len(curve)), curve.to_numpy(), rising=True).midpoint
