"""Device metrics -> the tidy table: one line a replica, step, split, metric and bin."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gidd_jax import files, record
from gidd_jax.types import Mean


def lines(
    identities: Sequence[str],
    columns: Mapping[str, np.ndarray],
    group: str,
    steps: Sequence[int],
    per_step: int,
    split: str,
    metrics: Mapping[str, Any],
) -> pd.DataFrame:
    """Metrics of R rows at T steps, each value [T,R] or [T,R,bins] (or a Mean of such) -> a long table.

    Columns: row, group, one a Hyper field, step, presentations (step * per_step), split, metric, bin (-1 for
    a scalar), value. A Mean that gathered nothing reads as NaN.
    """
    count, rows = len(steps), len(identities)
    pieces = []
    for name, value in metrics.items():
        array = _array(value)
        bins = array.shape[2] if array.ndim == 3 else 1
        array = array.reshape(count, rows, bins)
        step, row, bin_ = (index.reshape(-1) for index in np.indices(array.shape))
        pieces.append(
            (name, step, row, bin_ if _array(value).ndim == 3 else np.full(step.shape, -1), array.reshape(-1))
        )
    if not pieces:
        return pd.DataFrame()
    name = np.repeat([p[0] for p in pieces], [len(p[1]) for p in pieces])
    step, row, bin_, value = (np.concatenate([p[k] for p in pieces]) for k in (1, 2, 3, 4))
    table = {"row": np.asarray(identities)[row], "group": np.full(len(row), group)}
    table |= {field: np.asarray(column)[row] for field, column in columns.items()}
    at = np.asarray(steps, np.int64)[step]
    table |= {"step": at, "presentations": at * per_step, "split": np.full(len(row), split), "metric": name}
    return pd.DataFrame(table | {"bin": bin_.astype(np.int16), "value": value.astype(np.float64)})


def write_part(path: pathlib.Path, tables: Sequence[pd.DataFrame]) -> None:
    """One part of the table, whole or not at all."""
    table = pd.concat(tables, ignore_index=True)
    files.write(path, lambda pending: table.to_parquet(pending, index=False))


def read_parts(directory: pathlib.Path) -> list[pd.DataFrame]:
    """All parts below ``directory``, in the order of their names."""
    return [record.part(path) for path in sorted(directory.glob("**/part-*.parquet"))]


def drop_parts(directory: pathlib.Path, kept: set[str]) -> None:
    """Removes the parts that no checkpoint stands behind, all but those named, and what a killed writer left of one."""
    for path in [*directory.glob("part-*.parquet"), *directory.glob(".part-*")]:
        if path.name not in kept:
            path.unlink()


def ordered(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The whole table in an order that does not depend on how it was cut into parts."""
    table = pd.concat(tables, ignore_index=True)
    hypers = [name for name in table.columns if name not in ("metric", "split", "value", "row")]
    order = ["group", "seed", *[h for h in hypers if h not in ("group", "seed", "step", "presentations", "bin")]]
    return table.sort_values([*order, "step", "split", "metric", "bin"], kind="stable", ignore_index=True)


def _array(value: Any) -> np.ndarray:
    if isinstance(value, Mean):
        total, weight = np.asarray(value.total), np.asarray(value.weight)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(weight > 0, total / weight, np.nan)
    return np.asarray(value)
