"""Tables on disk, read in batches of text columns: CSV and parquet files."""

import codecs
import csv
import pathlib
from collections.abc import Callable, Iterator

from gidd_jax.errors import InputError

BLOCK = 1 << 24
"""Bytes of CSV, and 256 times the rows of parquet, taken at once: some 90,000 boards."""

Pick = Callable[[list[str], str], dict[str, str]]
"""The names of a table's columns, and the table's own name -> {our name: the column}; raises if they do not do."""


def batches(
    path: pathlib.Path,
    pick: Pick,
    what: str,
    mend: str = "mend the row",
    skipped: list[int] | None = None,
    line_breaks: bool = False,
) -> Iterator["pyarrow.Table"]:
    """A CSV or parquet file -> tables of the picked columns, as text.

    A CSV row with too many or too few fields is left out where ``skipped`` is given one count to add to; otherwise it
    raises ``InputError`` that ends in ``mend``. A file that is missing, empty, or no table raises one too, which says
    that a table of ``what`` is wanted. ``line_breaks``: quoted fields of a CSV file may hold some. A file called .tsv
    has tabs for commas, and quotes in it are letters.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a CSV or parquet file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty; give a CSV or parquet file with {what}")
    parquet = path.suffix == ".parquet"
    yield from _parquet(path, pick) if parquet else _csv(path, pick, what, mend, skipped or [], line_breaks)


def chosen(table: "pyarrow.Table", columns: dict[str, str], name: str) -> "pyarrow.Table":
    """The picked columns under our names, each as plain text; raises for a column that is no text."""
    import pyarrow

    try:
        return pyarrow.table({ours: table[column].cast(pyarrow.string()) for ours, column in columns.items()})
    except pyarrow.ArrowNotImplementedError:
        kinds = ", ".join(f"{column} holds {table[column].type}" for column in columns.values())
        raise InputError(f"{name}: {kinds}; name columns of text") from None


def _csv(
    path: pathlib.Path, pick: Pick, what: str, mend: str, skipped: list[int], line_breaks: bool
) -> Iterator["pyarrow.Table"]:
    import pyarrow
    import pyarrow.csv

    tabs = path.suffix == ".tsv"
    try:
        with open(path, "rb") as file:
            line = file.readline(1 << 16).decode("utf-8-sig")
            header = line.rstrip("\r\n").split("\t") if tabs else next(csv.reader([line]))
    except (UnicodeDecodeError, csv.Error, StopIteration):
        raise InputError(f"{path}: this is not a CSV file; give a CSV or parquet file with {what}") from None
    columns = pick(header, str(path))
    _check_utf8(path)
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
            parse_options=pyarrow.csv.ParseOptions(
                delimiter="\t" if tabs else ",",
                quote_char=False if tabs else '"',
                invalid_row_handler=handle,
                newlines_in_values=line_breaks and not tabs,
            ),
            # Every column is text: a board of digits must not become a number.
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(header, pyarrow.string()), include_columns=list(columns.values())
            ),
        )
        for batch in reader:
            yield chosen(pyarrow.table(batch), columns, str(path))
    except pyarrow.ArrowInvalid as error:
        if crooked:
            row = crooked[0]
            raise InputError(
                f"{path}, row {row.number - 1}: {row.actual_columns} fields where the header has "
                f"{row.expected_columns}; {mend}"
            ) from None
        raise InputError(f"{path}: this is not a CSV file ({str(error).splitlines()[0]})") from None


def _check_utf8(path: pathlib.Path) -> None:
    """Raises for bytes that are no text: pyarrow stumbles over them while it reports a row, where nothing hears it."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with open(path, "rb") as file:
            while block := file.read(BLOCK):
                decoder.decode(block)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise InputError(f"{path}: this is not a CSV file (byte 0x{byte:02x} in it is not UTF-8)") from None


def _parquet(path: pathlib.Path, pick: Pick) -> Iterator["pyarrow.Table"]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            columns = pick(file.schema_arrow.names, str(path))
            for batch in file.iter_batches(BLOCK // 256, columns=list(columns.values())):
                # Parquet's own reader takes any bytes for text.
                batch.validate(full=True)
                yield chosen(pyarrow.table(batch), columns, str(path))
    except (pyarrow.ArrowException, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path}: this is not a parquet file ({str(error).splitlines()[0]})") from None
