"""Solving and grading, against a SAT solver and against singles by the book."""

import itertools

import numpy as np
import pytest
from pysat.solvers import Cadical153

from gidd_jax.data import sudoku
from gidd_jax.data.sudoku.solve import bits, digits
from gidd_jax.errors import InputError

NAMES = ["4x4", "6x6", "9x9"]
WAYS = pytest.mark.parametrize("compiled", [True, False], ids=["numba", "python"])


def sat_solutions(question, box, limit=2):
    """Solutions of a puzzle by a SAT solver: one variable for each cell and digit, found ones forbidden in turn."""
    size = box.size

    def variable(cell, digit):
        return cell * size + digit

    solutions = []
    with Cadical153() as solver:
        for cell in range(box.cells):
            solver.add_clause([variable(cell, digit) for digit in range(1, size + 1)])
        for unit in sudoku.units(box).tolist():
            for one, two in itertools.combinations(unit, 2):
                for digit in range(1, size + 1):
                    solver.add_clause([-variable(one, digit), -variable(two, digit)])
        for cell, digit in enumerate(question.tolist()):
            if digit:
                solver.add_clause([variable(cell, digit)])
        while len(solutions) < limit and solver.solve():
            true = [each for each in solver.get_model() if each > 0]
            solutions.append([(each - 1) % size + 1 for each in true])
            solver.add_clause([-each for each in true])
    return solutions


def singles_by_the_book(question, box, hidden):
    """Whether naked (and hidden) singles fill a board: candidate sets worked out afresh after every digit."""
    board, units = question.tolist(), sudoku.units(box).tolist()
    while True:
        seen = [{board[each] for unit in units if cell in unit for each in unit} for cell in range(box.cells)]
        sets = [set(range(1, box.size + 1)) - used if not board[i] else set() for i, used in enumerate(seen)]
        moves = [(cell, min(options)) for cell, options in enumerate(sets) if len(options) == 1]
        if hidden and not moves:
            for unit, digit in itertools.product(units, range(1, box.size + 1)):
                places = [cell for cell in unit if digit in sets[cell]]
                if len(places) == 1:
                    moves.append((places[0], digit))
        if not moves:
            return all(board)
        board[moves[0][0]] = moves[0][1]


def sample(name, count):
    boards = sudoku.load(name)
    return boards[np.linspace(0, len(boards) - 1, count).astype(int)]


@WAYS
@pytest.mark.parametrize("name", NAMES)
def test_the_only_answer_is_the_sat_solvers(name, compiled):
    boards = sample(name, 12)
    for question, answer in zip(boards.question, boards.answer, strict=True):
        assert sat_solutions(question, boards.box) == [answer.tolist()]
        assert sudoku.count(question, boards.box, compiled=compiled) == 1
        assert (sudoku.solve(question, boards.box, compiled=compiled) == answer).all()


@WAYS
@pytest.mark.parametrize("name", NAMES)
def test_counts_of_puzzles_with_clues_dropped_or_changed(name, compiled):
    """Puzzles with none, one and many solutions, counted up to a limit."""
    boards, rng, met = sample(name, 12), np.random.default_rng(0), set()
    for question in boards.question:
        looser, wrong = question.copy(), question.copy()
        given = np.flatnonzero(question)
        looser[rng.choice(given, 2)] = 0
        cell = rng.choice(given)
        wrong[cell] = wrong[cell] % boards.box.size + 1
        for board, limit in [(looser, 2), (looser, 5), (wrong, 2)]:
            expected = len(sat_solutions(board, boards.box, limit))
            assert sudoku.count(board, boards.box, limit, compiled=compiled) == expected
            met.add(expected)
    assert {0, 2} <= met


@WAYS
def test_the_empty_4x4_board_has_288_solutions(compiled):
    assert sudoku.count(np.zeros(16, np.uint8), limit=1000, compiled=compiled) == 288


@WAYS
def test_givens_that_clash(compiled):
    board = np.zeros(81, np.uint8)
    board[:2] = 7
    assert sudoku.count(board, compiled=compiled) == 0
    assert not sudoku.label(board[None], compiled=compiled).singles[0]


@WAYS
@pytest.mark.parametrize("name", NAMES)
def test_labels_agree_with_singles_by_the_book(name, compiled):
    boards = sample(name, 8)
    labels = sudoku.label(boards.question, boards.box, compiled=compiled)
    assert labels.naked.tolist() == [singles_by_the_book(each, boards.box, False) for each in boards.question]
    assert labels.singles.tolist() == [singles_by_the_book(each, boards.box, True) for each in boards.question]
    assert (labels.naked <= labels.singles).all()
    assert ((labels.guesses == 0) == labels.singles).all()
    assert len(set(labels.singles.tolist())) == (1 if name == "4x4" else 2)


@pytest.mark.parametrize("name", NAMES)
def test_compiled_and_plain_labels_are_the_same(name):
    boards = sample(name, 60)
    for one, two in zip(*(sudoku.label(boards.question, boards.box, each) for each in (True, False)), strict=True):
        assert (one == two).all()
    assert name == "4x4" or len(set(two.tolist())) > 2


def test_tiers_are_what_they_say():
    boards = sudoku.load("9x9")[::50]
    labels = sudoku.label(boards.question)
    for tier, naked, singles in [("kaggle", True, True), ("singles24", None, True), ("search24", False, False)]:
        rows = boards.source == tier
        assert set(labels.singles[rows]) == {singles}
        assert naked is None or set(labels.naked[rows]) == {naked}
    assert (labels.guesses == boards.rating).all()


def test_bits_and_digits_are_inverse():
    board = np.arange(17, dtype=np.uint8)
    assert bits(board).tolist() == [0] + [1 << each for each in range(16)]
    assert digits(bits(board)).tolist() == board.tolist()


def test_solve_refuses_what_has_no_single_answer():
    with pytest.raises(InputError, match=r"^puzzle \.{16}: it has several solutions$"):
        sudoku.solve(np.zeros(16, np.uint8))
    board = np.zeros(16, np.uint8)
    board[:2] = 1
    with pytest.raises(InputError, match=r"^puzzle 11\.{14}: it has no solutions$"):
        sudoku.solve(board)
