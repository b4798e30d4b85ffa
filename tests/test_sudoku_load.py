"""Reading boards: every accepted form, every filter, and one clear line for everything that can be wrong."""

import os
import subprocess
import sys
import types

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from gidd_jax.data import sudoku
from gidd_jax.data.sudoku import bundle
from gidd_jax.errors import InputError

BOARDS = bundle.read("9x9")[::4000]
QUESTIONS = [sudoku.format(board) for board in BOARDS.question]
ANSWERS = [sudoku.format(board) for board in BOARDS.answer]
MEND = "; mend the row, or drop such rows with --skip-bad (skip_bad=True)"


def rows(count=10):
    return [list(row) for row in zip(QUESTIONS[:count], ANSWERS[:count], strict=True)]


def write(path, table, header="question,answer"):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in table)]) + "\n")
    return path


def changed(row, column, cell, character):
    """The ten rows, with one character (cells count from 1) of one field changed."""
    table = rows()
    text = table[row][column]
    table[row][column] = text[: cell - 1] + character + text[cell:]
    return table


def message(*args, **options):
    with pytest.raises(InputError) as caught:
        sudoku.load(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def same(boards, count=10):
    assert (boards.question == BOARDS.question[:count]).all()
    assert (boards.answer == BOARDS.answer[:count]).all()
    return True


def test_csv(tmp_path):
    boards = sudoku.load(write(tmp_path / "some.csv", rows()))
    assert same(boards)
    assert (boards.box, boards.sources, boards.skipped) == (sudoku.Box(3, 3), ("some",), 0)
    assert boards.question.dtype == boards.answer.dtype == np.uint8
    assert (boards.rating == sudoku.UNRATED).all()


def test_csv_with_all_columns_in_any_order(tmp_path):
    table = [[i if i else "", a, "x" * i, f"bank{i % 2}", q] for i, (q, a) in enumerate(rows())]
    boards = sudoku.load(write(tmp_path / "some.csv", table, "rating,answer,note,source,question"))
    assert same(boards)
    assert boards.rating.tolist() == [-1, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert boards.source.tolist() == ["bank0", "bank1"] * 5


def test_kaggle_columns_with_zeros(tmp_path):
    table = [[question.replace(".", "0"), answer] for question, answer in rows()]
    assert same(sudoku.load(write(tmp_path / "sudoku.csv", table, "quizzes,solutions")))


@pytest.mark.parametrize("text", [pyarrow.string(), pyarrow.large_string(), pyarrow.dictionary(pyarrow.int32(), "str")])
def test_parquet(tmp_path, text):
    questions, answers = (pyarrow.array(column).cast(text) for column in (QUESTIONS, ANSWERS))
    table = pyarrow.table({"question": questions, "answer": answers, "rating": list(range(10))})
    pyarrow.parquet.write_table(table, tmp_path / "some.parquet", row_group_size=3)
    boards = sudoku.load(tmp_path / "some.parquet")
    assert same(boards)
    assert boards.rating.tolist() == list(range(10))


def test_other_sizes_and_boxes(tmp_path):
    for name, box in bundle.NAMES.items():
        small = sudoku.load(name, limit=5)
        table = [[sudoku.format(q), sudoku.format(a)] for q, a in zip(small.question, small.answer, strict=True)]
        again = sudoku.load(write(tmp_path / f"{name}.csv", table))
        assert again.box == box
        assert (again.answer == small.answer).all()
    answer = sudoku.grids(5, sudoku.Box(3, 2), np.random.default_rng(0))
    path = write(tmp_path / "tall.csv", [[sudoku.format(each)] * 2 for each in answer])
    assert (sudoku.load(path, box=sudoku.Box(3, 2)).answer == answer).all()
    assert "of its 18 rows, columns and boxes repeat a digit" in message(path)


def test_letters_for_digits_above_9(tmp_path):
    row, column = np.divmod(np.arange(256), 16)
    grid = ((row * 4 + row // 4 + column) % 16 + 1).astype(np.uint8)
    path = write(tmp_path / "large.csv", [[sudoku.format(grid)] * 2])
    assert (sudoku.load(path).answer == grid).all()


def test_bundled_boards():
    for name, tiers in {
        "4x4": ("kaggle", "minimal"),
        "6x6": ("kaggle", "search10", "singles10"),
        "9x9": ("kaggle", "search24", "singles24"),
    }.items():
        boards = sudoku.load(name)
        assert (boards.sources, boards.name, boards.box) == (tiers, name, bundle.NAMES[name])
        assert (np.bincount(boards.code) >= 3000).all()
        assert (sudoku.violations(boards.answer, boards.box) == 0).all()
        assert ((boards.question == 0) | (boards.question == boards.answer)).all()
        assert len(np.unique(boards.question[boards.code == 1], axis=0)) == (boards.code == 1).sum()
    nines = sudoku.load("9x9")
    assert set(nines.clues[nines.code > 0]) == {24}
    assert (nines.rating[nines.source == "search24"] > 0).all()
    assert (nines.rating[nines.source != "search24"] == 0).all()
    assert sum(file.stat().st_size for file in bundle.FOLDER.glob("*.npz")) < 3_000_000


def test_packing_is_lossless(tmp_path):
    for name in bundle.NAMES:
        boards = bundle.read(name)[::500]
        bundle.write(tmp_path / "some.npz", boards)
        with np.load(tmp_path / "some.npz") as one, np.load(bundle.FOLDER / f"{name}.npz") as whole:
            for key in ("answer", "given", "rating", "source"):
                assert (one[key] == whole[key][::500]).all()
                assert one[key].dtype == whole[key].dtype


def test_filters(tmp_path):
    table = [[q, a, i, "ab"[i % 2]] for i, (q, a) in enumerate(rows())]
    path = write(tmp_path / "some.csv", table, "question,answer,rating,source")
    low, high = sorted(set(BOARDS.clues[:10].tolist()))[:2]
    assert sudoku.load(path, rating=(3, 5)).rating.tolist() == [3, 4, 5]
    assert sudoku.load(path, clues=(low, high)).clues.tolist() == [c for c in BOARDS.clues[:10] if low <= c <= high]
    assert sudoku.load(path, source="b").rating.tolist() == [1, 3, 5, 7, 9]
    assert sudoku.load(path, source=["b"]).sources == ("b",)
    assert len(sudoku.load(path, source=("a", "b"))) == 10
    assert sudoku.load(path, source="b", rating=(2, 9), limit=2).rating.tolist() == [3, 5]
    assert sudoku.load("9x9", source="search24", limit=3).source.tolist() == ["search24"] * 3


def test_filters_that_leave_nothing_are_named(tmp_path):
    path = write(tmp_path / "some.csv", rows())
    assert message(path, rating=(51, 99)) == f"{path}: none of its 10 boards passes rating=(51, 99); widen the filter"
    assert "passes clues=(1, 2), source=('x',)" in message(path, clues=(1, 2), source="x")
    assert message(path, limit=0) == "limit 0: give a number of boards above 0"


def repeat_digit(answer):
    """Two neighbours of one row trade places: their columns break, and a box where it parts them."""
    return answer[1] + answer[0] + answer[2:]


BAD = {
    "short question": (
        lambda: [*rows(2), [QUESTIONS[2][:-1], ANSWERS[2]]],
        "row 3, question: 80 characters where box 3x3 needs 81",
    ),
    "long answer": (
        lambda: [[QUESTIONS[0], ANSWERS[0] + "1"], *rows()[1:]],
        "row 1, answer: 82 characters where box 3x3 needs 81",
    ),
    "no answer": (lambda: [*rows(2), [QUESTIONS[2], ""]], "row 3, answer: 0 characters where box 3x3 needs 81"),
    "mixed lengths": (
        lambda: [*rows(2), ["1..." * 4, "1234" * 4]],
        "row 3, question: 16 characters where box 3x3 needs 81",
    ),
    "bad character": (
        lambda: changed(4, 0, 7, "x"),
        "row 5, question: character 'x' at cell 7; use 1 to 9, or . or 0 for a blank",
    ),
    "digit above 9": (
        lambda: changed(4, 1, 7, "A"),
        "row 5, answer: character 'A' at cell 7; use 1 to 9, or . or 0 for a blank",
    ),
    "answer with a blank": (
        lambda: changed(4, 1, 9, "."),
        "row 5, answer: cell 9 is blank; an answer is a full grid",
    ),
    "answer with a zero": (
        lambda: changed(4, 1, 9, "0"),
        "row 5, answer: cell 9 is blank; an answer is a full grid",
    ),
    "broken unit": (
        lambda: [*rows(3), ["." * 81, repeat_digit(ANSWERS[3])]],
        "row 4, answer: 2 of its 27 rows, columns and boxes repeat a digit",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_rows_are_named_or_skipped(tmp_path, case):
    make, what = BAD[case]
    path = write(tmp_path / "some.csv", make())
    assert message(path) == f"{path}, {what}{MEND}"
    boards = sudoku.load(path, skip_bad=True)
    assert boards.skipped == 1
    assert len(boards) == len(make()) - 1


def test_answer_that_contradicts_its_question(tmp_path):
    cell = QUESTIONS[6].index(next(each for each in QUESTIONS[6] if each != "."))
    wrong = str(int(QUESTIONS[6][cell]) % 9 + 1)
    path = write(tmp_path / "some.csv", changed(6, 1, cell + 1, wrong))
    what = f"cell {cell + 1} is {wrong}, which contradicts the given {QUESTIONS[6][cell]} of the question"
    assert message(path) == f"{path}, row 7, answer: {what}{MEND}"


def test_rating_that_is_no_number(tmp_path):
    path = write(tmp_path / "some.csv", [[*row, "hard" if i == 3 else i] for i, row in enumerate(rows())])
    path = write(path, [[*row, "hard" if i == 3 else i] for i, row in enumerate(rows())], "question,answer,rating")
    assert message(path) == f"{path}, row 4, rating: 'hard' is not a whole number{MEND}"
    assert sudoku.load(path, skip_bad=True).rating.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]


def test_rows_keep_their_number_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("gidd_jax.data.tables.BLOCK", 1000)
    path = write(tmp_path / "some.csv", rows() * 20)
    assert same(sudoku.load(path)[:10])
    assert len(sudoku.load(path)) == 200
    assert same(sudoku.load(path, limit=35)[30:], 5)
    write(path, rows() * 20 + [["1", "2"]])
    assert message(path).startswith(f"{path}, row 201, question: 1 characters")
    pyarrow.parquet.write_table(
        pyarrow.table({"question": [*QUESTIONS[:10], "1"], "answer": [*ANSWERS[:10], "2"]}), tmp_path / "some.parquet"
    )
    assert message(tmp_path / "some.parquet").startswith(f"{tmp_path / 'some.parquet'}, row 11, question: 1 characters")


def test_many_bad_rows_are_counted(tmp_path):
    table = rows()
    table[2][0], table[5][1], table[7] = "", "9" * 81, ["1", "2"]
    boards = sudoku.load(write(tmp_path / "some.csv", table), skip_bad=True)
    assert (boards.skipped, len(boards)) == (3, 7)
    assert (boards.answer == BOARDS.answer[[0, 1, 3, 4, 6, 8, 9]]).all()


def test_crooked_csv_row(tmp_path):
    path = tmp_path / "some.csv"
    table = rows()
    table[3].append("more")
    write(path, table)
    assert message(path) == f"{path}, row 4: 3 fields where the header has 2{MEND}"
    boards = sudoku.load(path, skip_bad=True)
    assert (boards.skipped, len(boards)) == (1, 9)


def test_first_row_of_no_known_size(tmp_path):
    path = write(tmp_path / "some.csv", [["1" * 80, "1" * 80]])
    where = f"{path}, row 1, question"
    assert message(path) == f"{where}: 80 cells: a board has 16, 36, 81, 256; for other shapes give the box"


def test_files_that_are_no_table_of_boards(tmp_path):
    assert message(tmp_path / "none.csv") == f"{tmp_path / 'none.csv'}: no such file; give a CSV or parquet file"
    empty = tmp_path / "empty.csv"
    empty.touch()
    assert message(empty) == f"{empty}: the file is empty; give a CSV or parquet file with boards"
    bare = write(tmp_path / "bare.csv", [])
    assert message(bare) == f"{bare}: it holds no board"
    lacking = write(tmp_path / "lacking.csv", [["1", "2"]], "question,solutions")
    needs = "needs columns question and answer (or quizzes and solutions)"
    assert message(lacking) == f"{lacking}: {needs}; it has 'question, solutions'"
    picture = tmp_path / "picture.csv"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe" * 50)
    assert message(picture) == f"{picture}: this is not a CSV file; give a CSV or parquet file with boards"
    false = tmp_path / "false.parquet"
    false.write_text("question,answer\n")
    assert message(false).startswith(f"{false}: this is not a parquet file (")
    torn = tmp_path / "torn.csv"
    torn.write_bytes(f"question,answer\n{QUESTIONS[0]},{ANSWERS[0]}\n".encode() + b"\xff\xfe" * 81 + b",1\n")
    assert message(torn).startswith(f"{torn}: this is not a CSV file (")


def test_splits_of_files_and_bundles(tmp_path):
    path = write(tmp_path / "some.csv", rows())
    assert message(path, split="test") == f"{path}: unknown split 'test'; a single file has one split, 'train'"
    assert message("9x9", split="test") == "9x9: unknown split 'test'; a single file has one split, 'train'"
    assert message("9x9", box=sudoku.Box(2, 3)) == "9x9: its boards have box 3x3, not 2x3; leave the box out"


def test_local_repository(tmp_path):
    zeros = [[question.replace(".", "0"), answer] for question, answer in rows()]
    write(tmp_path / "train.csv", zeros[:8], "quizzes,solutions")
    write(tmp_path / "test.csv", zeros[8:], "quizzes,solutions")
    assert same(sudoku.load(tmp_path), 8)
    held = sudoku.load(str(tmp_path), split="test")
    assert (held.answer == BOARDS.answer[8:10]).all()
    assert held.sources == ("test",)
    assert message(tmp_path, split="validation") == f"{tmp_path}: unknown split 'validation'; it has train, test"
    write(tmp_path / "test.csv", [*zeros[8:], ["1", "2"]], "quizzes,solutions")
    assert message(tmp_path, split="test").startswith(f"{tmp_path / 'test.csv'}, row 3, question: 1 characters")


def test_local_repository_of_several_files(tmp_path):
    (tmp_path / "data").mkdir()
    for part in range(2):
        table = pyarrow.table({"question": QUESTIONS[5 * part :][:5], "answer": ANSWERS[5 * part :][:5]})
        pyarrow.parquet.write_table(table, tmp_path / "data" / f"train-0000{part}-of-00002.parquet")
    assert same(sudoku.load(tmp_path))


def test_local_repository_of_another_format(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "repository"
    folder.mkdir()
    lines = [f'{{"question": "{question}", "answer": "{answer}", "rating": 7}}' for question, answer in rows()]
    (folder / "train.jsonl").write_text("\n".join(lines))
    boards = sudoku.load(folder)
    assert same(boards)
    assert set(boards.rating) == {7}


def test_repository_that_needs_a_script(tmp_path):
    folder = tmp_path / "boards"
    folder.mkdir()
    (folder / "boards.py").write_text("import datasets\n")
    assert message(folder) == (
        f"{folder}: needs a loading script, and `datasets` runs none any more (Dataset scripts are no longer "
        "supported, but found boards.py); give its CSV or parquet file"
    )


def test_folder_without_data(tmp_path):
    assert message(tmp_path).startswith(f"{tmp_path}: no data set of boards here (")


def test_hub_repository(tmp_path, monkeypatch):
    """A hub name resolves through `datasets` to addresses, which are fetched through `datasets` and read here."""
    path = write(tmp_path / "train.csv", [[*row, 60] for row in rows()], "question,answer,rating")
    address = "hf://datasets/someone/boards@main/train.csv"

    builder = types.SimpleNamespace(config=types.SimpleNamespace(data_files={"train": [address]}))
    fetched = {address: str(path)}
    monkeypatch.setattr("datasets.load_dataset_builder", {"someone/boards": builder}.__getitem__)
    monkeypatch.setattr("datasets.DownloadManager.download", lambda self, files: [fetched[file] for file in files])
    boards = sudoku.load("someone/boards", rating=(51, 99))
    assert same(boards)
    assert boards.name == "someone/boards"
    assert message("someone/boards", split="test") == "someone/boards: unknown split 'test'; it has train"


def run(code):
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment)


def test_unreachable_hub_is_one_clear_line():
    done = run(
        "from gidd_jax.data import sudoku\nfrom gidd_jax.errors import InputError\n"
        "try: sudoku.load('imone/no-such-boards')\nexcept InputError as error: print(error)"
    )
    start = "imone/no-such-boards: cannot be reached (Couldn't reach 'imone/no-such-boards' on the Hub"
    assert done.stdout.startswith(start), done.stderr
    assert done.stdout.endswith("); connect, or give a local file or folder\n")
    assert done.stdout.count("\n") == 1


def test_import_is_light():
    heavy = "'jax', 'numba', 'pandas', 'pyarrow', 'datasets'"
    done = run(f"import sys, gidd_jax.data.sudoku\nprint([name for name in ({heavy}) if name in sys.modules])")
    assert done.stdout == "[]\n", done.stderr


def test_everything_works_without_numba():
    done = run(
        "import sys\nsys.modules['numba'] = None\nfrom gidd_jax.data import sudoku\n"
        "boards, labels = sudoku.generate('kaggle', 2, sudoku.Box(2, 2))\n"
        "print(len(boards), labels.naked.all(), (sudoku.solve(boards.question[0]) == boards.answer[0]).all())"
    )
    assert done.stdout == "2 True True\n", done.stderr


@pytest.mark.slow
def test_a_million_boards_load_within_30_seconds(tmp_path):
    import time

    many = (f"{question},{answer}\n" for question, answer in rows() * 100_000)
    with open(tmp_path / "many.csv", "w") as file:
        file.write("quizzes,solutions\n")
        file.writelines(many)
    start = time.process_time()
    assert len(sudoku.load(tmp_path / "many.csv")) == 1_000_000
    assert time.process_time() - start < 30


@pytest.mark.parametrize("first", ["1234", "1" * 15, "1" * 36])
def test_a_bad_first_row_is_skipped_like_any_other(tmp_path, first):
    boards = sudoku.load("4x4", limit=12)
    rows = [f"{sudoku.format(q)},{sudoku.format(a)}" for q, a in zip(boards.question, boards.answer, strict=True)]
    path = tmp_path / "boards.csv"
    path.write_text("\n".join(["question,answer", f"{first},{first}", *rows]) + "\n")
    kept = sudoku.load(path, skip_bad=True)
    assert (len(kept), kept.skipped, kept.box) == (12, 1, sudoku.Box(2, 2))
