"""Which replicas a sweep holds: a Hyper whose fields are columns of length R, checked before anything compiles."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gidd_jax.config import dials, row_identity
from gidd_jax.errors import InputError

Number = int | float | np.number


def grid(study: Any, **columns: Number | Sequence[Number] | np.ndarray) -> Any:
    """The cartesian product of the given columns, the last one fastest; fields not named keep their default.

    ``grid(sudoku, seed=range(4), attention=[0, 0.5, 1])`` is a Hyper of 12 rows (each field a numpy array [12]).
    Raises InputError on an unknown field, an empty column, NaN, a value out of its legal range, a repeated row.

    >>> from gidd_jax.studies import sudoku
    >>> hypers = sweep.grid(sudoku, seed=range(2), attention=[0, 0.5, 1])
    >>> len(hypers.seed), hypers.attention.tolist()
    (6, [0.0, 0.5, 1.0, 0.0, 0.5, 1.0])
    """
    names = _known(study, columns)
    lists = [list(_column(study, name, columns[name])) for name in names]
    return rows(study, **dict(zip(names, map(list, zip(*itertools.product(*lists), strict=True)), strict=True)))


def rows(study: Any, **columns: Sequence[Number] | np.ndarray) -> Any:
    """Explicit rows: columns of one length, row i made of the i-th value of each. Raises InputError as ``grid``."""
    names = _known(study, columns)
    values = {name: _column(study, name, columns[name]) for name in names}
    lengths = {name: len(column) for name, column in values.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise InputError(f"columns of different length: {listed}; give one value a row in each")
    count = next(iter(lengths.values()), 1)
    fields = {}
    for name, (kind, _) in dials(study.Hyper).items():
        default = study.Hyper._field_defaults[name]
        column = values.get(name, [default] * count)
        fields[name] = np.asarray(column, np.int32 if kind is int else np.float32)
    hypers = study.Hyper(**fields)
    identities = row_ids(hypers)
    if len(set(identities)) < count:
        twice = next(i for i, name in enumerate(identities) if name in identities[:i])
        raise InputError(f"row {twice + 1} of the grid repeats an earlier one: {describe(hypers, twice)}")
    return hypers


def row_ids(hypers: Any) -> list[str]:
    """The identity of each row: the hash of the Hyper values that are not the default.

    A row keeps its identity when a later version adds fields.
    """
    columns = {name: np.asarray(column) for name, column in hypers._asdict().items()}
    usual = {name: columns[name].dtype.type(default) for name, default in type(hypers)._field_defaults.items()}
    rows = range(len(hypers[0]))
    return [row_identity({k: c[r].item() for k, c in columns.items() if c[r] != usual[k]}) for r in rows]


def take(hypers: Any, index: Sequence[int]) -> Any:
    """The rows at ``index``, in that order."""
    return type(hypers)(*(np.asarray(column)[list(index)] for column in hypers))


def describe(hypers: Any, row: int) -> str:
    """One row for people: the values that differ from the defaults, and the seed."""
    defaults = type(hypers)._field_defaults
    values = {name: column[row].item() for name, column in hypers._asdict().items()}
    shown = {k: v for k, v in values.items() if k == "seed" or not math.isclose(v, defaults[k], rel_tol=1e-6)}
    return " ".join(f"{name}={value:.6g}" for name, value in shown.items())


def _known(study: Any, columns: dict[str, Any]) -> list[str]:
    for name in columns:
        if name not in study.Hyper._fields:
            raise InputError(f"{study.name} has no Hyper field {name!r}; it has {', '.join(study.Hyper._fields)}")
    return list(columns)


def _column(study: Any, name: str, values: Any) -> list[Number]:
    kind, dial = dials(study.Hyper)[name]
    column = [values] if isinstance(values, (int, float, np.generic)) else list(values)
    if not column:
        raise InputError(f"{name}: an empty column makes an empty grid; give at least one value")
    for value in column:
        whole = isinstance(value, int)  # Of any length; a float holds no more than 1e308.
        if not whole and not (isinstance(value, (float, np.number)) and math.isfinite(value)):
            raise InputError(f"{name}={value}: not a finite number")
        if kind is int and int(value) != value:
            raise InputError(f"{name}={value}: must be a whole number")
        if not dial.low <= value <= dial.high:
            raise InputError(f"{name}={value}: outside its range [{dial.low:g}, {dial.high:g}] {dial.unit}".rstrip())
    return column
