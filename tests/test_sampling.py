"""The k-pass decoder against a loop over boards, passes and cells; blocks of boards against all at once."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gidd_jax.sampling import in_blocks, k_pass

DIGITS, CELLS, BOARDS, MANY = 4, 16, 6, 37
MASK = DIGITS + 1


def toy_predict(seed, levels):
    """A predictor that depends on the whole board; scores on `levels` steps, so that ties are common."""
    weights = np.random.default_rng(seed).normal(size=(CELLS, CELLS, DIGITS + 1)).astype(np.float32)

    def predict(z_BxS, share_B):
        logits = jnp.einsum("bs,scv->bcv", z_BxS.astype(jnp.float32), weights) + share_B[:, None, None] * weights[:1]
        logits = jnp.round(logits * levels / 8) * 8 / levels / 4
        return logits[..., :DIGITS], logits[..., DIGITS]

    return predict


def questions(seed):
    """Boards with 0, 1, ... and all cells unknown."""
    rng = np.random.default_rng(seed)
    question = rng.integers(1, DIGITS + 1, (BOARDS, CELLS))
    for board, unknown in zip(question, (0, 1, 5, 9, 12, CELLS), strict=True):
        board[rng.permutation(CELLS)[:unknown]] = 0
    return question.astype(np.int32)


def oracle(predict, question, start, k, select):
    """One board at a time, as the posts' code does it."""
    boards, passes = [], []
    for board, z in zip(question, start, strict=True):
        z, left, count = z.copy(), [cell for cell in range(CELLS) if board[cell] == 0], 0
        while left:
            share = np.float32([len(left) / (board == 0).sum()])
            jump, holding, confidence = (np.asarray(each[0]) for each in predict(z[None], share))
            score = holding if select == "holding" else confidence
            chosen = sorted(left, key=lambda cell: (-score[cell], cell))[:k]
            for cell in chosen:
                z[cell] = int(np.argmax(jump[cell])) + 1
            left = [cell for cell in left if cell not in chosen]
            count += 1
        boards.append(z)
        passes.append(count)
    return np.array(boards), np.array(passes)


@pytest.mark.parametrize("select", ["holding", "confidence"])
@pytest.mark.parametrize("mask_id", [None, MASK])
def test_agrees_with_the_loop(key, select, mask_id):
    predict = toy_predict(3, levels=2)

    @jax.jit
    def scores(z_BxS, share_B):
        jump, holding = predict(z_BxS, share_B)
        return jump, holding, jax.nn.softmax(jump).max(-1)

    for k in (1, 2, 4, 7, 16):
        question = questions(k)

        @jax.jit
        def decode(key, question=question, k=k):
            run = partial(k_pass, predict, jnp.asarray(question), k=k, digits=DIGITS, select=select, mask_id=mask_id)
            found = run(key)
            return run(jax.random.clone(key), passes=0).board, found.board, found.calls

        start, board, passes = decode(jax.random.clone(key))
        expected, expected_passes = oracle(scores, question, np.asarray(start), k, select)
        np.testing.assert_array_equal(board, expected)
        np.testing.assert_array_equal(passes, expected_passes)
        np.testing.assert_array_equal(passes, np.ceil((question == 0).sum(1) / k))


@pytest.mark.parametrize("mask_id", [None, MASK])
def test_start_touches_unknown_cells_only(key, mask_id):
    question = jnp.asarray(questions(0))
    start = k_pass(toy_predict(0, 1), question, key, 1, DIGITS, mask_id=mask_id, passes=0).board
    unknown = np.asarray(question == 0)
    np.testing.assert_array_equal(start[~unknown], question[~unknown])
    if mask_id is None:
        assert ((start >= 1) & (start <= DIGITS)).all()
    else:
        assert (start[unknown] == mask_id).all()


