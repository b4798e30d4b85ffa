"""Files of boards as nobody should write them: each must load, or be refused in one line, within a second."""

import functools
import io
import pathlib
import sys
import time
from collections import Counter
from typing import NamedTuple

import numpy as np

from gidd_jax.data import sudoku
from gidd_jax.errors import InputError

SLOWEST = 1.0
"""Seconds of processor time one file may take."""


class Fuzzed(NamedTuple):
    """What became of the files: how many by kind and end, the slowest, and those that broke the rule."""

    ends: Counter
    slowest: float
    broken: list[str]


def fuzz(folder: pathlib.Path, count: int, seed: int = 0) -> Fuzzed:
    """Writes ``count`` files one after the other into ``folder`` and loads each, every second one with skip_bad."""
    rng = np.random.default_rng(seed)
    kinds, ends, slowest, broken = list(KINDS), Counter(), 0.0, []
    for i in range(count):
        kind = kinds[i % len(kinds)]
        suffix, content = KINDS[kind](rng)
        path = folder / f"boards{suffix}"
        path.write_bytes(content)
        start = time.process_time()
        end, fault = loaded(path, skip_bad=bool(i // len(kinds) % 2))
        taken = time.process_time() - start
        slowest = max(slowest, taken)
        fault = fault or (f"{taken:.1f} s" if taken > SLOWEST else "")
        ends[kind, end] += 1
        if fault:
            broken.append(f"file {i} of seed {seed} ({kind}): {fault}")
    return Fuzzed(ends, slowest, broken)


def loaded(path: pathlib.Path, skip_bad: bool) -> tuple[str, str]:
    """("accepted" or "refused", what breaks the rule or "")."""
    before, unheard = sys.unraisablehook, []
    sys.unraisablehook = unheard.append
    try:
        boards = sudoku.load(path, skip_bad=skip_bad)
    except InputError as error:
        one = len(str(error).splitlines()) == 1 and path.name in str(error)
        return "refused", "" if one and not unheard else f"not one line that names the file: {str(error)!r}, {unheard}"
    except Exception as error:
        return "refused", f"{type(error).__name__}: {error}"
    finally:
        sys.unraisablehook = before
    full = (boards.answer > 0).all() and (sudoku.violations(boards.answer, boards.box) == 0).all()
    return "accepted", "" if len(boards) and full and not unheard else f"a wrong board, or noise: {unheard}"


def table(rng: np.random.Generator, rows: int | None = None) -> list[list[str]]:
    """A header and rows of 4x4, 6x6 or 9x9 boards: what the kinds below spoil."""
    boards = _bundled(str(rng.choice(["4x4", "4x4", "6x6", "9x9"])))
    picked = boards[rng.integers(len(boards), size=rows or rng.integers(1, 9))]
    header = ["question", "answer"] if rng.random() < 0.5 else ["quizzes", "solutions"]
    pairs = zip(picked.question, picked.answer, strict=True)
    body = [[sudoku.format(question), sudoku.format(answer)] for question, answer in pairs]
    for name, values in (("rating", ["", "7", "-1", "12"]), ("source", ["", "a", "b"])):
        if rng.random() < 0.3:
            header = [*header, name]
            body = [[*row, str(rng.choice(values))] for row in body]
    return [header, *body]


@functools.cache
def _bundled(name: str) -> sudoku.Boards:
    return sudoku.load(name)


def text(rows: list[list[str]], end: str = "\n") -> bytes:
    """Rows as CSV, unquoted."""
    return end.join(",".join(row) for row in rows).encode("utf-8", "surrogateescape") + end.encode()


def _good(rng):
    return ".csv", text(table(rng), str(rng.choice(["\n", "\r\n"])))


def _noise(rng):
    return str(rng.choice([".csv", ".parquet", ".txt"])), rng.bytes(int(rng.integers(0, 400)))


def _flipped(rng):
    blob = bytearray(text(table(rng)))
    for place in rng.integers(len(blob), size=rng.integers(1, 6)):
        blob[place] ^= 1 << rng.integers(8)
    return ".csv", bytes(blob)


def _cut(rng):
    blob = text(table(rng))
    return ".csv", blob[: rng.integers(len(blob))]


def _spliced(rng):
    a, b = text(table(rng)), text(table(rng))
    return ".csv", a[: rng.integers(len(a))] + b[rng.integers(len(b)) :]


def _columns(rng):
    rows = table(rng)
    order = rng.permutation(len(rows[0]))[: rng.integers(1, len(rows[0]) + 1)]
    rows = [[row[k] for k in order] for row in rows]
    if rng.random() < 0.3:
        rows[0] = [name * int(rng.integers(0, 3)) for name in rows[0]]
    elif rng.random() < 0.3:
        rows = [[*row, row[0], *row] for row in rows]
    return ".csv", text(rows)


def _ragged(rng):
    rows = table(rng)
    for row in rows[int(rng.integers(0, 2)) :]:
        if rng.random() < 0.3:
            row.insert(int(rng.integers(len(row) + 1)), str(rng.choice(["", "x", "1" * 16])))
        elif rng.random() < 0.2:
            row.pop()
    return ".csv", text(rows)


def _pieces(pieces):
    def make(rng):
        rows = table(rng)
        for _ in range(rng.integers(1, 4)):
            row = rows[rng.integers(len(rows))]
            k = rng.integers(len(row))
            at = rng.integers(len(row[k]) + 1)
            row[k] = row[k][:at] + pieces[rng.integers(len(pieces))] + row[k][at + rng.integers(0, 2) :]
        return ".csv", text(rows)

    return make


def _huge(rng):
    rows = table(rng)
    row = rows[rng.integers(len(rows))]
    row[rng.integers(len(row))] = str(rng.choice(["1", ".", "9", "x", '"'])) * int(rng.integers(1 << 14, 1 << 20))
    return ".csv", text(rows)


def _wide(rng):
    width = int(rng.integers(1, 2000))
    return ".csv", text([[*row, *["x"] * width] for row in table(rng)])


def _parquet(rng):
    import pyarrow
    import pyarrow.parquet

    rows = table(rng)
    columns = dict(zip(rows[0], map(list, zip(*rows[1:], strict=True)), strict=True))
    name = str(rng.choice(list(columns)))
    count = len(rows) - 1
    odd = [
        columns[name],
        [None] * count,
        [7] * count,
        [1.5] * count,
        [b"\xff\xfe"] * count,
        [["1"]] * count,
        [{"a": 1}] * count,
    ]
    columns[name] = odd[rng.integers(len(odd))]
    made = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), made, compression=str(rng.choice(["none", "snappy"])))
    blob = bytearray(made.getvalue())
    if rng.random() < 0.6:
        for place in rng.integers(len(blob), size=rng.integers(1, 8)):
            blob[place] ^= 1 << rng.integers(8)
    if rng.random() < 0.3:
        blob = blob[: rng.integers(len(blob))]
    return ".parquet", bytes(blob)


KINDS = {
    "sound": _good,
    "random bytes": _noise,
    "bits flipped": _flipped,
    "cut short": _cut,
    "two files spliced": _spliced,
    "columns wrong": _columns,
    "fields too many or few": _ragged,
    "quotes, NULs, line ends": _pieces(['"', '""', "\0", "\n", "\r", "\r\n", "\t", ";", ",", "\ufeff", "\x1a", "\x85"]),
    "no UTF-8, odd digits": _pieces(["\udcff", "\udcc3(", "\u0661", "\u4e00", "\U0001d7d9", "e\u0301", "\u202e"]),
    "huge fields": _huge,
    "thousands of columns": _wide,
    "spoilt parquet": _parquet,
}
"""Kind -> (generator of random numbers) -> (suffix, content)."""
