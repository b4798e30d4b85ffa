"""Splits: no solution on both sides, whatever its orientation."""

import numpy as np
import pytest

from gidd_jax.data import sudoku
from gidd_jax.data.sudoku.grids import shuffled
from gidd_jax.data.sudoku.split import class_hash, grid_hash
from gidd_jax.errors import InputError

BOX = sudoku.Box(3, 3)
BANDS, ROWS = [3, 4, 5, 0, 1, 2, 6, 7, 8], [0, 2, 1, 3, 4, 5, 6, 7, 8]
MOVES = {
    "digits": lambda grid: grid % 9 + 1,
    "bands": lambda grid: grid[BANDS],
    "rows": lambda grid: grid[ROWS],
    "stacks": lambda grid: grid[:, BANDS],
    "columns": lambda grid: grid[:, ROWS],
    "transpose": lambda grid: grid.T,
}


def grids(count, seed=0):
    return sudoku.grids(count, BOX, np.random.default_rng(seed))


def boards(answer, box=BOX):
    return sudoku.tabulate(answer * (np.arange(box.cells) % 2 > 0), answer, "some", box, "some.csv")


def keys(part):
    return {answer.tobytes() for answer in part.answer}


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_no_move_changes_the_class_hash(move):
    answer = grids(50)
    moved = np.stack([move(grid).ravel() for grid in answer.reshape(-1, 9, 9)])
    assert (moved != answer).any(axis=1).all()
    assert (class_hash(moved, BOX) == class_hash(answer, BOX)).all()


def test_class_hash_tells_classes_apart():
    """Random grids are of one class with chance 1e-9 a pair, so their hashes must all differ; rows of different bands
    trading places is no symmetry of the hash."""
    answer = grids(2000)
    hashes = class_hash(answer, BOX)
    assert len(np.unique(hashes)) == 2000
    across = answer.reshape(-1, 9, 9)[:, [3, 1, 2, 0, 4, 5, 6, 7, 8]].reshape(-1, 81)
    assert (class_hash(across, BOX) != hashes).mean() > 0.99


def test_grid_hash_tells_grids_apart():
    answer = np.unique(sudoku.load("4x4").answer, axis=0)
    assert len(answer) == 288
    assert len(np.unique(grid_hash(answer, sudoku.Box(2, 2)))) == 288


@pytest.mark.parametrize("count", [30, 1500])
def test_turned_copies_stay_together(count):
    answer = grids(count)
    rng = np.random.default_rng(1)
    turned = shuffled(answer, BOX, rng)
    both = sudoku.split(boards(np.concatenate([answer, turned])))
    assert both.kind == "class"
    assert sum(map(len, both[:3])) == 2 * count
    for part in both[:3]:
        assert all(
            (one.tobytes() in keys(part)) == (two.tobytes() in keys(part))
            for one, two in zip(answer, turned, strict=True)
        )


def test_order_and_company_do_not_matter():
    answer = grids(3000)
    whole = sudoku.split(boards(answer))
    backward = sudoku.split(boards(answer[::-1]))
    half = sudoku.split(boards(answer[:1500]))
    for one, two, three in zip(whole[:3], backward[:3], half[:3], strict=True):
        assert keys(one) == keys(two)
        assert keys(three) <= keys(one)


def test_shares_and_seeds():
    answer = grids(3000)
    first, second = sudoku.split(boards(answer), seed=0), sudoku.split(boards(answer), seed=1)
    again = sudoku.split(boards(answer), seed=0)
    assert keys(first.test) == keys(again.test) != keys(second.test)
    # Three standard deviations of a binomial share are 50 of 300.
    for parts in (first, second):
        assert abs(len(parts.validation) - 300) < 75
        assert abs(len(parts.test) - 300) < 75
    uneven = sudoku.split(boards(answer), fractions=(0.5, 0.1))
    assert abs(len(uneven.validation) - 1500) < 120


@pytest.mark.parametrize("count", [10, 11, 40])
def test_few_boards_still_make_three_parts(count):
    parts = sudoku.split(boards(grids(count)))
    assert min(map(len, parts[:3])) >= 1
    assert len(parts.train) >= 0.7 * count


@pytest.mark.parametrize("name", ["4x4", "6x6"])
def test_small_boards_go_by_grid(name):
    parts = sudoku.split(sudoku.load(name))
    assert parts.kind == "grid"
    train, validation, test = map(keys, parts[:3])
    assert not (train & validation or train & test or validation & test)
    assert 0.05 < len(validation) / len(train | validation | test) < 0.15


def test_too_few_boards_and_bad_fractions_are_one_clear_line():
    with pytest.raises(InputError, match=r"^some.csv: 4 boards have 2 different solutions, too few for a validation "):
        sudoku.split(boards(np.repeat(grids(2), 2, axis=0)))
    for fractions in [(0.0, 0.1), (0.5, 0.5), (0.1, -0.1)]:
        with pytest.raises(InputError, match=f"^fractions {fractions[0]} and {fractions[1]}: give two shares"):
            sudoku.split(boards(grids(2)), fractions=fractions)


@pytest.mark.slow
def test_a_million_boards_split_within_30_seconds():
    import time

    many = boards(np.tile(grids(10_000), (100, 1)))
    start = time.process_time()
    sudoku.split(many)
    assert time.process_time() - start < 30
