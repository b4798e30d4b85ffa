"""Documents of text from a file, a folder, a `datasets` repository, the Hugging Face hub, or a package."""

import json
import pathlib
import re
from collections.abc import Callable, Iterator

from gidd_jax.data import hub, tables
from gidd_jax.data.text import offline
from gidd_jax.errors import InputError

READ = (".txt", ".csv", ".jsonl", ".parquet")
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
    if cut not in CUTS:
        raise InputError(f"cut {cut!r}: not one of {', '.join(CUTS)}")
    path = pathlib.Path(source)
    looks_local = path.suffix in READ or path.is_absolute() or source.startswith(".")
    if source in offline.NAMES:
        _one_split(source, split)
        yield from offline.NAMES[source]()
    elif path.is_file() or (looks_local and not path.is_dir()):
        _one_split(source, split)
        yield from _file(path, cut, column)
    elif path.is_dir() and (files := _text_files(path)):
        _one_split(source, split)
        for file in files:
            yield from _file(file, cut, column)
    else:
        yield from _repository(source, cut, column, split, subset)


def _text_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """The .txt files of a folder of texts; none where they are fewer than the tables, as in a repository's folder."""
    files = [file for file in sorted(folder.rglob("*")) if file.suffix in (*READ, ".json")]
    texts = [file for file in files if file.suffix == ".txt"]
    return texts if len(texts) > len(files) / 2 else []


def _one_split(name: str, split: str) -> None:
    if split != "train":
        raise InputError(f"{name}: unknown split {split!r}; files and folders of text have one split, 'train'")


def _repository(source: str, cut: str, column: str, split: str, subset: str | None) -> Iterator[str]:
    found = hub.fetch(source, split, READ, "texts", INSTEAD, subset)
    if isinstance(found, list):
        for path in found:
            yield from _file(path, cut, column)
        return
    columns = _pick(column)(found.column_names, source)
    for batch in found.iter(tables.BLOCK // 256):
        yield from _texts(tables.chosen(batch, columns, source))


def _file(path: pathlib.Path, cut: str, column: str) -> Iterator[str]:
    if path.suffix in (".csv", ".parquet"):
        for table in tables.batches(path, _pick(column), "texts", line_breaks=True):
            yield from _texts(table)
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
    yield from _rows(path, text, column) if path.suffix == ".jsonl" else CUTS[cut](text)


def _rows(path: pathlib.Path, text: str, column: str) -> Iterator[str]:
    """The texts of a JSONL file, one object a line."""
    pick = _pick(column)
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}, row {number}: this is not JSON ({error}); mend the row") from None
        if not isinstance(row, dict):
            raise InputError(f"{path}, row {number}: this is no JSON object; mend the row")
        value = row.get(pick(list(row), f"{path}, row {number}")[column])
        if not isinstance(value, str | None):
            raise InputError(f"{path}, row {number}, {column}: {str(value)[:20]!r} is no text; name another column")
        # Half a surrogate pair is a character to JSON, and to nothing else.
        yield (value or "").encode(errors="replace").decode()


def _pick(column: str) -> tables.Pick:
    def pick(columns: list[str], name: str) -> dict[str, str]:
        if column in columns:
            return {column: column}
        present = ", ".join(each[:20] for each in columns[:8])
        raise InputError(f"{name}: has no column {column!r}; it has {present!r}: name the one with the text")

    return pick


def _texts(table: "pyarrow.Table") -> Iterator[str]:
    return (text for text in table.column(0).to_pylist() if text)
