"""Sweep directories as they lie on disk, made up without any training: for tests of what reads them."""

import itertools
import json
import pathlib
from typing import Any

import numpy as np
import pandas as pd

CONFIG = {"steps": 300, "data": "4x4", "d_model": 32, "decode": [4, 16], "trunk": "towers", "dial": "attention"}
SCALARS = {
    "jump_loss": 2.2,
    "jump_accuracy": 0.1,
    "holding_loss": 0.7,
    "holding_floor": 0.14,
    "separation": 0.0,
    "separation_ceiling": 0.84,
    **{f"cell_accuracy@{cells}": 0.2 for cells in (4, 16)},
    "gradient_cosine": 0.1,
}


def table(
    dials: Any = (0.0, 0.5, 1.0),
    seeds: int = 4,
    evaluations: int = 4,
    scalars: dict[str, float] = SCALARS,
    **hypers: Any,
) -> pd.DataFrame:
    """A sweep of the Sudoku study that learns: scalars and t bins at every evaluation, the last also on test."""
    noise = np.random.default_rng(0)
    names = [*((name, -1) for name in scalars), *(("jump_loss/t", bin_) for bin_ in range(10))]
    lines = []
    for (r, (dial, seed)), at in itertools.product(
        enumerate(itertools.product(dials, range(seeds))), range(evaluations)
    ):
        learnt = at / max(evaluations - 1, 1) * (0.8 + 0.1 * dial)
        splits = ("validation", "test") if at == evaluations - 1 else ("validation",)
        for split, (metric, bin_) in itertools.product(splits, names):
            start = scalars.get(metric, 2.0 + 0.02 * bin_)
            moves = not metric.endswith(("_floor", "_ceiling"))
            value = start + moves * (learnt * (-1 if "loss" in metric else 1) + 0.02 * noise.normal())
            lines.append((f"{r:012x}", seed, dial, 100 * at, split, metric, bin_, value))
        lines.append((f"{r:012x}", seed, dial, 100 * at, "train", "alive", -1, 1.0))
    made = pd.DataFrame(lines, columns=["row", "seed", "attention", "step", "split", "metric", "bin", "value"])
    return made.assign(group="g0", presentations=made["step"] * 32, **{"learning_rate": 1e-3, **hypers})


def write(
    directory: pathlib.Path, lines: pd.DataFrame, study: str = "sudoku", configs: Any = (CONFIG,), **record: Any
) -> pathlib.Path:
    """config.json, metrics.parquet, timing.jsonl (its last line cut short by a kill) of such a sweep."""
    directory.mkdir(parents=True)
    groups = [
        {"config": config, "fingerprint": "grid-0123", "cohorts": [{"name": f"g{g}-0", "hypers": {"seed": [0, 1]}}]}
        for g, config in enumerate(configs)
    ]
    versions = {"gidd_jax": "0.1.0", "jax": "0.10.2", "device": "x86_64 CPU", "devices": "1"}
    said = {"study": study, "command": ["gidd-jax", "sweep", study], "versions": versions, "groups": groups} | record
    (directory / "config.json").write_text(json.dumps(said))
    lines.to_parquet(directory / "metrics.parquet")
    events = [{"at": 1.8e9, "event": "trained", "cohort": "g0-0", "seconds": 61.5, "boards_per_second": 1234.5}]
    (directory / "timing.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events) + '{"at": 18')
    return directory


def killed(lines: pd.DataFrame, row: int, step: int) -> pd.DataFrame:
    """The table with one row dead from a step on: not alive, its other values NaN."""
    dead = (lines["row"] == f"{row:012x}") & (lines["step"] >= step)
    lines = lines.assign(value=lines["value"].mask(dead))
    return lines.assign(value=lines["value"].mask(dead & (lines["metric"] == "alive"), 0.0))