def test_random_start_is_uniform(key):
    start = k_pass(toy_predict(0, 1), jnp.zeros((500, CELLS), jnp.int32), key, 1, DIGITS, passes=0).board
    share = np.bincount(np.asarray(start).ravel(), minlength=DIGITS + 1)[1:] / start.size
    # Standard error of a share is 0.0048 at 8,000 cells; 5 of them, alpha = 4 x 6e-7.
    np.testing.assert_allclose(share, 1 / DIGITS, atol=0.025)


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int32])
def test_givens_stay_and_blanks_are_filled(key, dtype):
    question = jnp.asarray(questions(1), dtype)
    board = k_pass(toy_predict(1, 100), question, key, 3, DIGITS).board
    assert board.dtype == dtype
    known = np.asarray(question != 0)
    np.testing.assert_array_equal(board[known], question[known])
    assert ((board >= 1) & (board <= DIGITS)).all()


def test_history_holds_what_each_pass_started_from(key):
    question = jnp.asarray(questions(2))
    run = jax.jit(partial(k_pass, toy_predict(2, 100), k=5, digits=DIGITS, history=6))
    found = run(question, jax.random.clone(key), passes=9)
    for passes in range(6):
        board = run(question, jax.random.clone(key), passes=passes).board
        np.testing.assert_array_equal(found.history[passes], board)
    np.testing.assert_array_equal(found.history[-1], found.board)


def test_commits_minus_infinite_scores_last_but_does_commit_them(key):
    def predict(z_BxS, share_B):
        return jnp.zeros((*z_BxS.shape, DIGITS)).at[..., 2].set(1.0), jnp.full(z_BxS.shape, -jnp.inf)

    board = k_pass(predict, jnp.zeros((1, CELLS), jnp.int32), key, 4, DIGITS, passes=2).board
    assert (board[0, :8] == 3).all() and not (board[0, 8:] == 3).all()


def test_vmaps_over_replicas(key):
    question = jnp.asarray(questions(5))
    predict = toy_predict(5, 100)
    split = partial(jax.random.split, num=3)
    many = jax.vmap(lambda key: k_pass(predict, question, key, 4, DIGITS))(split(jax.random.clone(key)))
    for index, one in enumerate(split(key)):
        board = k_pass(predict, question, one, 4, DIGITS).board
        np.testing.assert_array_equal(many.board[index], board)
    assert many.calls.shape == (3, BOARDS)


# ---------------------------------------------------------------- in blocks


def many(seed):
    """Boards with any number of unknown cells, in no order."""
    rng = np.random.default_rng(seed)
    boards = rng.integers(1, DIGITS + 1, (MANY, CELLS))
    return jnp.asarray(np.where(rng.random((MANY, CELLS)) < rng.random((MANY, 1)), 0, boards), jnp.int32)


def completed(key, boards, mask_id=MASK, **how):
    """What ``complete`` is: it reads the question and, as a model does, numbers of each board."""
    question, shift = boards

    def predict(z_BxS, share_B):
        jump, holding = toy_predict(3, 2)(z_BxS, share_B)
        return jump + shift[:, None, None] * jnp.arange(DIGITS)[None, None], holding

    return k_pass(predict, question, key, 2, DIGITS, mask_id=mask_id, history=3, **how)


@pytest.mark.parametrize("devices", [0, 1, 2, 4])
@pytest.mark.parametrize("size", [1, 5, 12, 36, MANY, 100])
def test_blocks_are_all_boards_at_once(key, size, devices):
    boards = many(size), jax.random.normal(jax.random.key(1), MANY)
    whole = jax.jit(completed)(jax.random.clone(key), boards)
    found = jax.jit(
        lambda key: in_blocks(completed, key, boards, boards[0], size, devices=jax.local_devices()[:devices])
    )(key)
    assert np.unique(whole.calls).size > 3
    for ours, expected in zip(found, whole, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_each_block_starts_from_noise_of_its_own_and_one_block_from_the_key(key):
    blank = jnp.zeros((MANY, CELLS), jnp.int32), jnp.zeros(MANY)
    start = partial(completed, mask_id=None, passes=0)
    noise, alone = (
        jax.jit(lambda key, size=size: in_blocks(start, key, blank, blank[0], size).board) for size in (5, MANY)
    )
    assert len(np.unique(noise(jax.random.clone(key)), axis=0)) == MANY
    np.testing.assert_array_equal(alone(jax.random.clone(key)), start(key, blank).board)
