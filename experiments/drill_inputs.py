"""What changes beneath a sweep: the clock, the data file, and a row whose numbers overflow."""

import itertools
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np

from experiments.drill_kills import EVERY
from experiments.drill_tools import Found, begin, ended, finish, here, parts, same, sweep, wait_until
from gidd_jax import record
from gidd_jax.data import sudoku

YEAR = 365 * 86400
CLOCKS = (3650, -3650, -18000, 0)
"""Days the clock is shifted by, one start after the other; the third is before 1980."""
SUDOKU = (
    "sweep sudoku --steps 60 --log-every 10 --eval-every 60 --checkpoint-every 20 --d-model 8 --heads 2 --layers 1 "
    "--batch 4 --eval-boards 8 --decode-boards 4 --decode 8 --quiet"
).split()


def clocks(folder: pathlib.Path, rng: np.random.Generator) -> Found:
    """Starts under clocks years apart, all files stamped at random between them; what is done depends on no time."""
    out, plain, log = folder / "clocks", folder / "clocks-plain", folder / "log"
    words, library = (lambda path: sweep(path, 20 * EVERY, EVERY)), clock_library(folder)
    statuses = []
    for days in CLOCKS:
        before = parts(out)
        process = begin(words(out), log, **shifted(library, days))
        wait_until(lambda before=before: parts(out) > before, process)
        process.send_signal(signal.SIGINT)
        statuses.append(ended(process, log).status)
        for path in out.rglob("*"):
            stamp = time.time() + rng.uniform(-50, 10) * YEAR
            os.utime(path, (stamp, stamp))
    ends = [finish(words(path), log).status for path in (out, plain)]
    equal = ends == [0, 0] and same(out, plain)
    how = f"clock {', '.join(map(str, CLOCKS))} days off" if library else "clock as it is (no C compiler here)"
    seen = f"{how}; files stamped -50 to +10 years; the end {'equal' if equal else 'DIFFERS'}"
    return Found("clock set forth and back", len(CLOCKS), seen, statuses == [130] * len(CLOCKS) and equal)


def overflow(folder: pathlib.Path) -> Found:
    """Rows whose weights grow a hundredfold a step until they overflow; the others must not notice."""
    both, alone = folder / "overflow", folder / "healthy"
    words = [*SUDOKU, "--data", "4x4", "--seeds", "0", "1", "--weight-decay", "10", "--learning-rate", "0.001"]
    done = [here([*words, "10", "--out", str(both)]), here([*words, "--out", str(alone)])]
    found, healthy = record.table(both), record.table(alone)
    dead = found[found["learning_rate"] > 1]
    died = dead[dead["metric"] == "alive"].groupby("row")["value"].min().eq(0)
    kept = found[found["learning_rate"] < 1].reset_index(drop=True)
    equal = kept.equals(healthy)
    after = dead[(dead["step"] == 60) & (dead["metric"] == "jump_loss")]["value"]
    neighbours = "equal to the bit" if equal else "DIFFER"
    seen = f"{died.sum()} of 2 rows died, later metrics NaN; the two beside them {neighbours}"
    held = [each.status for each in done] == [0, 0] and died.sum() == 2 and after.isna().all() and equal
    return Found("a replica that overflows", 2, seen, bool(held))


def data_changes(folder: pathlib.Path) -> Found:
    """The file of boards changed between starts: in one cell, by a row, cut short, gone; or touched only."""
    path, out = folder / "boards.csv", folder / "data"
    boards = sudoku.load("4x4", limit=200)
    rows = [[sudoku.format(board) for board in pair] for pair in zip(boards.question, boards.answer, strict=True)]
    text = "\n".join(["question,answer", *map(",".join, rows)]) + "\n"
    clue = next(i for i in itertools.count(len("question,answer\n")) if text[i] in "1234")
    words = [*SUDOKU, "--data", str(path), "--out", str(out)]
    path.write_text(text)
    right = [here(words).status == 0]
    changes = {
        "a clue blanked": (text[:clue] + "." + text[clue + 1 :], "made with other data"),
        "a row more": (text + ",".join(rows[0]) + "\n", "made with other data"),
        "cut within a row": (text[:-9], "row 200, answer"),
        "emptied": ("", "the file is empty"),
        "gone": (None, "no such file"),
    }
    for content, told in changes.values():
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_text(content)
        done = here(words)
        right.append(done.status == 2 and done.one_line and told in done.told)
    path.write_text(text)
    os.utime(path, (0, 0))
    right.append(here(words).status == 0)
    seen = f"{', '.join(changes)}: refused in one line each, status 2; touched only: goes on"
    return Found("data file changed between runs", len(changes) + 1, seen, all(right))


def shifted(library: str, days: int) -> dict[str, str]:
    """The environment of a process whose wall clock stands so many days from the truth."""
    return {"LD_PRELOAD": library, "CLOCK_SHIFT": str(days * 86400)} if library else {}


def clock_library(folder: pathlib.Path) -> str:
    """``drill_clock.c`` compiled into the folder; nothing where there is no compiler, or where it shifts no clock."""
    source, library = pathlib.Path(__file__).with_name("drill_clock.c"), folder / "clock.so"
    if not (compiler := shutil.which("cc")):
        return ""
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
    asked = [sys.executable, "-c", "import time; print(time.time())"]
    told = subprocess.run(asked, env=os.environ | shifted(str(library), 1000), check=True, capture_output=True).stdout
    return str(library) if abs(float(told) - time.time() - 1000 * 86400) < 3600 else ""
