"""Tables of boards on disk, read in batches of text columns: CSV and parquet files."""

import pathlib
from collections.abc import Iterator

from gidd_jax.data import tables
from gidd_jax.errors import InputError

PAIRS = (("question", "answer"), ("quizzes", "solutions"))
EXTRAS = ("rating", "source")
MEND = "mend the row, or drop such rows with --skip-bad (skip_bad=True)"


def batches(path: pathlib.Path, skipped: list[int]) -> Iterator["pyarrow.Table"]:
    """A CSV or parquet file -> tables of the columns question, answer and, where present, rating and source.

    A CSV row with too many or too few fields is left out where ``skipped`` is given one count to add to; with an
    empty ``skipped`` it raises ``InputError``, as does a file that is missing, empty, or no table of boards.
    """
    return tables.batches(path, pick, "boards", MEND, skipped)


def pick(columns: list[str], name: str) -> dict[str, str]:
    """Names of a table's columns -> {question, answer, rating, source: the column}; raises if there are no boards."""
    for pair in PAIRS:
        if set(pair) <= set(columns):
            return dict(zip(PAIRS[0], pair, strict=True)) | {extra: extra for extra in EXTRAS if extra in columns}
    present = ", ".join(column[:20] for column in columns[:8])
    raise InputError(f"{name}: needs columns question and answer (or quizzes and solutions); it has {present!r}")
