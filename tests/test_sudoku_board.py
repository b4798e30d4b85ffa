"""Boards: text, units, violations, tables of boards and their tiers."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gidd_jax.data import sudoku
from gidd_jax.data.sudoku.board import peers
from gidd_jax.errors import InputError

ANSWER = "534678912672195348198342567859761423426853791713924856961537284287419635345286179"
QUESTION = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
BOXES = [sudoku.Box(2, 2), sudoku.Box(2, 3), sudoku.Box(3, 2), sudoku.Box(3, 3), sudoku.Box(4, 4)]


def broken_units(board, box):
    """Violations by the book: walk every row, column and box with Python sets."""
    grid = board.reshape(box.size, box.size).tolist()
    whole = set(range(1, box.size + 1))
    groups = [set(row) for row in grid] + [set(column) for column in zip(*grid, strict=True)]
    for top in range(0, box.size, box.rows):
        for left in range(0, box.size, box.cols):
            groups.append({grid[top + i][left + j] for i in range(box.rows) for j in range(box.cols)})
    return sum(group != whole for group in groups)


@st.composite
def boxes_and_boards(draw):
    box = draw(st.sampled_from(BOXES))
    cells = draw(st.lists(st.integers(0, box.size), min_size=box.cells, max_size=box.cells))
    return box, np.array(cells, np.uint8)


@given(boxes_and_boards())
def test_format_and_parse_are_inverse(pair):
    box, board = pair
    assert sudoku.parse(sudoku.format(board), box).tolist() == board.tolist()
    assert sudoku.parse(sudoku.format(board).replace(".", "0"), box).tolist() == board.tolist()


@given(boxes_and_boards())
def test_violations_agree_with_sets(pair):
    box, board = pair
    assert sudoku.violations(board, box) == broken_units(board, box)


def test_violations_of_one_and_of_many():
    answer = sudoku.parse(ANSWER)
    swapped = answer.copy()
    swapped[[0, 1]] = swapped[[1, 0]]
    assert sudoku.violations(answer) == 0
    assert sudoku.violations(sudoku.parse(QUESTION)) == 27
    # Two cells of one row and one box trade digits: only their columns break.
    assert sudoku.violations(swapped) == 2
    assert sudoku.violations(np.stack([answer, swapped])).tolist() == [0, 2]


def test_violations_of_random_near_grids_agree_with_sets():
    rng = np.random.default_rng(0)
    for box in BOXES[:4]:
        boards = sudoku.grids(20, box, rng)
        boards[np.arange(20), rng.integers(box.cells, size=20)] = rng.integers(1, box.size + 1, size=20)
        assert sudoku.violations(boards, box).tolist() == [broken_units(board, box) for board in boards]


def test_units_and_peers():
    for box in BOXES:
        units = sudoku.units(box)
        assert units.shape == (3 * box.size, box.size)
        assert (np.bincount(units.ravel()) == 3).all()
        together = {(a, b) for unit in units.tolist() for a in unit for b in unit if a != b}
        assert together == {(cell, peer) for cell, row in enumerate(peers(box).tolist()) for peer in row}


def test_box():
    assert sudoku.Box.parse("2x3") == sudoku.Box(2, 3)
    assert [str(sudoku.Box.of(cells)) for cells in (16, 36, 81, 256)] == ["2x2", "2x3", "3x3", "4x4"]
    assert (sudoku.Box(2, 3).size, sudoku.Box(2, 3).cells) == (6, 36)


def test_show():
    shown = sudoku.show(sudoku.parse("12..3.2......41.....5......6........", sudoku.Box(2, 3)), sudoku.Box(2, 3))
    assert shown.splitlines()[:4] == ["1 2 . | . 3 .", "2 . . | . . .", "------+------", ". 4 1 | . . ."]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sudoku.parse("12"), "2 cells: a board has 16, 36, 81, 256; for other shapes give the box"),
        (lambda: sudoku.parse("1234", sudoku.Box(2, 2)), "board: 4 characters where box 2x2 needs 16"),
        (lambda: sudoku.parse("12x4" * 4), "board: character 'x' at cell 3; use 1 to 4, or . for a blank"),
        (lambda: sudoku.parse("1254" * 4), "board: character '5' at cell 3; use 1 to 4, or . for a blank"),
        (lambda: sudoku.parse("12é4" * 4), "board: character 'é' at cell 3; use 1 to 4, or . for a blank"),
        (lambda: sudoku.Box.parse("9"), "box '9': give rows x columns, like 2x3"),
        (lambda: sudoku.Box.parse("2x-3"), "box '2x-3': give rows x columns, like 2x3"),
        (lambda: sudoku.Box(5, 5), "box 5x5: a box has 2 to 16 cells; give one like 2x3"),
        (lambda: sudoku.Box(0, 3), "box 0x3: a box has 2 to 16 cells; give one like 2x3"),
    ],
)
def test_bad_input_is_one_clear_line(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == message


def table():
    answer = sudoku.grids(6, sudoku.Box(2, 2), np.random.default_rng(0))
    question = answer * (np.arange(16) < np.arange(6)[:, None] + 4)
    return sudoku.tabulate(question, answer, np.array(list("babcab")), sudoku.Box(2, 2), "six")


def test_boards_select_and_fingerprint():
    boards = table()
    assert len(boards) == 6
    assert boards.clues.tolist() == [4, 5, 6, 7, 8, 9]
    assert boards.source.tolist() == list("babcab")
    assert (boards.rating == sudoku.UNRATED).all()
    some = boards[np.array([3, 0])]
    assert (some.clues.tolist(), some.source.tolist()) == ([7, 4], ["c", "b"])
    assert (some.answer == boards.answer[[3, 0]]).all()
    assert boards.fingerprint() == table().fingerprint()
    other = dataclasses.replace(boards, answer=boards.answer[::-1])
    assert len({each.fingerprint() for each in (boards, some, boards[::-1], other)}) == 4


def test_tiers_are_ranges():
    boards = table()
    names, ordered, start, count = sudoku.tiers(boards)
    assert names == ("all", "a", "b", "c")
    assert (start.tolist(), count.tolist()) == ([0, 0, 2, 5], [6, 2, 3, 1])
    assert ordered.clues.tolist() == [5, 8, 4, 6, 9, 7]
    for name, first, number in list(zip(names, start, count, strict=True))[1:]:
        assert set(ordered.source[first : first + number]) == {name}


def test_tiers_leave_out_sources_that_do_not_occur():
    names, _, start, count = sudoku.tiers(table()[np.array([0, 3])])
    assert (names, start.tolist(), count.tolist()) == (("all", "b", "c"), [0, 0, 1], [2, 1, 1])
