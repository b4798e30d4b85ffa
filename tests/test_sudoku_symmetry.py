"""Symmetries: a group, uniform, and blind to everything that makes a puzzle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from gidd_jax.data import sudoku
from gidd_jax.data.sudoku import symmetry

NAMES = ["4x4", "6x6", "9x9"]
ALPHA = 1e-4


def draw(key, box, count):
    return jax.jit(jax.vmap(lambda each: symmetry.random_symmetry(each, box)))(jax.random.split(key, count))


@pytest.mark.parametrize("name", NAMES)
def test_augment_keeps_what_makes_a_puzzle(key, name):
    boards = sudoku.load(name)[:: {"4x4": 20, "6x6": 40, "9x9": 200}[name]]
    question, answer = jax.jit(symmetry.augment, static_argnums=3)(key, boards.question, boards.answer, boards.box)
    question, answer = np.array(question), np.array(answer)
    assert question.dtype == answer.dtype == np.uint8
    assert (sudoku.violations(answer, boards.box) == 0).all()
    assert (np.count_nonzero(question, axis=1) == boards.clues).all()
    assert ((question == 0) | (question == answer)).all()
    before, after = sudoku.label(boards.question, boards.box), sudoku.label(question, boards.box)
    assert (before.naked == after.naked).all()
    assert (before.singles == after.singles).all()
    moved = (answer != boards.answer).any(axis=1).mean()
    assert moved > 0.9


def test_each_board_has_a_symmetry_of_its_own(key):
    box = sudoku.Box(3, 3)
    answer = jnp.tile(sudoku.load("9x9", limit=1).answer, (50, 1))
    _, turned = symmetry.augment(key, answer, answer, box)
    assert len(np.unique(np.array(turned), axis=0)) == 50


@pytest.mark.slow
def test_same_key_same_boards_and_one_board_as_in_a_batch():
    box = sudoku.Box(2, 3)
    one = symmetry.random_symmetry(jax.random.key(3), box)
    many = jax.vmap(lambda key: symmetry.random_symmetry(key, box))(jax.random.split(jax.random.key(9), 4))
    again = symmetry.random_symmetry(jax.random.split(jax.random.key(9), 4)[2], box)
    assert (many.permutation[2] == again.permutation).all()
    assert not (one.permutation == again.permutation).all()


def test_the_group_of_4x4_is_closed(key):
    found = {tuple(row) for row in np.array(draw(key, sudoku.Box(2, 2), 4000).permutation).tolist()}
    # Bands, rows in two bands, the same for columns, and the transpose: 2**3 * 2**3 * 2.
    assert len(found) == 128
    assert {tuple(a[i] for i in b) for a in found for b in found} == found


def test_the_moves_of_6x6_have_no_transpose(key):
    found = {tuple(row) for row in np.array(draw(key, sudoku.Box(2, 3), 40_000).permutation).tolist()}
    # 3! bands of two rows, 2! stacks of three columns.
    assert len(found) == 6 * 2**3 * 2 * 6**2
    rows = np.array([[cell // 6 for cell in each] for each in list(found)[:200]]).reshape(-1, 6, 6)
    assert (rows == rows[:, :, :1]).all()


def test_inverse_undoes(key):
    box = sudoku.Box(3, 3)
    board = jnp.asarray(sudoku.load("9x9", limit=1).question[0])
    turn = symmetry.random_symmetry(key, box)
    back = symmetry.Symmetry(jnp.argsort(turn.permutation), jnp.argsort(turn.digits))
    turned = symmetry.apply(turn, board)
    assert not (turned == board).all()
    assert (symmetry.apply(back, turned) == board).all()


def test_digits_and_cells_are_uniform(key):
    """Chi-square of each digit's image and of where cell 0 comes from; each false alarm has chance 1e-4."""
    count = 20_000
    drawn = draw(key, sudoku.Box(3, 3), count)
    digits, permutation = np.array(drawn.digits), np.array(drawn.permutation)
    assert (digits[:, 0] == 0).all()
    assert (np.sort(digits, axis=1) == np.arange(10)).all()
    assert (np.sort(permutation, axis=1) == np.arange(81)).all()
    for digit in range(1, 10):
        assert scipy.stats.chisquare(np.bincount(digits[:, digit], minlength=10)[1:]).pvalue > ALPHA
    for cell in (0, 40, 80):
        assert scipy.stats.chisquare(np.bincount(permutation[:, cell], minlength=81)).pvalue > ALPHA
    upright = (permutation[:, 0] // 9 == permutation[:, 1] // 9).sum()
    assert scipy.stats.binomtest(int(upright), count).pvalue > ALPHA
