"""What guided unmasking did: the arms of a phase sweep side by side."""

import pandas as pd

from gidd_jax.analysis.columns import blocks, column
from gidd_jax.analysis.derive import final
from gidd_jax.analysis.intervals import mean_interval
from gidd_jax.analysis.labels import metric_name, metric_unit
from gidd_jax.analysis.summary import format_summary

SHOWN = (
    *("free", "yoked", "shuffled", "neither", "matched", "untrained"),
    *("oracle", "oracle shuffled", "low confidence", "random order", "ancestral", "remdm"),
)
"""Arms of the table in a terminal; metrics.parquet has all."""

MEASURED = ("arm_nll", "arm_sample_entropy", "arm_guess_entropy", "arm_masked", "arm_r")


def format_guidance(table: pd.DataFrame, dial: str) -> str:
    """The summary of a sweep, and below it a line an arm and dial value: mean ± half the 95 % t interval over seeds."""
    told = format_summary(table, dial)
    last = final(table)
    parts = last["metric"].str.split("@", n=1, expand=True)
    if parts.shape[1] < 2 or not parts[0].isin(MEASURED).any():
        return told
    last = last.assign(base=parts[0], arm=parts[1])
    tables = []
    for value, rows in last[last["base"].isin(MEASURED)].groupby(dial, sort=True):
        seeds, arms = rows["seed"].nunique(), [arm for arm in SHOWN if arm in set(rows["arm"])]
        shown = [
            column(metric_name(base), metric_unit(base), [_cell(of[of["arm"] == arm]) for arm in arms])
            for base, of in ((base, rows[rows["base"] == base]) for base in MEASURED)
        ]
        head = f"Samples from the same keys, {dial} {value:g}, {seeds} seed{'s' * (seeds > 1)}"
        tables.append("\n".join([head, *blocks([column("arm", "", arms, str.ljust)], shown)]))
    return "\n\n".join([told, *tables])


def _cell(rows: pd.DataFrame) -> str:
    if rows.empty:
        return "-"
    found = mean_interval(rows["value"].to_numpy(float))
    return f"{found.mean:.3f}" + (f" ±{found.high - found.mean:.3f}" if len(rows) > 1 else "")
