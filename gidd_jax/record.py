"""Reading what a sweep left: its record and its table, without JAX."""

import json
import pathlib
from typing import Any

import pandas as pd

from gidd_jax.errors import InputError


def read(directory: pathlib.Path) -> dict[str, Any]:
    """config.json of a sweep; raises InputError where there is none or it cannot be read."""
    path = directory / "config.json"
    try:
        record = json.loads(path.read_text())
        wanted = {"config", "fingerprint", "cohorts"}
        if not {"study", "groups"} <= record.keys() or not all(wanted <= group.keys() for group in record["groups"]):
            raise ValueError("not written by gidd-jax")
        return record
    except FileNotFoundError:
        raise InputError(f"{directory}: no sweep here (no config.json)") from None
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error


def table(directory: pathlib.Path) -> pd.DataFrame:
    """metrics.parquet of a sweep; raises InputError where there is none."""
    path = directory / "metrics.parquet"
    if not path.exists():
        raise InputError(f"{directory}: no finished sweep here (no metrics.parquet)")
    return part(path)


def part(path: pathlib.Path) -> pd.DataFrame:
    """One table; raises InputError where the file is not whole."""
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise InputError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error
