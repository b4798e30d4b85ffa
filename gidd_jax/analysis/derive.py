"""Derived rows: what follows from the metrics table without training anything again."""

import numpy as np
import pandas as pd

from gidd_jax.errors import InputError

MEASURED = ("row", "group", "step", "presentations", "split", "metric", "bin", "value")

_BENEFITS = {
    "jump_loss": "benefit_jump",
    "holding_loss": "benefit_holding",
    "jump_loss/t": "benefit_jump/t",
    "holding_loss/t": "benefit_holding/t",
}
_LOSSES = ("loss", "jump_loss", "holding_loss")
_EXCESSES = {"holding_loss": "holding_floor", "holding_loss/t": "holding_floor/t"}


def settings(table: pd.DataFrame) -> list[str]:
    """The hyper columns of the table: everything that is neither identity nor measurement, `seed` included."""
    return [column for column in table.columns if column not in MEASURED]


def swept(table: pd.DataFrame) -> list[str]:
    """The hypers other than the seed that take more than one value."""
    return [name for name in settings(table) if name != "seed" and table[name].nunique(dropna=False) > 1]


def regroup(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Make each combination of these hypers a group of its own, so that they are compared and not averaged over."""
    name = table["group"].astype(str)
    for column in columns:
        name = name + f", {column} " + table[column].map("{:g}".format)
    return table.assign(group=name)


def benefit(table: pd.DataFrame, dial: str) -> pd.DataFrame:
    """What coupling buys each head: B(K) = loss(K=0) - loss(K), nats; above 0 the coupling helps.

    Rows `benefit_jump` and `benefit_holding`, also by t bin. The partner at K=0 has the same group, seed, other hypers,
    step, split and bin, and was uncoupled throughout (no ramp from elsewhere); a row without one is left out. At K=0
    the benefit is exactly 0.
    """
    require_dial(table, dial)
    losses = table[table["metric"].isin(list(_BENEFITS))]
    same = ["group", *(name for name in settings(table) if name != dial), "step", "split", "metric", "bin"]
    ramps = [name for name in ("ramp_from", "ramp_steps") if name in losses]
    never = losses[dial] == 0
    if ramps:
        never &= (losses[ramps] == 0).any(axis=1)
    same = [name for name in same if name not in (*ramps, "ramp_after")]
    uncoupled = losses.loc[never, [*same, "value"]].drop_duplicates(same)
    pairs = losses.merge(uncoupled, on=same, suffixes=("", "_uncoupled"), validate="many_to_one")
    gains = pairs.assign(value=pairs["value_uncoupled"] - pairs["value"], metric=pairs["metric"].map(_BENEFITS))
    return gains[table.columns]


def holding_excess(table: pd.DataFrame) -> pd.DataFrame:
    """Rows `holding_excess`: holding loss minus the oracle's floor over all boards and times, nats, also by t bin."""
    losses = table[table["metric"].isin(list(_EXCESSES))]
    floors = table[table["metric"].isin(list(_EXCESSES.values()))]
    same = ["group", "row", "step", "split", "bin"]
    pairs = losses.merge(floors[[*same, "value"]], on=same, suffixes=("", "_floor"), validate="many_to_one")
    renamed = pairs["metric"].str.replace("holding_loss", "holding_excess")
    return pairs.assign(value=pairs["value"] - pairs["value_floor"], metric=renamed)[table.columns]


def with_derived(table: pd.DataFrame, dial: str) -> pd.DataFrame:
    """The table with its benefits and its holding excess appended; derived rows it already held are made afresh."""
    measured = table[~table["metric"].str.contains("^(?:benefit|holding_excess)")]
    return pd.concat([measured, benefit(measured, dial), holding_excess(measured)], ignore_index=True)


def final(table: pd.DataFrame) -> pd.DataFrame:
    """The last evaluation of every metric of every group: on test if measured there, else validation, else train.

    The last step is the group's, not the row's: a dead replica keeps its NaN there and never lends an earlier value.
    """
    rows = _on_split(table, ("test", "validation", "train"))
    return rows[rows["step"] == rows.groupby(["group", "metric"], observed=True)["step"].transform("max")]


def untrained(table: pd.DataFrame) -> pd.DataFrame:
    """Every metric at step 0, before any update: the floor that training has to leave behind."""
    return _on_split(table[table["step"] == 0], ("validation", "test", "train"))


def failures(table: pd.DataFrame) -> pd.DataFrame:
    """The replicas that were ever not alive, or whose last loss is not finite: group, row, and by which step."""
    last = final(table)
    stopped = table[(table["metric"] == "alive") & (table["value"] < 1)]
    diverged = last[last["metric"].isin(_LOSSES) & ~np.isfinite(last["value"])]
    both = pd.concat([stopped, diverged])
    return both.groupby(["group", "row"], observed=True, as_index=False)["step"].min()


def require_dial(table: pd.DataFrame, dial: str) -> None:
    """Refuse a dial that the table does not have."""
    if dial not in settings(table):
        known = ", ".join(settings(table))
        raise InputError(f"the table has no dial named {dial!r}; choose the dial from: {known}")


def _on_split(table: pd.DataFrame, preference: tuple[str, ...]) -> pd.DataFrame:
    rank = table["split"].map({split: place for place, split in enumerate(preference)}).astype(float).fillna(-1)
    best = rank.groupby([table["group"], table["metric"]], observed=True).transform("min")
    return table[rank == best]
