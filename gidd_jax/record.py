"""Reading what a sweep left: its record and its table, without JAX."""

import json
import pathlib
import re
from typing import Any

import pandas as pd

from gidd_jax.errors import InputError

ONCE = {"boards": "presentations"}
"""Columns of the tables of earlier checkouts, and what they are called now."""


def read(directory: pathlib.Path) -> dict[str, Any]:
    """config.json of a sweep; raises InputError where there is none, or it is not as this package writes it."""
    path = directory / "config.json"
    try:
        record = json.loads(path.read_text())
        if fault := _fault(record):
            raise ValueError(f"not written by gidd-jax: {fault}")
        return record
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{directory}: no sweep here (no config.json)") from None
    except KeyError as error:
        raise InputError(f"{path}: cannot be read (not written by gidd-jax: it has no {error})") from error
    except RecursionError:
        raise InputError(f"{path}: cannot be read (nested too deeply)") from None
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{path}: cannot be read ({type(error).__name__}: {str(error).splitlines()[0]})") from error


def table(directory: pathlib.Path) -> pd.DataFrame:
    """metrics.parquet of a sweep; raises InputError where there is none."""
    path = directory / "metrics.parquet"
    if not path.exists():
        raise InputError(f"{directory}: no finished sweep here (no metrics.parquet)")
    return part(path)


def part(path: pathlib.Path) -> pd.DataFrame:
    """One table; raises InputError where the file is not whole. Columns that had other names once have today's."""
    try:
        return pd.read_parquet(path).rename(columns=ONCE)
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise InputError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error


def _fault(record: dict[str, Any]) -> str:
    """What in a record was not written by this package, "" where all was; raises where it is not even of its form.

    A cohort's name is a folder's: one that were a path would lead out of the directory.
    """
    if not isinstance(record["study"], str) or not isinstance(record.get("versions", {}), dict):
        return "study or versions is of another kind"
    for group in record["groups"]:
        if not isinstance(group["fingerprint"], str) or not isinstance(group["config"], dict):
            return "a group's fingerprint or config is of another kind"
        for cohort in group["cohorts"]:
            if not re.fullmatch(r"g\d+-\d+", cohort["name"], re.ASCII):
                return f"no cohort is called {cohort['name']!r}"
            columns = cohort["hypers"].values()
            if not all(isinstance(c, list) and all(isinstance(v, int | float) for v in c) for c in columns):
                return f"cohort {cohort['name']} has no rows of numbers"
            if not isinstance(cohort.get("host", 0), int):
                return f"cohort {cohort['name']} has no host"
    return ""
