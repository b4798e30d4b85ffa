"""Samplers that may revise a cell, against loops over boards and cells, exact laws, and heads that know the answer."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gidd_jax import sampling, schedules

DIGITS, CELLS, BOARDS = 4, 16, 6
MASK = DIGITS + 1
ALPHA = 1e-3
UNIFORM = schedules.linear(DIGITS + 1, DIGITS, 1.0)
ANSWER = jnp.asarray([[1, 2, 3, 4, 3, 4, 1, 2, 2, 1, 4, 3, 4, 3, 2, 1]] * BOARDS, jnp.int32)
FIRST = jax.random.randint(jax.random.key(7), ANSWER.shape, 1, DIGITS + 1)
STEPS = 24
DIALS = dict(k=1, temperature=0.0, spread=0.0, threshold=0.0)
TRACES = []


def questions():
    """The answer with 0, 1, ... and all cells unknown."""
    rng, question = np.random.default_rng(0), np.array(ANSWER)
    for board, unknown in zip(question, (0, 1, 5, 9, 12, CELLS), strict=True):
        board[rng.permutation(CELLS)[:unknown]] = 0
    return jnp.asarray(question)


def toy_predict(seed):
    """A predictor that depends on the whole board and on t."""
    weights = np.random.default_rng(seed).normal(size=(CELLS, CELLS, DIGITS + 1)).astype(np.float32) / 4

    def predict(z, t):
        TRACES.append(seed)
        logits = jnp.einsum("bs,scv->bcv", z.astype(jnp.float32), weights) + t[:, None, None] * weights[:1]
        return logits[..., :DIGITS], logits[..., DIGITS]

    return predict


def blind_jump(z, t):
    return jnp.zeros((*z.shape, DIGITS)), jnp.zeros(z.shape)


PREDICTORS = {"toy": toy_predict(0), "oracle holding": sampling.oracle_holding(blind_jump, ANSWER)}
PREDICTORS["oracles"] = sampling.oracle_holding(sampling.oracle_jump(blind_jump, ANSWER), ANSWER)


def chosen(which):
    """The predictor of that place in PREDICTORS, traced: few programs serve all tests."""
    return lambda z, t: jax.lax.switch(which, list(PREDICTORS.values()), z, t)


def place(name):
    return jnp.int32(list(PREDICTORS).index(name))


@partial(jax.jit, static_argnames="select")
def resample_by(which, question, key, steps, first, dials, select):
    return sampling.resample(
        chosen(which), question, key, steps, DIGITS, select=select, first=first, history=STEPS, **dials
    )


@jax.jit
def remask_by(which, question, key, steps, dials):
    return sampling.remask(chosen(which), question, key, steps, DIGITS, MASK, history=STEPS, **dials)


def resample(question, seed=0, steps=STEPS, name="toy", select="holding", **numbers):
    dials = {name: jnp.asarray(value) for name, value in (DIALS | numbers).items()}
    return resample_by(
        place(name), question, jax.random.key(seed), jnp.int32(steps), FIRST.astype(question.dtype), dials, select
    )


def remask(question, seed=0, steps=STEPS, name="toy", **numbers):
    dials = {name: jnp.asarray(value) for name, value in (DIALS | numbers).items() if name != "threshold"}
    return remask_by(place(name), question, jax.random.key(seed), jnp.int32(steps), dials)


@jax.jit
def ancestral_by(which, question, key):
    times = sampling.time_grid(UNIFORM, STEPS)
    return sampling.two_head_ancestral(chosen(which), question, key, UNIFORM, times)


def ancestral(question, name="toy"):
    return ancestral_by(place(name), question, jax.random.key(0))


# ---------------------------------------------------------------- what both heads believe


def full_posterior(jump, h, z, wrong):
    """P(x_i = v | all cells) of one cell in float64."""
    J = np.exp(jump - jump.max()) / np.exp(jump - jump.max()).sum()
    if wrong:
        J = np.where(np.arange(DIGITS) == z, 0, J) / (1 - J[z] if z < DIGITS else 1)
    h = 1.0 if z == DIGITS else h
    return (1 - h) * (np.arange(DIGITS) == z) + h * J


def transition(P, z, t, s, p_uniform):
    """sum_v P(v) q(z_s | z_t = z, x = v) by Bayes' rule on the forward process's own probabilities."""

    def forward(x, rate):  # q(. | x) over digits and the mask
        noise = np.append(np.full(DIGITS, p_uniform / DIGITS), 1 - p_uniform)
        return (1 - rate) * (np.arange(DIGITS + 1) == x) + rate * noise

    total, step = np.zeros(DIGITS + 1), 1 - (1 - t) / (1 - s)
    for v in range(DIGITS):
        joint = forward(v, s) * np.array([forward(u, step)[z] for u in range(DIGITS + 1)])
        if P[v] > 0:
            total += P[v] * joint / joint.sum()
    return total


@pytest.mark.parametrize("wrong", [False, True])
@pytest.mark.parametrize("p_uniform", [1.0, 0.4, 0.0])
def test_the_reverse_step_is_the_mixture_over_what_both_heads_believe(wrong, p_uniform):
    rng = np.random.default_rng(1)
    jump, holding = rng.normal(size=(1, 40, DIGITS)), rng.normal(size=(1, 40)) * 2
    z = rng.integers(0, DIGITS + (p_uniform < 1), (1, 40))
    if p_uniform == 0:
        holding[z < DIGITS] = -np.inf  # what masked noise has left alone was never resampled
    schedule = schedules.linear(DIGITS + 1, DIGITS, p_uniform)
    h = 1 / (1 + np.exp(-holding))
    arrays = jnp.asarray(jump, jnp.float32), jnp.asarray(holding, jnp.float32), jnp.asarray(z)
    found = np.exp(sampling.posterior(*arrays, wrong))
    expected = [full_posterior(jump[0, i], h[0, i], z[0, i], wrong) for i in range(40)]
    np.testing.assert_allclose(found[0], expected, atol=1e-6)
    for t, s in ((0.999, 0.9), (0.6, 0.5), (0.5, 0.01)):
        believed = jax.nn.softmax(sampling.belief(schedule, *arrays, t, wrong))
        step = sampling.reverse_probs(schedule, believed, z, t, s)
        mixture = [transition(P, z[0, i], t, s, p_uniform) for i, P in enumerate(expected)]
        np.testing.assert_allclose(step[0], mixture, atol=2e-5)


def test_heads_that_agree_believe_the_jump():
    rng = np.random.default_rng(2)
    t, z = 0.3, rng.integers(0, DIGITS, (1, 40))
    J = rng.dirichlet(np.ones(DIGITS), (1, 40))
    at_z = np.take_along_axis(J, z[..., None], -1)[..., 0]
    h = {False: t / DIGITS / ((1 - t) * at_z + t / DIGITS)}
    h[True] = h[False] * (1 - at_z)
    for wrong in (False, True):
        heads = jnp.log(jnp.asarray(J, jnp.float32)), jax.scipy.special.logit(jnp.asarray(h[wrong], jnp.float32))
        believed = jax.nn.softmax(sampling.belief(UNIFORM, *heads, jnp.asarray(z), t, wrong))
        np.testing.assert_allclose(believed[..., :-1], J, atol=1e-5)


TRUTH = np.array([0.55, 0.3, 0.13, 0.02])


def exact_heads(z, t):
    """The true jump and holding of a cell whose digit is drawn from TRUTH, whatever its neighbour."""
    J = jnp.asarray(TRUTH, jnp.float32)
    noise = t[:, None] / DIGITS
    h = noise / ((1 - t[:, None]) * J[z - 1] + noise)
    return jnp.broadcast_to(jnp.log(J), (*z.shape, DIGITS)), jax.scipy.special.logit(h)


def p_value(board):
    counts = np.bincount(np.asarray(board)[:, 1] - 1, minlength=DIGITS)
    return stats.chisquare(counts, TRUTH * len(board)).pvalue


@pytest.mark.parametrize("by_holding", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_exact_heads_draw_the_exact_law_of_one_unknown_cell(by_holding):
    question = jnp.asarray([[3, 0]] * 20_000)
    run = jax.jit(partial(sampling.two_head_ancestral, exact_heads, by_holding=by_holding))
    found = run(question, jax.random.key(0), UNIFORM, sampling.time_grid(UNIFORM, 6))
    assert p_value(found.board) > ALPHA
    assert (found.board[:, 0] == 3).all()


@pytest.mark.slow
def test_a_belief_that_has_seen_z_counts_it_twice():
    """The control: the same walk with P in place of p does not draw the law, and the test above would see it."""
    question, times = jnp.zeros((20_000, 2), jnp.int32), sampling.time_grid(UNIFORM, 6)

    def denoise(z, t):
        return jnp.pad(sampling.posterior(*exact_heads(z + 1, t), z), [(0, 0), (0, 0), (0, 1)])

    first = jax.random.randint(jax.random.key(0), question.shape, 0, DIGITS)
    z = sampling.ancestral(jax.random.key(1), UNIFORM, denoise, first, times)
    assert p_value(z + 1) < 1e-9


def test_resampling_one_unknown_cell_draws_from_the_jump():
    run = jax.jit(partial(sampling.resample, exact_heads, digits=DIGITS))
    found = run(jnp.asarray([[3, 0]] * 20_000), jax.random.key(0), steps=2)
    assert p_value(found.board) > ALPHA


# ---------------------------------------------------------------- heads that know the answer


def test_resampling_with_both_oracles_mends_every_wrong_cell_and_stops():
    for k in (1, 3, 16):
        found = resample(questions(), k, name="oracles", k=k)
        np.testing.assert_array_equal(found.board, ANSWER)
        left = (np.asarray(found.history) != np.asarray(ANSWER)).sum(-1)
        # The last call finds nothing that is wrong; the board without unknown cells needs none.
        np.testing.assert_array_equal(found.calls, -(-left[0] // k) + (np.arange(BOARDS) > 0))
        np.testing.assert_array_equal(left, np.maximum(left[:1] - k * np.arange(STEPS)[:, None], 0))


def test_the_others_with_both_oracles_end_at_the_answer():
    for run in (ancestral, partial(remask, k=2)):
        np.testing.assert_array_equal(run(questions(), name="oracles").board, ANSWER)


def test_oracle_holding_leaves_right_cells_alone_until_a_blind_jump_hits():
    found = resample(questions(), steps=200, name="oracle holding", k=16, temperature=1.0)
    right = np.asarray(found.history) == np.asarray(ANSWER)
    assert (right[1:] >= right[:-1]).all() and not right[3].all()
    # A wrong cell comes right with probability 1/4 a step: one of 16 is left after 100 steps with probability 5e-12.
    np.testing.assert_array_equal(found.board, ANSWER)
    assert (found.calls < 100).all()


def test_an_oracle_changes_its_own_head_only():
    z, t = questions(), jnp.ones(BOARDS)
    jump, holding = PREDICTORS["toy"](z, t)
    swapped, kept = sampling.oracle_jump(PREDICTORS["toy"], ANSWER)(z, t)
    np.testing.assert_array_equal(jnp.argmax(swapped, -1) + 1, ANSWER)
    np.testing.assert_array_equal(kept, holding)
    kept, swapped = sampling.oracle_holding(PREDICTORS["toy"], ANSWER)(z, t)
    np.testing.assert_array_equal(kept, jump)
    np.testing.assert_array_equal(swapped > 0, z != ANSWER)


# ---------------------------------------------------------------- against loops


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


toy = jax.jit(PREDICTORS["toy"])


def resample_loop(z, unknown, steps, k, select, threshold):
    """One board, cell by cell, at temperature 0 and spread 0."""
    z, t, calls = z.copy(), 1.0, 0
    steps = steps if unknown.any() else 0
    for _ in range(steps):
        jump, holding = (np.asarray(each[0], np.float64) for each in toy(z[None], np.float32([t])))
        J = np.exp(log_softmax(jump))
        d = 1 / (1 + np.exp(-holding)) if select == "holding" else 1 - J[np.arange(CELLS), z - 1]
        calls += 1
        doubted = [cell for cell in range(CELLS) if unknown[cell] and d[cell] > threshold]
        if not doubted:
            break
        for cell in sorted(doubted, key=lambda cell: -d[cell])[:k]:
            z[cell] = np.argmax(jump[cell]) + 1
        t = max(d[unknown].mean(), 1 / CELLS)
    return z, calls


@pytest.mark.parametrize("select", ["holding", pytest.param("confidence", marks=pytest.mark.slow)])
def test_resampling_agrees_with_the_loop(select):
    question = questions()
    start = np.where(question == 0, FIRST, question)
    for k, steps, threshold in ((1, 9, 0.0), (3, 4, 0.6), (16, 7, 0.75)):
        found = resample(question, steps=steps, select=select, k=k, threshold=threshold)
        for i, board in enumerate(start):
            z, calls = resample_loop(board, np.asarray(question[i] == 0), steps, k, select, threshold)
            np.testing.assert_array_equal(found.board[i], z)
            assert found.calls[i] == calls


def remask_loop(z, unknown, steps, k):
    """One board at temperature 0 and spread 0 -> the boards before each step and after the last."""
    z, sure, past = np.where(unknown, MASK, z), np.zeros(CELLS), []
    total = unknown.sum()
    for i in range(steps):
        past.append(z.copy())
        masked = [cell for cell in range(CELLS) if unknown[cell] and z[cell] == MASK]
        shown = [cell for cell in range(CELLS) if unknown[cell] and z[cell] != MASK]
        t = len(masked) / max(total, 1) if i else 1.0
        jump = np.asarray(toy(z[None], np.float32([t]))[0][0], np.float64)
        best = log_softmax(jump).max(-1)
        goal = total * (i + 1) // steps
        again = min(k, len(shown), total - goal)
        for cell in sorted(shown, key=lambda cell: sure[cell])[:again]:
            z[cell] = MASK
        for cell in sorted(masked, key=lambda cell: -best[cell])[: goal - len(shown) + again]:
            z[cell], sure[cell] = np.argmax(jump[cell]) + 1, best[cell]
    return [*past, z]


def test_masking_again_agrees_with_the_loop():
    question = questions()
    unknown = np.asarray(question == 0)
    for k, steps in ((0, 5), (1, 11), (3, STEPS)):
        found = remask(question, steps=steps, k=k)
        history = np.asarray(found.history)[:steps]
        for i in range(BOARDS):
            past = remask_loop(np.asarray(ANSWER[i]), unknown[i], steps, k)
            np.testing.assert_array_equal([*history[:, i], found.board[i]], past)
        pace = unknown.sum(1) - unknown.sum(1) * np.arange(steps)[:, None] // steps
        np.testing.assert_array_equal((history == MASK).sum(-1), pace)
    revealed = history != MASK
    assert (revealed[:-1] & ~revealed[1:]).sum() > 20


# ---------------------------------------------------------------- draws, givens, batches, programs


def test_spread_draws_cells_with_weights_of_their_distrust():
    d = np.array([0.05, 0.1, 0.2, 0.3, 0.6])

    def predict(z, t):
        jump = jnp.zeros((*z.shape, DIGITS)).at[..., 1].set(9.0)
        return jump, jnp.broadcast_to(jax.scipy.special.logit(jnp.asarray(d, jnp.float32)), z.shape)

    question = jnp.zeros((20_000, 5), jnp.int32)
    run = jax.jit(partial(sampling.resample, predict, digits=DIGITS, steps=1, temperature=0.0))
    found = run(question, jax.random.key(0), spread=1.0, first=jnp.ones_like(question)).board
    assert ((found == 2).sum(1) == 1).all()
    assert stats.chisquare((found == 2).sum(0), d / d.sum() * 20_000).pvalue > ALPHA
    found = run(question, jax.random.key(0), spread=0.0, first=jnp.ones_like(question)).board
    np.testing.assert_array_equal((found == 2).sum(0), [0, 0, 0, 0, 20_000])


@pytest.mark.parametrize("dtype", [jnp.int32, pytest.param(jnp.uint8, marks=pytest.mark.slow)])
def test_givens_stay_blanks_are_filled_and_some_cells_are_revised_again(dtype):
    question = questions().astype(dtype)
    given = np.asarray(question != 0)
    hot = dict(temperature=1.0, spread=1.0, k=3)
    for run in (ancestral, partial(resample, **hot), partial(remask, **hot)):
        found = run(question)
        assert found.board.dtype == found.history.dtype == dtype
        assert found.history.shape == (STEPS, BOARDS, CELLS)
        assert ((found.board >= 1) & (found.board <= DIGITS)).all()
        assert (found.calls <= STEPS).all() and found.calls[-1] == STEPS
        past = np.asarray([*found.history, found.board])
        np.testing.assert_array_equal(past[:, given], np.broadcast_to(question[given], (STEPS + 1, given.sum())))
        assert ((past[1:] != past[:-1]).sum(0) > 1).sum() > 10


def test_boards_do_not_see_each_other():
    question = questions()
    others = question[::-1].at[3].set(question[3])
    for run in (resample, remask):
        found, beside_others = run(question, k=2), run(others, k=2)
        np.testing.assert_array_equal(found.board[3], beside_others.board[3])
        assert (found.board != beside_others.board).any()


def test_one_program_serves_all_numbers_and_asks_nothing_of_the_host():
    numbers = [(3, 1, 0.5, 0.0, 0.2), (20, 2, 0.0, 1.0, 0.0), (0, 16, 1.0, 0.5, 0.5)]
    names = ("k", "temperature", "spread", "threshold")
    settings = [(jnp.int32(steps), dict(zip(names, map(jnp.asarray, dials), strict=True))) for steps, *dials in numbers]
    question, which, keys = questions(), place("toy"), [jax.random.key(i) for i in range(3)]
    before = len(TRACES)
    with jax.transfer_guard("disallow"):
        found = [
            (
                resample_by(which, question, key, steps, FIRST, dials, "holding"),
                remask_by(which, question, key, steps, {name: dials[name] for name in names[:-1]}),
            )
            for key, (steps, dials) in zip(keys, settings, strict=True)
        ]
    assert len(TRACES) - before <= 2
    for (resampled, remasked), (steps, *_) in zip(found, numbers, strict=True):
        np.testing.assert_array_equal(remasked.calls, [0, *[steps] * (BOARDS - 1)])
        assert (resampled.calls <= steps).all() and int(resampled.calls[-1]) == steps


@pytest.mark.slow
def test_vmaps_over_replicas():
    dials = dict(k=2, temperature=1.0, spread=0.0, threshold=0.4)
    run = lambda key: resample_by(place("toy"), questions(), key, 8, FIRST, dials, "holding")  # noqa: E731
    many = jax.vmap(run)(jax.random.split(jax.random.key(0), 3))
    for index, key in enumerate(jax.random.split(jax.random.key(0), 3)):
        jax.tree.map(lambda row, one, i=index: np.testing.assert_array_equal(row[i], one), many, run(key))
