"""New puzzles: proven, minimal, labelled, the same for the same seed; wrong branches; the command that writes them."""

import argparse
import csv
import sys
from typing import get_args

import numpy as np
import pytest
import scipy.stats

from gidd_jax.commands import generate_puzzles
from gidd_jax.data import sudoku
from gidd_jax.data.sudoku import bundle, bundling
from gidd_jax.data.sudoku.board import peers
from gidd_jax.data.sudoku.grids import shuffled
from gidd_jax.errors import InputError
from tests.test_sudoku_solve import sat_solutions

# The package gives out the functions under the names of these modules.
GENERATE, WRITE = (sys.modules[f"gidd_jax.data.sudoku.{name}"] for name in ("generate", "write"))
BOXES = {"4x4": sudoku.Box(2, 2), "6x6": sudoku.Box(2, 3), "9x9": sudoku.Box(3, 3)}
# Singles fill every 4x4 puzzle there is.
EVERY = [(kind, name) for kind in get_args(sudoku.Kind) for name in BOXES if (kind, name) != ("search", "4x4")]


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_puzzles_are_what_they_say(kind, name):
    box = BOXES[name]
    boards, labels = sudoku.generate(kind, 12, box, seed=1)
    assert (len(boards), boards.box, boards.sources) == (12, box, (kind,))
    assert (sudoku.violations(boards.answer, box) == 0).all()
    assert len(np.unique(boards.question, axis=0)) == 12
    for question, answer in zip(boards.question, boards.answer, strict=True):
        assert sat_solutions(question, box) == [answer.tolist()]
    assert (boards.rating == labels.guesses).all()
    for one, two in zip(labels, sudoku.label(boards.question, box), strict=True):
        assert (one == two).all()
    assert labels.naked.all() or kind != "kaggle"
    assert labels.singles.all() or kind in ("minimal", "search")
    assert not labels.singles.any() or kind != "search"
    if (kind, name) == ("kaggle", "9x9"):
        assert 29 <= boards.clues.min() <= boards.clues.max() <= 36


@pytest.mark.parametrize("name", BOXES)
def test_no_clue_of_a_minimal_puzzle_can_go(name):
    boards, _ = sudoku.generate("minimal", 5, BOXES[name], seed=2)
    for question in boards.question:
        for cell in np.flatnonzero(question):
            less = question.copy()
            less[cell] = 0
            assert len(sat_solutions(less, boards.box)) == 2


def test_clue_counts(monkeypatch):
    boards, _ = sudoku.generate("singles", 4, BOXES["9x9"], clues=24, seed=3)
    assert (set(boards.clues), boards.sources) == ({24}, ("singles24",))
    boards, _ = sudoku.generate("minimal", 20, BOXES["9x9"], clues=(22, 23), seed=3)
    assert (set(boards.clues), boards.sources) == ({22, 23}, ("minimal",))
    boards, _ = sudoku.generate("kaggle", 20, BOXES["9x9"], clues=(31, 32), seed=3)
    assert set(boards.clues) == {31, 32}
    monkeypatch.setitem(GENERATE.KAGGLE_CLUES, BOXES["9x9"], (29, 31))
    assert set(sudoku.generate("kaggle", 20, BOXES["9x9"], seed=3)[0].clues) <= {29, 30, 31}


def test_a_seed_fixes_the_boards():
    first, _ = sudoku.generate("minimal", 40, BOXES["6x6"], seed=5)
    again, _ = sudoku.generate("minimal", 40, BOXES["6x6"], seed=5)
    other, _ = sudoku.generate("minimal", 40, BOXES["6x6"], seed=6)
    shorter, _ = sudoku.generate("minimal", 7, BOXES["6x6"], seed=5)
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    assert first[:7].fingerprint() == shorter.fingerprint()


