"""What guided unmasking did: the arms of a phase sweep side by side."""

import pandas as pd

from gidd_jax.analysis.derive import final
from gidd_jax.analysis.intervals import mean_interval
from gidd_jax.analysis.summary import format_summary

SHOWN = (
    *("free", "yoked", "shuffled", "neither", "matched", "untrained"),
    *("oracle", "oracle shuffled", "low confidence", "random order", "ancestral", "remdm"),
)
"""Arms of the table in a terminal; metrics.parquet has all."""

COLUMNS = {
    "arm_nll": "nats a token",
    "arm_sample_entropy": "token entropy",
    "arm_guess_entropy": "guess entropy",
    "arm_masked": "share masked",
    "arm_r": "R",
}
"""nats a token: of samples under the source; token entropy: of each sample's own tokens; guess entropy: of the model
at masks, and share masked: of the cells, both mean over steps."""


def format_guidance(table: pd.DataFrame, dial: str) -> str:
    """The summary of a sweep, and below it a line an arm and dial value: mean ± half the 95 % t interval over seeds."""
    told = format_summary(table, dial)
    last = final(table)
    parts = last["metric"].str.split("@", n=1, expand=True)
    if parts.shape[1] < 2 or not parts[0].isin(COLUMNS).any():
        return told
    last = last.assign(base=parts[0], arm=parts[1])
    blocks = []
    for value, rows in last[last["base"].isin(COLUMNS)].groupby(dial, sort=True):
        seeds = rows["seed"].nunique()
        lines = [{"arm": arm} | _cells(rows[rows["arm"] == arm]) for arm in SHOWN]
        head = f"samples from the same keys, {dial} {value:g}, {seeds} seed{'s' * (seeds > 1)}"
        blocks.append(head + "\n" + pd.DataFrame(lines).to_string(index=False))
    return "\n\n".join([told, *blocks])


def _cells(rows: pd.DataFrame) -> dict[str, str]:
    cells = {}
    for base, name in COLUMNS.items():
        values = rows[rows["base"] == base]["value"].to_numpy(float)
        if len(values):
            found = mean_interval(values)
            half = "" if len(values) < 2 else f" ±{found.high - found.mean:.3f}"
            cells[name] = f"{found.mean:.3f}{half}"
    return cells
