"""What the drills share: a small sweep, the command as a process or in this one, and whether two ends are the same."""

import contextlib
import io
import os
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from gidd_jax import checkpoint, cli

SWEEP = "sweep kuramoto --oscillators 16 --seeds 0 1 --coupling 1 2 --burn-in 10".split()
PATIENCE = 120.0
"""Seconds anything may take before a drill gives up on it."""


class Found(NamedTuple):
    """One line of the table: how often it was tried, what was seen, and whether that is what is promised."""

    drill: str
    tries: int
    seen: str
    held: bool


class Ended(NamedTuple):
    """How the command ended: exit status and what it said on stderr, the bar left out."""

    status: int
    told: str

    @property
    def one_line(self) -> bool:
        return self.told.startswith("gidd-jax: ") and len(self.told.splitlines()) == 1


def sweep(out: pathlib.Path, steps: int, checkpoint_every: int, *more: str) -> list[str]:
    """The words of a sweep of four rows into ``out``."""
    log_every = checkpoint_every // 5
    cadence = [
        "--steps",
        steps,
        "--eval-every",
        steps,
        "--checkpoint-every",
        checkpoint_every,
        "--log-every",
        log_every,
    ]
    return [*SWEEP, *map(str, cadence), "--out", str(out), *more]


def begin(words: list[str], log: pathlib.Path, **environment: str) -> subprocess.Popen:
    """The command as a process of its own; what it says on stderr goes to ``log``."""
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "gidd_jax.cli", *words],
            stdout=subprocess.DEVNULL,
            stderr=file,
            env=os.environ | environment,
        )


def finish(words: list[str], log: pathlib.Path, **environment: str) -> Ended:
    """The command as a process, to its end."""
    return ended(begin(words, log, **environment), log)


def ended(process: subprocess.Popen, log: pathlib.Path) -> Ended:
    """Waits for a process -> how it ended."""
    status = process.wait(PATIENCE)
    return Ended(status, said(log))


def said(log: pathlib.Path) -> str:
    """What a log holds besides the bar."""
    return without_bar(log.read_text(errors="replace"))


def without_bar(text: str) -> str:
    """The lines that are not the bar's."""
    lines = (line.strip() for line in re.split(r"[\r\n]+", text))
    return "\n".join(line for line in lines if line and not re.match(r"\d+%\|", line))


def shown(log: pathlib.Path) -> tuple[int | None, int | None]:
    """(step gone on from, last step shown) of a bar, None where it never came to that."""
    text = log.read_text(errors="replace")
    first, steps = re.search(r"step (\d+)/\d+, compiling", text), re.findall(r"step (\d+)/", text)
    return (int(first[1]) if first else None), (int(steps[-1]) if steps else None)


def here(words: list[str]) -> Ended:
    """The command in this process, which has everything imported; an exception that gets out is a status of its own."""
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
        try:
            status = cli.main(words)
        except Exception as error:
            return Ended(-1, f"{type(error).__name__}: {error}")
    return Ended(status, without_bar(told.getvalue()))


def wait_until(happened: Callable[[], bool], process: subprocess.Popen) -> None:
    """Looks every millisecond until it has happened, or the process has ended, or patience has."""
    start = time.monotonic()
    while not happened() and process.poll() is None and time.monotonic() - start < PATIENCE:
        time.sleep(0.001)


def parts(out: pathlib.Path) -> list[int]:
    """Steps of the parts of the table that are on disk."""
    return sorted(int(path.stem.removeprefix("part-")) for path in out.glob("metrics/*/part-*.parquet"))


def saved(out: pathlib.Path) -> int:
    """The newest committed step, 0 where there is none."""
    return max([0, *(step for path in out.glob("checkpoints/*") for step in checkpoint.steps(path))])


def same(a: pathlib.Path, b: pathlib.Path) -> bool:
    """Whether two finished sweeps have the same bytes in their table and the same bits in their last checkpoint."""
    if not (a / "metrics.parquet").exists() or not (b / "metrics.parquet").exists():
        return False
    tables = [(path / "metrics.parquet").read_bytes() for path in (a, b)]
    states = [
        [_last(cohort) for cohort in sorted((path / "checkpoints").iterdir()) if cohort.is_dir()] for path in (a, b)
    ]
    return tables[0] == tables[1] and _bits(states[0]) == _bits(states[1])


def _last(cohort: pathlib.Path) -> dict:
    return checkpoint.restore_raw(cohort / f"{checkpoint.steps(cohort)[-1]:08d}")


def _bits(tree: object) -> list[tuple]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path), np.asarray(leaf).dtype, np.asarray(leaf).tobytes()) for path, leaf in leaves]