@pytest.mark.parametrize("kind", ["kaggle", "search"])
@pytest.mark.parametrize("name", ["6x6", "9x9"])
def test_compiled_and_plain_boards_are_the_same(monkeypatch, kind, name):
    monkeypatch.setattr(GENERATE, "BATCH", 3)
    boards = [sudoku.generate(kind, 3, BOXES[name], seed=7, compiled=each)[0] for each in (True, False)]
    assert boards[0].fingerprint() == boards[1].fingerprint()


@pytest.mark.parametrize("name", BOXES)
def test_bundled_boards_are_the_generators(name):
    """The first boards of every tier, made anew."""
    bundled = bundle.read(name)
    for kind, clues, count in bundling.RECIPES[name]:
        boards, _ = sudoku.generate(kind, 10, BOXES[name], clues)
        tier = bundled[bundled.source == boards.sources[0]]
        assert len(tier) == count
        assert (tier.question[:10] == boards.question).all()
        assert (tier.rating[:10] == boards.rating).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", BOXES)
def test_bundled_boards_are_the_generators_to_the_last(name):
    assert bundling.make(name).fingerprint() == bundle.read(name).fingerprint()


@pytest.mark.parametrize("name", BOXES)
def test_grids_are_full_and_spread_over_digits(name):
    """Chi-square of the digits of three cells; each false alarm has chance 1e-4."""
    box = BOXES[name]
    grids = sudoku.grids(3000, box, np.random.default_rng(0))
    assert (sudoku.violations(grids, box) == 0).all()
    for cell in (0, box.cells // 2, box.cells - 1):
        assert scipy.stats.chisquare(np.bincount(grids[:, cell])[1:]).pvalue > 1e-4


def test_grids_of_4x4_are_all_met_equally():
    """288 grids in two classes of 96 and 192; the fill need not be uniform between them, only within (alpha 1e-4)."""
    start = sudoku.grids(1, BOXES["4x4"], np.random.default_rng(0))
    turned = shuffled(np.repeat(start, 20_000, axis=0), BOXES["4x4"], np.random.default_rng(1))
    counts = np.unique(turned, axis=0, return_counts=True)[1]
    assert len(counts) in (96, 192)
    assert scipy.stats.chisquare(counts).pvalue > 1e-4
    assert len(np.unique(sudoku.grids(5000, BOXES["4x4"], np.random.default_rng(2)), axis=0)) == 288


@pytest.mark.parametrize("name", BOXES)
def test_wrong_branches_break_no_rule_yet(name):
    boards = sudoku.load(name)
    boards = boards[:: len(boards) // 60]
    filled = 0
    for seed, (question, answer) in enumerate(zip(boards.question, boards.answer, strict=True)):
        if obvious(question, boards.box):
            continue
        board, wrong = sudoku.wrong_branch(question, answer, seed)
        plain, _ = sudoku.wrong_branch(question, answer, seed, compiled=False)
        assert (board == plain).all()
        assert wrong.any()
        assert (wrong == ((board > 0) & (board != answer))).all()
        assert (board[question > 0] == question[question > 0]).all()
        for unit in sudoku.units(boards.box):
            placed = board[unit][board[unit] > 0]
            assert len(np.unique(placed)) == len(placed)
        filled += wrong.sum() > 1
    assert filled > 5


def obvious(question, box):
    """Whether the givens leave every blank cell one digit."""
    near = peers(box)
    return all(len(set(question[near[cell]].tolist()) - {0}) == box.size - 1 for cell in np.flatnonzero(question == 0))


def test_wrong_branches_follow_the_seed():
    boards = sudoku.load("9x9", source="search24", limit=1)
    made = {sudoku.wrong_branch(boards.question[0], boards.answer[0], seed)[0].tobytes() for seed in range(10)}
    assert len(made) > 3
    again = [sudoku.wrong_branch(boards.question[0], boards.answer[0], 4)[0] for _ in range(2)]
    assert (again[0] == again[1]).all()


def test_a_board_of_obvious_cells_has_no_wrong_branch():
    question = sudoku.load("4x4", limit=1).answer[0].copy()
    answer, question[3] = question.copy(), 0
    assert obvious(question, BOXES["4x4"])
    with pytest.raises(
        InputError, match=r"^puzzle \d{3}\.\d{12}: every blank cell has one candidate; leave the puzzle "
    ):
        sudoku.wrong_branch(question, answer)


def command(*words):
    return generate_puzzles.run(argparse.ArgumentParser(), list(map(str, words)))


def test_command_writes_what_load_reads(tmp_path, capsys):
    path = tmp_path / "new.csv"
    command("singles", path, "--count", 20, "--box", "2x3", "--clues", "9-11", "--seed", 4)
    boards, labels = sudoku.generate("singles", 20, BOXES["6x6"], (9, 11), seed=4)
    low, high = boards.clues.min(), boards.clues.max()
    assert capsys.readouterr().out == f"{path}: 20 puzzles, {low} to {high} clues, 100.0 % by singles\n"
    assert sudoku.load(path).fingerprint() == boards.fingerprint()
    with open(path) as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == ["source", "question", "answer", "clues", "rating", "naked", "singles", "guesses"]
    assert [int(row["clues"]) for row in table] == boards.clues.tolist()
    assert [int(row["naked"]) for row in table] == labels.naked.tolist()
    assert [path.name for path in tmp_path.iterdir()] == ["new.csv"]


def test_writing_is_whole_or_not_at_all(tmp_path, monkeypatch):
    boards, labels = sudoku.generate("kaggle", 3, BOXES["4x4"])
    path = tmp_path / "new.csv"
    path.write_text("old\n")

    def fail(board):
        raise KeyboardInterrupt

    monkeypatch.setattr(WRITE, "format", fail)
    with pytest.raises(KeyboardInterrupt):
        sudoku.write_csv(path, boards, labels)
    assert [each.read_text() for each in tmp_path.iterdir()] == ["old\n"]


def test_command_says_when_it_is_slow(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(generate_puzzles, "FAST", False)
    command("kaggle", tmp_path / "new.csv", "--count", 2, "--box", "2x2")
    assert capsys.readouterr().out.splitlines()[0] == (
        "numba is not installed: generating 10 to 20 times slower; pip install gidd-jax[puzzles] for speed"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["minimal", "x.csv", "--clues", "a"], "clues 'a': give a number like 24 or a range like 20-29"),
        (["minimal", "x.csv", "--clues", "1-2-3"], "clues '1-2-3': give a number like 24 or a range like 20-29"),
        (["minimal", "x.csv", "--clues", "30-20"], "clues 30 to 20: give 1 to 81, the smaller first"),
        (["minimal", "x.csv", "--box", "9"], "box '9': give rows x columns, like 2x3"),
        (["minimal", "x.csv", "--count", "0"], "count 0, seed 0: give a count above 0 and a seed of 0 or more"),
        (["minimal", "x.csv", "--seed", "-1"], "count 1000, seed -1: give a count above 0 and a seed of 0 or more"),
        (["minimal", "no/x.csv"], "no/x.csv: its folder does not exist; make it first"),
    ],
)
def test_bad_settings_are_one_clear_line(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        command(*words)
    assert str(caught.value) == message
    assert not list(tmp_path.iterdir())


def test_boards_that_do_not_exist_are_given_up(monkeypatch):
    monkeypatch.setattr(GENERATE, "PATIENCE", 100)
    with pytest.raises(InputError, match=r"^kind 'search', box 2x2, 1 to 16 clues: 0 boards and then none in 128 "):
        sudoku.generate("search", 5, BOXES["4x4"])


@pytest.mark.slow
def test_a_thousand_minimal_boards_a_second():
    import time

    sudoku.generate("minimal", 1, BOXES["9x9"])
    start = time.process_time()
    sudoku.generate("minimal", 2000, BOXES["9x9"])
    assert 2000 / (time.process_time() - start) > 1000
