"""Boards of wrong search branches beside random corruptions, tiers crossed, and tiers one after the other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gidd_jax import sweep
from gidd_jax.data.sudoku import load, tiers
from gidd_jax.data.sudoku.board import Box, units
from gidd_jax.errors import InputError
from gidd_jax.models.two_head import Heads
from gidd_jax.studies import sudoku, sudoku_branches

SIX = sudoku.Config(data="6x6", branch_boards=24)
TINY = dict(data="4x4", d_model=8, heads=2, layers=1, batch=8, eval_boards=16, decode_boards=8, decode=(16,), steps=2)


@pytest.fixture(scope="module")
def branches():
    return sudoku.load(SIX)[0]["branch"]


def test_both_arms_fill_the_same_cells_and_have_as_many_wrong(branches):
    question, answer, branch, random = (branches[name] for name in ("question", "answer", "branch", "random"))
    assert branch.shape == (2, 4, 24, 36)
    np.testing.assert_array_equal(branch > 0, random > 0)
    assert ((branch == question) | (question == 0)).all()
    wrong = [((arm > 0) & (arm != answer)).sum(axis=-1) for arm in (branch, random)]
    np.testing.assert_array_equal(*wrong)
    assert (wrong[0] > 0).mean() > 0.9
    in_unit = branch[..., units(Box(2, 3))]
    assert all((in_unit == digit).sum(axis=-1).max() == 1 for digit in range(1, 7))
    in_unit = random[..., units(Box(2, 3))]
    assert max((in_unit == digit).sum(axis=-1).max() for digit in range(1, 7)) > 1


@pytest.mark.parametrize(("sign", "expected"), [(1.0, 1.0), (-1.0, 0.0), (0.0, 0.5)])
def test_a_head_that_knows_is_told_from_one_that_does_not(branches, sign, expected):
    at = jax.tree.map(lambda x: jnp.asarray(x[0, 3]), branches)
    know = lambda shown: Heads(None, (sign * (shown.z != shown.x))[None], None)  # noqa: E731
    found = sudoku_branches.asked(jax.random.key(0), know, at)
    assert {name: float(mean.value()) for name, mean in found.items()} == {
        "auroc_branch": expected,
        "auroc_random": expected,
    }


def test_auroc_is_that_of_pairs_within_a_board(branches):
    at = jax.tree.map(lambda x: x[1, 2], branches)
    scores = np.random.default_rng(0).normal(size=at["branch"].shape).round(1)
    found = sudoku_branches.asked(jax.random.key(0), lambda _: Heads(None, jnp.asarray(scores)[None], None), at)
    hits = pairs = 0
    for score, filled, truth, given in zip(scores, at["branch"], at["answer"], at["question"], strict=True):
        for a in np.flatnonzero((filled > 0) & (filled != truth)):
            for b in np.flatnonzero((filled == truth) & (given == 0)):
                hits, pairs = hits + (score[a] > score[b]) + 0.5 * (score[a] == score[b]), pairs + 1
    np.testing.assert_allclose(found["auroc_branch"].value(), hits / pairs, rtol=1e-6)


def test_held_out_boards_may_all_be_of_one_tier():
    usual, _ = sudoku.load(sudoku.Config(**TINY))
    data, _ = sudoku.load(sudoku.Config(**TINY | {"eval_tier": "minimal"}))
    for name in ("start", "count"):
        np.testing.assert_array_equal(data[name][0], usual[name][0])
        np.testing.assert_array_equal(data[name][1:], np.repeat(usual[name][1:, 2:], 3, axis=1))
    with pytest.raises(InputError, match="--eval-tier hard: not one of all, kaggle, minimal"):
        sudoku.load(sudoku.Config(**TINY | {"eval_tier": "hard"}))


@pytest.mark.slow
def test_a_sweep_is_measured_again_on_another_tier(tmp_path):
    config = sudoku.Config(**TINY)
    sweep.run(sudoku, [(config, sweep.grid(sudoku, seed=0, tier=[1, 2]))], tmp_path / "a")
    measured = {
        tier: sweep.evaluate(sudoku, tmp_path / "a", "test", eval_tier=tier, branch_boards=4)
        for tier in ("", "kaggle", "minimal")
    }
    loss = {
        tier: table[(table["metric"] == "jump_loss") & (table["split"] == "test")].set_index("tier")["value"]
        for tier, table in measured.items()
    }
    assert loss["kaggle"][1] == loss[""][1] != loss["minimal"][1]
    assert loss["minimal"][2] == loss[""][2] != loss["kaggle"][2]
    assert {"auroc_branch", "auroc_random"} <= set(measured[""]["metric"])


def test_a_row_may_begin_on_another_tier():
    config = sudoku.Config(**TINY | {"augment": False})
    data = jax.tree.map(jnp.asarray, sudoku.load(config)[0])
    hyper = sudoku.Hyper(tier=2, first_tier=1, first_steps=5)
    boards = load("4x4")
    assert tiers(boards)[0] == ("all", "kaggle", "minimal")
    kaggle = {answer.tobytes() + given.tobytes() for answer, given in _of(boards, "kaggle")}
    draw = jax.jit(lambda key, i: sudoku.batch(key, hyper, config, data, i))
    for i, share in ((0, 1.0), (4, 1.0), (5, 0.0), (9, 0.0)):
        drawn = draw(jax.random.key(i), jnp.int32(i))
        rows = zip(np.asarray(drawn.x, np.uint8) + 1, np.asarray(drawn.given), strict=True)
        assert np.mean([x.tobytes() + given.tobytes() in kaggle for x, given in rows]) == share


def _of(boards, source):
    kept = boards[boards.source == source]
    return zip(kept.answer, kept.question > 0, strict=True)
