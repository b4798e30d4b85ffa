"""Text tables on disk, read in batches of text columns: CSV and parquet files."""

import csv
import pathlib
from collections.abc import Iterator

from gidd_jax.errors import InputError

PAIRS = (("question", "answer"), ("quizzes", "solutions"))
EXTRAS = ("rating", "source")
BLOCK = 1 << 24
"""Bytes of CSV, and about four times the rows of parquet, taken at once: some 90,000 boards."""


def batches(path: pathlib.Path, skipped: list[int]) -> Iterator["pyarrow.Table"]:
    """A CSV or parquet file -> tables of the columns question, answer and, where present, rating and source.

    A CSV row with too many or too few fields is left out where ``skipped`` is given one count to add to; with an
    empty ``skipped`` it raises ``InputError``, as does a file that is missing, empty, or no table of boards.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a CSV or parquet file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty; give a CSV or parquet file with boards")
    yield from (_parquet(path) if path.suffix == ".parquet" else _csv(path, skipped))


def pick(columns: list[str], name: str) -> dict[str, str]:
    """Names of a table's columns -> {question, answer, rating, source: the column}; raises if there are no boards."""
    for pair in PAIRS:
        if set(pair) <= set(columns):
            return dict(zip(PAIRS[0], pair, strict=True)) | {extra: extra for extra in EXTRAS if extra in columns}
    present = ", ".join(column[:20] for column in columns[:8])
    raise InputError(f"{name}: needs columns question and answer (or quizzes and solutions); it has {present!r}")


def chosen(table: "pyarrow.Table", columns: dict[str, str]) -> "pyarrow.Table":
    """The picked columns under our names, each as plain text."""
    import pyarrow

    return pyarrow.table({name: table[column].cast(pyarrow.string()) for name, column in columns.items()})


def _csv(path: pathlib.Path, skipped: list[int]) -> Iterator["pyarrow.Table"]:
    import pyarrow
    import pyarrow.csv

    try:
        with open(path, "rb") as file:
            header = next(csv.reader([file.readline(1 << 16).decode("utf-8-sig")]))
    except (UnicodeDecodeError, csv.Error, StopIteration):
        raise InputError(f"{path}: this is not a CSV file; give a CSV or parquet file with boards") from None
    columns = pick(header, str(path))
    crooked = []

    def handle(row: "pyarrow.csv.InvalidRow") -> str:
        crooked.append(row)
        if not skipped:
            return "error"
        skipped[0] += 1
        return "skip"

    try:
        reader = pyarrow.csv.open_csv(
            path,
            # One thread, or rows would have no number.
            read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=BLOCK),
            parse_options=pyarrow.csv.ParseOptions(invalid_row_handler=handle),
            # Every column is text: a board of digits must not become a number.
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(header, pyarrow.string()), include_columns=list(columns.values())
            ),
        )
        for batch in reader:
            yield chosen(pyarrow.table(batch), columns)
    except pyarrow.ArrowInvalid as error:
        if crooked:
            row = crooked[0]
            raise InputError(
                f"{path}, row {row.number - 1}: {row.actual_columns} fields where the header has "
                f"{row.expected_columns}; mend the row, or drop such rows with --skip-bad (skip_bad=True)"
            ) from None
        raise InputError(f"{path}: this is not a CSV file ({str(error).splitlines()[0]})") from None


def _parquet(path: pathlib.Path) -> Iterator["pyarrow.Table"]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            columns = pick(file.schema_arrow.names, str(path))
            for batch in file.iter_batches(BLOCK // 256, columns=list(columns.values())):
                yield chosen(pyarrow.table(batch), columns)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: this is not a parquet file ({str(error).splitlines()[0]})") from None
