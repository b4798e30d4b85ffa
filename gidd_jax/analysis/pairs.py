"""Pairs of replicas by the step of their parting: how committed they were, coarse and fine."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from gidd_jax.analysis.derive import final
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


def midpoint(t: ArrayLike, y: ArrayLike, idx: ArrayLike) -> Midpoint:
    """Of the median over seeds of y [M, T] at t [T]; resamples idx [nb, M] of seeds, the same for all curves compared.

    Resamples whose own fit is refused are counted, not dropped in silence.
    """
    found = bootstrap_midpoint(t, y, idx)
    refused = float(np.isnan(found).mean())
    step = fit_sigmoid(t, np.median(np.asarray(y, float), axis=0)).midpoint
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
    lines = [
        f"{dial:>10}{'noise error':>13}{'encoder right':>15}{'coarse':>9}{'fine':>9}{'control: coarse':>17}{'fine':>9}"
    ]
    for value, rows in told.groupby(dial):
        of_model = [last[(last[dial] == value) & (last["metric"] == name)]["value"].mean() for name in MODEL]
        places = [_place(rows, kind, scale) for kind in ("coupled", "control") for scale in SCALES]
        cells = [f"{x:.3f}" if np.isfinite(x) else "refused" for x in places]
        lines.append(
            f"{value:10g}{of_model[0]:13.4f}{of_model[1]:15.3f}{cells[0]:>9}{cells[1]:>9}{cells[2]:>17}{cells[3]:>9}"
        )
    lines.append("refused: the curve is flat or no sigmoid. control: no coupling, the same noise until they part.")
    return "\n".join(lines)


MODEL = ("noise_error", "encoder_accuracy")


def _place(rows: pd.DataFrame, kind: str, scale: str) -> float:
    """Midpoint of the mean curve over seeds, as a share of the path; NaN where refused."""
    curve = rows[(rows["kind"] == kind) & (rows["scale"] == scale)].groupby("bin")["value"].mean()
    if len(curve) < POINTS:
        return float("nan")
    return fit_sigmoid(np.linspace(0, 1, len(curve)), curve.to_numpy()).midpoint
