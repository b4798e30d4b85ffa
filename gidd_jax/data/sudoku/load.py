"""Boards from a file, a `datasets` repository, the Hugging Face hub, or the package itself."""

import collections
import contextlib
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from gidd_jax.data.sudoku import bundle, check, hub, table
from gidd_jax.data.sudoku.board import Box
from gidd_jax.data.sudoku.boards import UNRATED, Boards, join
from gidd_jax.errors import InputError

Range = tuple[int, int]


def load(
    name: str | pathlib.Path,
    *,
    split: str = "train",
    box: Box | None = None,
    rating: Range | None = None,
    clues: Range | None = None,
    source: str | Sequence[str] | None = None,
    limit: int | None = None,
    skip_bad: bool = False,
) -> Boards:
    """Read boards and check every one of them.

    ``name``: a bundled name (4x4, 6x6, 9x9), a CSV or parquet file, a folder that is a `datasets` repository, or a
    repository on the Hugging Face hub. Columns: question, answer [, rating, source], or quizzes, solutions.
    ``rating`` and ``clues`` keep an inclusive range, ``source`` one or more names, ``limit`` the first so many of what
    is left. ``box`` is taken from the first row where it is not given. ``skip_bad`` drops and counts bad rows.

    Raises ``InputError``, with file, row (the first board is row 1) and field, for the first row whose text has a
    wrong length or character, whose answer is not full, contradicts its question or breaks a unit; and for a file,
    split, repository or filter that gives nothing.

    >>> boards = sudoku.load("4x4", clues=(4, 5), limit=100)  # bundled ones
    >>> len(boards), boards.question.shape, int(boards.clues.max()) <= 5
    (100, (100, 16), True)
    """
    name = str(name)
    if limit is not None and limit < 1:
        raise InputError(f"limit {limit}: give a number of boards above 0")
    wanted = {"rating": rating, "clues": clues, "source": (source,) if isinstance(source, str) else source}
    skipped = [0] if skip_bad else []
    if name in bundle.NAMES:
        _one_split(name, split)
        blocks = iter([bundle.read(name)])
    else:
        blocks = _blocks(_parts(name, split, skipped), box, skipped)
    kept, read, left = [], 0, limit
    for block in blocks:
        if box is not None and block.box != box:
            raise InputError(f"{name}: its boards have box {block.box}, not {box}; leave the box out")
        read += len(block)
        block = block[_passing(block, wanted)][:left]
        kept.append(block)
        left = None if left is None else left - len(block)
        if left == 0:
            break
    if not sum(map(len, kept)):
        given = ", ".join(f"{key}={value}" for key, value in wanted.items() if value is not None)
        why = f"none of its {read} boards passes {given}; widen the filter" if read else "it holds no board"
        raise InputError(f"{name}: {why}{f' ({skipped[0]} bad rows dropped)' if skip_bad else ''}")
    return join(kept, name, sum(skipped))


def _parts(name: str, split: str, skipped: list[int]) -> list[tuple[str, Iterator["pyarrow.Table"]]]:
    path = pathlib.Path(name)
    looks_local = path.suffix in (".csv", ".parquet", ".txt") or path.is_absolute() or name.startswith(".")
    if path.is_file() or (looks_local and not path.is_dir()):
        _one_split(name, split)
        return [(name, table.batches(path, skipped))]
    return hub.parts(name, split, skipped)


def _one_split(name: str, split: str) -> None:
    if split != "train":
        raise InputError(f"{name}: unknown split {split!r}; a single file has one split, 'train'")


def _blocks(parts: list, box: Box | None, skipped: list[int]) -> Iterator[Boards]:
    """Checked boards, block by block."""
    for label, tables in parts:
        row = 1
        for columns in tables:
            if len(columns) == 0:
                continue
            columns = columns.combine_chunks()
            if box is None:
                box = _usual_box(columns) if skipped else _first_box(columns, label)
            yield _checked(columns, label, row, box, skipped)
            row += len(columns)


def _usual_box(columns: "pyarrow.Table") -> Box:
    """The box of most questions: where bad rows are dropped, the first may be one."""
    for length, _ in collections.Counter(map(len, map(str, columns["question"].to_pylist()))).most_common():
        with contextlib.suppress(InputError):
            return Box.of(length)
    return Box(3, 3)


def _first_box(columns: "pyarrow.Table", label: str) -> Box:
    try:
        return Box.of(len(columns["question"][0].as_py() or ""))
    except InputError as error:
        raise InputError(f"{label}, row 1, question: {error}") from None


def _checked(columns: "pyarrow.Table", label: str, row: int, box: Box, skipped: list[int]) -> Boards:
    texts = {name: columns[name].chunk(0) for name in columns.column_names}
    question, question_length = check.decode(texts["question"], box)
    answer, answer_length = check.decode(texts["answer"], box)
    found = check.faults(question, answer, (question_length, answer_length), box)
    rating, unreadable = _ratings(texts.get("rating"), len(question))
    bad = (found > 0) | unreadable
    if bad.any() and not skipped:
        first = int(np.argmax(bad))
        text = {name: column[first].as_py() or "" for name, column in texts.items()}
        if found[first]:
            field, what = check.explain(int(found[first]), text["question"], text["answer"], box)
        else:
            field, what = "rating", f"{text['rating']!r} is not a whole number"
        raise InputError(f"{label}, row {row + first}, {field}: {what}; {table.MEND}")
    sources, codes = _sources(texts.get("source"), pathlib.PurePath(label).stem, len(question))
    if skipped:
        skipped[0] += int(bad.sum())
    return Boards(question, answer, rating, codes, sources, box, label)[~bad if bad.any() else slice(None)]


def _ratings(texts: "pyarrow.Array | None", rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Text ratings -> int32 [n] (-1 where empty), and which of them are no whole number."""
    if texts is None:
        return np.full(rows, UNRATED, np.int32), np.zeros(rows, bool)
    import pyarrow
    import pyarrow.compute as compute

    texts = compute.utf8_trim_whitespace(compute.fill_null(texts, ""))
    texts = compute.if_else(compute.equal(texts, ""), str(UNRATED), texts)
    readable = compute.match_substring_regex(texts, r"^-?\d{1,9}$")
    numbers = compute.if_else(readable, texts, str(UNRATED)).cast(pyarrow.int32())
    return numbers.to_numpy(), ~readable.to_numpy(zero_copy_only=False)


def _sources(texts: "pyarrow.Array | None", alone: str, rows: int) -> tuple[tuple[str, ...], np.ndarray]:
    if texts is None:
        return (alone,), np.zeros(rows, np.int16)
    import pyarrow.compute as compute

    coded = compute.fill_null(texts, "").dictionary_encode()
    if len(coded.dictionary) > np.iinfo(np.int16).max:
        raise InputError(f"{alone}: column source has over {np.iinfo(np.int16).max} names; leave the column out")
    return tuple(coded.dictionary.to_pylist()), coded.indices.to_numpy().astype(np.int16)


def _passing(boards: Boards, wanted: dict) -> np.ndarray:
    passing = np.ones(len(boards), bool)
    for key in ("rating", "clues"):
        if wanted[key] is not None:
            low, high = wanted[key]
            passing &= (getattr(boards, key) >= low) & (getattr(boards, key) <= high)
    if wanted["source"] is not None:
        passing &= np.isin(boards.code, [code for code, name in enumerate(boards.sources) if name in wanted["source"]])
    return passing
