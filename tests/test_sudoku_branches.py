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


def test_levels_open_and_fill_cells_without_breaking_a_unit(branches):
    question, answer, branch, left = (branches[name][:, 3] for name in ("question", "answer", "branch/t", "branch"))
    given, wrong = question > 0, (left > 0) & (left != answer)
    assert (branch[given] == question[given]).all()
    np.testing.assert_array_equal(branch[wrong & (branch > 0)], left[wrong & (branch > 0)])
    assert not (branch[~wrong & (branch > 0)] != answer[~wrong & (branch > 0)]).any()
    in_unit = branch[..., units(Box(2, 3))]
    assert all((in_unit == digit).sum(axis=-1).max() == 1 for digit in range(1, 7))
    random = branches["random/t"][:, 3]
    np.testing.assert_array_equal(branch > 0, random > 0)
    counts = [((arm > 0) & (arm != answer)).sum(axis=-1) for arm in (branch, random)]
    np.testing.assert_array_equal(*counts)
    # Evenly over t, but for boards whose wrong cells are more than that.
    t = 1 - (~given & (branch == answer)).sum(axis=-1) / (~given).sum(axis=-1)
    before = 1 - (~given & (left == answer)).sum(axis=-1) / (~given).sum(axis=-1)
    assert len(np.unique((t * 10).astype(int).clip(0, 9))) >= 7
    assert ((t < before).mean(), (t > before).mean()) > (0.1, 0.1)


def test_levels_are_at_the_share_of_noise_that_is_asked():
    """On boards whose search left less noise than that: cells are opened again, each with one probability."""
    boards = load("6x6", source=("search10",))[:400]
    left = sudoku_branches._arms(boards.question, boards.answer)["branch"]
    found = sudoku_branches.at_levels(boards.question, boards.answer, left)
    unknown = boards.question == 0
    asked = (np.arange(len(left)) * sudoku_branches.GOLDEN + 0.5) % 1
    noise = {
        name: 1 - (unknown & (z == boards.answer)).sum(1) / unknown.sum(1)
        for name, z in (("found", found), ("left", left))
    }
    more = asked > noise["left"]
    assert more.sum() > 100
    # A cell stays with the same probability as any other of its board: 4 standard errors, alpha 6e-5.
    right = (unknown & (left == boards.answer)).sum(1)[more]
    kept = (1 - asked[more]) * unknown.sum(1)[more] / right
    error = np.sqrt((right * kept * (1 - kept)).sum()) / unknown.sum(1)[more].mean() / more.sum()
    assert abs((noise["found"] - asked)[more].mean()) < 4 * error
    assert np.corrcoef(noise["found"][more], asked[more])[0, 1] > 0.8


def test_both_arms_show_the_same_random_digits_in_open_cells(branches, monkeypatch):
    at, shown = jax.tree.map(lambda x: jnp.asarray(x[0, 3]), branches), []
    one_by_one = lambda f, xs: jax.tree.map(lambda *a: jnp.stack(a), *map(f, xs))  # noqa: E731
    monkeypatch.setattr(sudoku_branches.jax.lax, "map", one_by_one)
    head = lambda seen: shown.append(seen) or Heads(None, jnp.zeros(seen.z.shape)[None], None)  # noqa: E731
    sudoku_branches.asked(jax.random.key(0), head, at)
    left_open = np.asarray(at["branch"]) == 0
    for seen, name in zip(shown, ("branch", "branch/t", "random", "random/t"), strict=True):
        filled = np.asarray(at[name])
        np.testing.assert_array_equal(np.asarray(seen.z + 1)[filled > 0], filled[filled > 0])
        np.testing.assert_array_equal(seen.x + 1, at["answer"])
        np.testing.assert_array_equal(seen.given, at["question"] > 0)
    digits = [np.asarray(shown[arm].z)[left_open] for arm in (0, 2)]
    np.testing.assert_array_equal(*digits)
    # chi2 with 5 degrees of freedom: alpha 1e-4.
    counts = np.bincount(digits[0], minlength=6)
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 25.7


@pytest.mark.parametrize(("sign", "expected"), [(1.0, 1.0), (-1.0, 0.0), (0.0, 0.5)])
def test_a_head_that_knows_is_told_from_one_that_does_not(branches, sign, expected):
    at = jax.tree.map(lambda x: jnp.asarray(x[0, 3]), branches)
    know = lambda shown: Heads(None, (sign * (shown.z != shown.x))[None], None)  # noqa: E731
    asked = sudoku_branches.asked(jax.random.key(0), know, at)
    found = {name: np.asarray(mean.value()) for name, mean in asked.items()}
    assert set(found) == {f"auroc_{arm}{axis}" for arm in ("branch", "random") for axis in ("", "/t")}
    for value in found.values():
        assert set(np.unique(value[np.isfinite(value)])) == {expected}


def test_auroc_is_that_of_pairs_within_a_board(branches):
    at = jax.tree.map(lambda x: jnp.asarray(x[1, 2]), branches)
    scores = np.random.default_rng(0).normal(size=at["branch"].shape).round(1)
    found = sudoku_branches.asked(jax.random.key(0), lambda _: Heads(None, jnp.asarray(scores)[None], None), at)
    for axis in ("", "/t"):
        hits, pairs = np.zeros((2, 10))
        for score, filled, truth, given in zip(scores, at[f"branch{axis}"], at["answer"], at["question"], strict=True):
            right = np.flatnonzero((filled == truth) & (given == 0))
            place = min(int((1 - len(right) / (given == 0).sum()) * 10 + 1e-6), 9)
            for a in np.flatnonzero((filled > 0) & (filled != truth)):
                for b in right:
                    hits[place] += (score[a] > score[b]) + 0.5 * (score[a] == score[b])
                    pairs[place] += 1
        if not axis:
            hits, pairs = hits.sum(), pairs.sum()
        np.testing.assert_allclose(found[f"auroc_branch{axis}"].total, hits, rtol=1e-6)
        np.testing.assert_allclose(found[f"auroc_branch{axis}"].weight, pairs)


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
