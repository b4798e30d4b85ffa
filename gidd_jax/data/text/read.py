"""Documents of text from a file, a folder, a `datasets` repository, the Hugging Face hub, or a package."""

import json
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence

from gidd_jax.data import hub, tables
from gidd_jax.data.text import offline
from gidd_jax.errors import InputError

READ = (".txt", ".csv", ".tsv", ".jsonl", ".parquet")
INSTEAD = f"name its subset, or give a text, CSV, JSONL or parquet file, or one of {', '.join(offline.NAMES)}"
BLANK = re.compile(r"\n[ \t\r]*\n\s*")

CUTS: dict[str, Callable[[str], list[str]]] = {
    "file": lambda text: [text],
    "paragraph": BLANK.split,
    "line": lambda text: text.split("\n"),
}
"""What one document of a text file is. A row of a table is one in any case."""


def documents(source: str, cut: str, column: str, split: str, subset: str | None) -> Iterator[str]:
    """The documents of ``source``, in order; see ``load``, which says what is raised."""
    return (text for (text,) in rows(source, cut, (column,), split, subset))


def rows(source: str, cut: str, columns: Sequence[str], split: str, subset: str | None) -> Iterator[tuple[str, ...]]:
    """The documents of ``source`` and what other ``columns`` of its tables hold, as text; rows without text left out.

    Raises ``InputError`` as ``load`` says, and where more than one column is asked of what is no table.
    """
    if cut not in CUTS:
        raise InputError(f"cut {cut!r}: not one of {', '.join(CUTS)}")
    path = pathlib.Path(source)
    looks_local = path.suffix in READ or path.is_absolute() or source.startswith(".")
    if source in offline.NAMES:
        _no_table(source, columns)
        _one_split(source, split)
        yield from ((text,) for text in offline.NAMES[source]())
    elif path.is_file() or (looks_local and not path.is_dir()):
        _one_split(source, split)
        yield from _file(path, cut, columns)
    elif path.is_dir() and (files := _text_files(path)):
        _one_split(source, split)
        for file in files:
            yield from _file(file, cut, columns)
    else:
        yield from _repository(source, cut, columns, split, subset)


def _text_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """The .txt files of a folder of texts; none where they are fewer than the tables, as in a repository's folder."""
    files = [file for file in sorted(folder.rglob("*")) if file.suffix in (*READ, ".json")]
    texts = [file for file in files if file.suffix == ".txt"]
    return texts if len(texts) > len(files) / 2 else []


def _one_split(name: str, split: str) -> None:
    if split != "train":
        raise InputError(f"{name}: unknown split {split!r}; files and folders of text have one split, 'train'")


def _no_table(name: str | pathlib.Path, columns: Sequence[str]) -> None:
    if len(columns) > 1:
        raise InputError(f"{name}: text has no column {columns[1]!r}; give a CSV, JSONL or parquet file that has")


def _repository(
    source: str, cut: str, columns: Sequence[str], split: str, subset: str | None
) -> Iterator[tuple[str, ...]]:
    found = hub.fetch(source, split, READ, "texts", INSTEAD, subset)
    if isinstance(found, list):
        for path in found:
            yield from _file(path, cut, columns)
        return
    picked = _pick(columns)(found.column_names, source)
    for batch in found.iter(tables.BLOCK // 256):
        yield from _table_rows(tables.chosen(batch, picked, source), columns)


def _file(path: pathlib.Path, cut: str, columns: Sequence[str]) -> Iterator[tuple[str, ...]]:
    if path.suffix in (".csv", ".tsv", ".parquet"):
        for table in tables.batches(path, _pick(columns), "texts", line_breaks=True):
            yield from _table_rows(table, columns)
        return
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a text, CSV, JSONL or parquet file")
    data = path.read_bytes()
    if not data:
        raise InputError(f"{path}: the file is empty; give one with some text")
    try:
        text = data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        byte = f"byte 0x{data[error.start]:02x} at position {error.start}"
        raise InputError(f"{path}: {byte} is not UTF-8; convert the file to UTF-8") from None
    del data
    if path.suffix == ".jsonl":
        yield from _objects(path, text, columns)
    else:
        _no_table(path, columns)
        yield from ((document,) for document in CUTS[cut](text))


def _objects(path: pathlib.Path, text: str, columns: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The rows of a JSONL file, one object a line."""
    pick = _pick(columns)
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}, row {number}: this is not JSON ({error}); mend the row") from None
        if not isinstance(row, dict):
            raise InputError(f"{path}, row {number}: this is no JSON object; mend the row")
        pick(list(row), f"{path}, row {number}")
        for column in columns:
            if not isinstance(row[column], str | int | float | None):
                raise InputError(
                    f"{path}, row {number}, {column}: {str(row[column])[:20]!r} is no text; name another column"
                )
        values = ("" if row[column] is None else str(row[column]) for column in columns)
        # Half a surrogate pair is a character to JSON, and to nothing else.
        yield tuple(value.encode(errors="replace").decode() for value in values)


def _pick(wanted: Sequence[str]) -> tables.Pick:
    def pick(columns: list[str], name: str) -> dict[str, str]:
        for column in wanted:
            if column not in columns:
                present = ", ".join(each[:20] for each in columns[:8])
                what = "name the one with the text" if column == wanted[0] else "name one of these"
                raise InputError(f"{name}: has no column {column!r}; it has {present!r}: {what}")
        return {column: column for column in wanted}

    return pick


def _table_rows(table: "pyarrow.Table", columns: Sequence[str]) -> Iterator[tuple[str, ...]]:
    values = zip(*(table[column].to_pylist() for column in columns), strict=True)
    return (tuple(value or "" for value in row) for row in values if row[0])
