"""What a replica of the Sudoku study trains on and is told of, against loops over batches, cells and iterations."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gidd_jax.models import two_head
from gidd_jax.models.two_head import Couplings
from gidd_jax.sampling import Walk
from gidd_jax.studies import sudoku, sudoku_decoding, sudoku_evaluation, sudoku_model, sudoku_samplers
from gidd_jax.train import TrainState

TINY = dict(data="4x4", d_model=8, heads=2, layers=1, batch=8, eval_boards=20, decode_boards=2, decode=(16,), steps=10)
BOTH = dict(gated=True, iterations=2)
"""Both cross paths, both heads deep."""
RAMPED = dict(attention=1.0, ramp_steps=8, gradient=0.25, gradient_jump=0.5, gate=0.2)
forward = partial(jax.jit, static_argnames=("config", "cross"))(two_head.apply)


def world(**settings):
    """Config, data on the device, and random parameters in which nothing is 0."""
    config = sudoku.Config(**TINY | settings)
    data = jax.tree.map(jnp.asarray, sudoku.load(config)[0])
    model, rng = sudoku_model.shape(config, data), np.random.default_rng(0)
    draw = lambda leaf: jnp.asarray(rng.normal(0, 0.4, leaf.shape), jnp.float32)  # noqa: E731
    return config, data, model, jax.tree.map(draw, two_head.shapes(model))


def terms(heads, shown, label):
    """Cross-entropies [I] of both heads in nats, pooled over the batch as each of them is asked."""
    x = jnp.broadcast_to(shown.x, heads.holding.shape)
    jump = optax.softmax_cross_entropy_with_integer_labels(heads.jump, x)
    holding = optax.sigmoid_binary_cross_entropy(heads.holding, jnp.broadcast_to(label, x.shape).astype(float))
    pooled = lambda term, where: (term * where[None]).sum((1, 2)) / where.sum()  # noqa: E731
    return pooled(jump, shown.resampled), pooled(holding, ~shown.given)


# ---------------------------------------------------------------- training


def test_the_loss_is_that_of_the_dials_of_its_step_over_all_iterations():
    config, data, model, params = world(**BOTH)
    hyper = sudoku.Hyper(**RAMPED, jump_weight=0.7, holding_weight=1.3, gate_truth=0.6, truth_steps=8)
    shown = sudoku.batch(jax.random.key(1), hyper, config, data, jnp.int32(4))
    dials = Couplings(0.5, 0.25, 0.5, 0.2, gate_truth=0.3)
    heads = forward(params, model, shown.z + 1, shown.given, shown.t, dials, truth=shown.resampled)
    jump, holding = terms(heads, shown, shown.label)
    told = jax.jit(lambda hyper: sudoku.loss(params, shown, jax.random.key(2), hyper, config, data, jnp.int32(4)))
    value, metrics = told(hyper)
    np.testing.assert_allclose(value, 0.7 * jump.mean() + 1.3 * holding.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], value)
    # What is shown of a batch is its last iteration.
    np.testing.assert_allclose(metrics["jump_loss"].value(), jump[-1], rtol=1e-5)
    np.testing.assert_allclose(metrics["holding_loss"].value(), holding[-1], rtol=1e-5)
    # The labels of another board are learnt from, those of the board itself are told of.
    value, metrics = told(hyper._replace(shuffled_label=1))
    shuffled = terms(heads, shown, jnp.concatenate([shown.label[-1:], shown.label[:-1]]))[1]
    np.testing.assert_allclose(value, 0.7 * jump.mean() + 1.3 * shuffled.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["holding_loss"].value(), holding[-1], rtol=1e-5)
    assert abs(shuffled - holding).min() > 1e-3
    # At this step one head is not trained yet, or no longer.
    np.testing.assert_allclose(told(hyper._replace(jump_from=5))[0], 1.3 * holding.mean(), rtol=1e-5)
    np.testing.assert_allclose(told(hyper._replace(holding_until=4))[0], 0.7 * jump.mean(), rtol=1e-5)


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_training_drops_units_by_its_key_where_the_config_has_a_rate(rate):
    config, data, _, params = world(dropout=rate)
    hyper = sudoku.Hyper()
    shown = sudoku.batch(jax.random.key(1), hyper, config, data, jnp.int32(0))
    told = jax.jit(lambda key: sudoku.loss(params, shown, key, hyper, config, data, jnp.int32(0))[0])
    one, again, other = (float(told(jax.random.key(seed))) for seed in (2, 2, 3))
    assert one == again and (one != other) == (rate > 0)


def test_every_weight_counts_its_own_term_while_its_head_trains():
    names = (
        "jump_weight",
        "holding_weight",
        "divergence_weight",
        "divergence_resampled_weight",
        "interpolating_weight",
    )
    hyper = sudoku.Hyper(**dict(zip(names, (0.1, 0.2, 0.3, 0.4, 0.5), strict=True)), jump_from=3, holding_until=5)
    for i, expected in ((2, (0, 2, 3, 4, 5)), (3, (1, 2, 3, 4, 5)), (4, (1, 2, 3, 4, 5)), (5, (1, 0, 0, 0, 0))):
        np.testing.assert_allclose(sudoku_model.weights(hyper, jnp.int32(i)), np.divide(expected, 10), rtol=1e-6)
    always = hyper._replace(holding_until=0)
    np.testing.assert_allclose(sudoku_model.weights(always, jnp.int32(99)), [0.1, 0.2, 0.3, 0.4, 0.5], rtol=1e-6)


@pytest.mark.parametrize("trunk", ["shared", "towers"])
def test_parameters_move_while_the_loss_they_serve_counts(trunk):
    """By step: (holding head, jump head, shared trunk); a tower moves with its head."""
    *_, params = world(trunk=trunk, iterations=2)
    until = dict(trunk_until=4) if trunk == "shared" else {}
    hyper = sudoku.Hyper(jump_from=2, holding_until=5, **until)
    for i, holding, jump, shared in ((1, 1, 0, 1), (2, 1, 1, 1), (3, 1, 1, 1), (4, 1, 1, 0), (5, 0, 1, 0)):
        found = sudoku_model.trains(params, hyper, jnp.int32(i))
        for name, part in found.items():
            own = {"holding": [holding], "jump": [jump], "feedback": [jump]}
            expected = own.get(name, [shared] if trunk == "shared" else [holding, jump])
            for moves, leaf in zip(jax.tree.leaves(part), jax.tree.leaves(params[name]), strict=True):
                rows = np.broadcast_to(moves, leaf.shape).reshape(len(expected), -1)
                assert (rows == np.array(expected)[:, None]).all()
    always = sudoku_model.trains(params, sudoku.Hyper(), jnp.int32(999))
    assert all(np.all(leaf) for leaf in jax.tree.leaves(always))


@pytest.mark.parametrize("even", [False, True])
def test_times_of_a_batch_are_at_least_one_cell_and_even_if_asked(even):
    config, data, *_ = world(batch=64, low_discrepancy=even)
    draw = jax.jit(lambda key: sudoku.batch(key, sudoku.Hyper(), config, data, jnp.int32(0)).t)
    t = np.array([draw(jax.random.key(seed)) for seed in range(20)])
    assert t.min() == np.float32(1 / 16) and t.max() < 1
    counts = np.histogram(t, np.arange(2, 17) / 16)[0].reshape(14) / 20  # 4 of 64 in each sixteenth above the clamp
    per_batch = np.array([np.histogram(row, np.arange(2, 17) / 16)[0] for row in t])
    assert (per_batch.min() >= 3 and per_batch.max() <= 5) == even
    np.testing.assert_allclose(counts, 4, atol=4 * np.sqrt(4 / 20))  # 4 standard errors a bin: alpha 1e-3 of all 14


def test_a_head_is_asked_what_the_config_says():
    for label in ("resampled", "wrong"):
        config, data, *_ = world(label=label, batch=64)
        shown = sudoku.batch(jax.random.key(0), sudoku.Hyper(), config, data, jnp.int32(0))
        wrong = np.asarray(shown.z != shown.x)
        np.testing.assert_array_equal(shown.label, wrong if label == "wrong" else shown.resampled)
        assert (wrong <= np.asarray(shown.resampled)).all() and wrong.sum() < np.asarray(shown.resampled).sum()


def test_the_study_shapes_its_model_and_its_noise():
    data = {"question": np.zeros((1, 36), np.uint8)}
    model = sudoku_model.shape(sudoku.Config(data="6x6", d_model=16, d_ff=24, heads=2), data)
    assert (model.cells, model.digits, model.box_rows, model.box_cols, model.d_ff) == (36, 6, 2, 3, 24)
    assert sudoku_model.shape(sudoku.Config(data="6x6", d_model=16, heads=2), data).d_ff == 64
    for noise, gated, token in (("uniform", False, False), ("masked", False, True), ("uniform", True, True)):
        assert sudoku_model.shape(sudoku.Config(data="6x6", noise=noise, gated=gated), data).mask_token == token
    for noise, expected in (("uniform", (0.75, 0.25 / 6, 0.0)), ("masked", (0.75, 0.0, 0.25))):
        masses = sudoku_model.noise(sudoku.Config(data="6x6", noise=noise), 6).masses(0.25)
        np.testing.assert_allclose((masses.keep, masses.uniform, masses.mask), expected, atol=1e-7)


# ---------------------------------------------------------------- evaluation


def test_held_out_boards_stand_evenly_in_the_tier_of_their_split():
    config, data, *_ = world(eval_boards=40)
    for split in (0, 1):
        for tier in range(data["count"].shape[1]):
            hyper = sudoku.Hyper(tier=tier)
            shown = sudoku_evaluation._held_out(
                *jax.random.split(jax.random.key(3)), hyper, config, data, jnp.int32(split)
            )
            start, have = int(data["start"][split + 1, tier]), int(data["count"][split + 1, tier])
            at = start + np.arange(40) * have // 40
            np.testing.assert_array_equal(shown.x + 1, data["answer"][at])
            np.testing.assert_array_equal(shown.given, data["question"][at] > 0)
            # Golden-ratio steps leave gaps of three sizes, none above (1 + 1/phi)/n = 1.62/n: no t is left out.
            t = np.sort(shown.t)
            assert t[0] >= 1 / 16 and np.diff(t).max() < 1.7 / 40 and t[-1] > 1 - 1.7 / 40
    # More than there are: every board comes again as often as any other.
    start, have = int(data["start"][2, 0]), int(data["count"][2, 0])
    _, answer = sudoku_evaluation._boards(sudoku.Hyper(), data, jnp.int32(1), 3 * have)
    np.testing.assert_array_equal(answer, np.repeat(data["answer"][start : start + have], 3, axis=0))


def kernel_alignment(x, y):
    """Linear CKA from the centred Gram matrices (Kornblith et al., eq. 3)."""
    grams = []
    for features in (x, y):
        rows = features.reshape(-1, features.shape[-1]).astype(np.float64)
        rows = rows - rows.mean(0)
        grams.append(rows @ rows.T)
    return (grams[0] * grams[1]).sum() / np.sqrt((grams[0] ** 2).sum() * (grams[1] ** 2).sum())


def test_an_evaluation_is_that_of_a_loop_over_batches_and_ways_of_crossing(monkeypatch):
    config, data, model, params = world(average=0.9)
    decoded = []
    monkeypatch.setattr(sudoku_evaluation, "decoded", lambda *a: decoded.append(a) or {})
    state = sudoku.init(jax.random.key(0), sudoku.Hyper(), config, data)
    adam = optax.tree.set(state.optim.adam, count=jnp.int32(4))
    state = TrainState(jax.tree.map(jnp.zeros_like, params), state.optim._replace(adam=adam, average=params))
    hyper, key = sudoku.Hyper(**RAMPED | dict(gate=0.0), tier=1), jax.random.key(5)
    metrics, _ = jax.jit(sudoku.evaluate, static_argnames="config")(state, key, hyper, config, data, jnp.int32(1))
    found = {name: np.asarray(mean.value()) for name, mean in metrics.items() if hasattr(mean, "value")}

    ((_, _, _, _, question, answer, _),) = decoded
    assert question.shape == answer.shape == (2, 16)

    time_key, noise_key, _ = jax.random.split(jax.random.key(5), 3)
    shown = sudoku_evaluation._held_out(time_key, noise_key, hyper, config, data, jnp.int32(1))
    dials = Couplings(0.5, 0.25, 0.5)
    batches = [jax.tree.map(lambda leaf, i=i: leaf[i : i + 8], shown) for i in range(0, 24, 8)]
    loss, bins = {}, np.minimum(np.asarray(shown.t) * 10, 9).astype(int)
    for cross in ("normal", "zero", "shuffle", "random"):
        heads = [forward(params, model, b.z + 1, b.given, b.t, dials, cross=cross) for b in batches]
        jump, holding = (np.concatenate([getattr(each, head)[-1] for each in heads]) for head in ("jump", "holding"))
        digit = np.eye(4, dtype=bool)[np.asarray(shown.x)]
        terms = {"jump": np.log(np.exp(jump).sum(-1)) - jump[digit].reshape(24, 16)}
        terms["holding"] = np.log1p(np.exp(holding)) - shown.label * holding
        where = {"jump": np.asarray(shown.resampled), "holding": ~np.asarray(shown.given)}
        for head, term in terms.items():
            own = [term[bins == b][where[head][bins == b]] for b in range(10)]
            loss[cross, head] = np.array(
                [np.concatenate(own).mean(), *(each.mean() if each.size else 0 for each in own)]
            )
        if cross == "normal":
            alike = np.mean([kernel_alignment(*np.asarray(each.features)) for each in heads])
            score, label = 1 / (1 + np.exp(-holding)), np.asarray(shown.label)
            apart = score[where["holding"] & label].mean() - score[where["holding"] & ~label].mean()
    assert np.bincount(bins, minlength=10).min() > 0
    for cross, head in loss:
        for axis, at in (("", 0), ("/t", slice(1, None))):
            expected = loss[cross, head][at] - (loss["normal", head][at] if cross != "normal" else 0)
            name = f"{head}_loss" if cross == "normal" else f"knockout_{cross}_{head}"
            np.testing.assert_allclose(found[name + axis], expected, rtol=1e-3, atol=1e-5, err_msg=name + axis)
    np.testing.assert_allclose(found["tower_cka"], alike, rtol=1e-3)
    np.testing.assert_allclose(found["separation"], apart, rtol=1e-3)

    @jax.jit
    def gradients(params):
        # Whole, whatever the row lets through in training.
        whole = dials._replace(gradient=1.0, gradient_jump=1.0)
        first, own = batches[0], jax.jacrev(lambda p, b: jnp.stack([x.mean() for x in terms_of(p, b, whole)]))
        return own(params, first)

    def terms_of(params, batch, dials):
        heads = two_head.apply(params, model, batch.z + 1, batch.given, batch.t, dials)
        return globals()["terms"](heads, batch, batch.label)

    both = gradients(params)
    flat = np.concatenate(
        [
            np.reshape(leaf, (2, -1))
            for name, part in both.items()
            if name not in ("jump", "holding")
            for leaf in jax.tree.leaves(part)
        ],
        axis=1,
    ).astype(np.float64)
    cosine = flat[0] @ flat[1] / np.linalg.norm(flat[0]) / np.linalg.norm(flat[1])
    np.testing.assert_allclose(found["gradient_cosine"], cosine, rtol=1e-3, atol=1e-5)
    assert abs(cosine) > 1e-3


@pytest.mark.parametrize("noise", ["uniform", "masked"])
@pytest.mark.parametrize("label", ["resampled", "wrong"])
def test_floors_are_asked_for_the_noise_and_the_question(monkeypatch, noise, label):
    config, data, *_ = world(noise=noise, label=label, eval_boards=8)
    asked = []
    floors = sudoku_evaluation.oracle.holding_floors
    monkeypatch.setattr(sudoku_evaluation.oracle, "holding_floors", lambda *a: asked.append(a) or floors(*a))
    state = jax.eval_shape(lambda key: sudoku.init(key, sudoku.Hyper(), config, data), jax.random.key(0))
    jax.eval_shape(
        lambda state: sudoku.evaluate(state, jax.random.key(0), sudoku.Hyper(), config, data, jnp.int32(0)), state
    )
    ((digits, p_uniform, times, told),) = asked
    assert (digits, p_uniform, told) == (4, float(noise == "uniform"), label)
    assert min(times) == 1 / 16


def test_wrong_branches_are_those_of_the_row_and_the_split(monkeypatch):
    config, data, *_ = world(branch_boards=3, eval_boards=8)
    monkeypatch.setattr(sudoku_evaluation.sudoku_branches, "asked", lambda key, predict, known: {"seen": known})
    monkeypatch.setattr(sudoku_evaluation, "decoded", lambda *a: {})
    state = sudoku.init(jax.random.key(0), sudoku.Hyper(), config, data)
    seen = jax.jit(lambda *a: sudoku.evaluate(state, jax.random.key(0), a[0], config, data, a[1])[0]["seen"])
    for split, tier in ((0, 1), (1, 2)):
        for name, boards in seen(sudoku.Hyper(tier=tier), jnp.int32(split)).items():
            np.testing.assert_array_equal(boards, data["branch"][name][split, tier])


# ---------------------------------------------------------------- decoding


def completed(monkeypatch, config, data, dials=None, **how):
    """The task that a sampler is given for two boards, and what its heads were asked."""
    asked, tasks = [], []

    def heads(params, model, z, given, t, dials):
        asked.append((model, z, given, t, dials))
        return two_head.Heads(jnp.stack([z, 10 * z]), jnp.stack([t, 10 * t]), None)

    def run(sampler, task, key, swaps, answer):
        tasks.append(task)
        return Walk(task.question, jnp.zeros(2, jnp.int32), jnp.zeros((0, *task.question.shape), jnp.int32))

    monkeypatch.setattr(sudoku_decoding.two_head, "apply", heads)
    monkeypatch.setattr(sudoku_decoding.sudoku_samplers, "run", run)
    question = data["question"][:2]
    sudoku_decoding.complete(jax.random.key(0), {}, config, data, question, dials or Couplings(), **how)
    (task,) = tasks
    return task, task.predict(jnp.ones((2, 16), jnp.int32), jnp.full(2, 0.5)), asked[0]


def test_a_sampler_is_given_what_the_config_says_and_the_last_iteration(monkeypatch):
    settings = dict(
        label="wrong", decode_by="confidence", sampler_temperature=0.25, sampler_spread=0.75, sampler_steps=5
    )
    config, data, *_ = world(**settings, iterations=2)
    dials = Couplings(0.5, gate=0.25)
    task, (jump, holding), (_, _, given, _, told) = completed(monkeypatch, config, data, dials, history=3)
    assert (task.select, task.wrong, task.temperature, task.spread) == ("confidence", True, 0.25, 0.75)
    assert (task.steps, task.cells, task.digits, task.mask_id, task.history) == (
        5,
        4,
        4,
        None,
        3,
    )  # 16 cells in 5 steps
    np.testing.assert_array_equal(given, np.asarray(data["question"][:2]) > 0)
    assert told == dials
    assert (jump == 10).all() and (holding == 5).all()


def test_cells_a_step_are_the_callers_then_the_configs_then_enough(monkeypatch):
    config, data, *_ = world(noise="masked", decode_by="confidence", sampler_cells=7, sampler_steps=5)
    task, *_ = completed(monkeypatch, config, data)
    assert (task.cells, task.mask_id) == (7, 5)
    assert completed(monkeypatch, config, data, cells=2)[0].cells == 2
    plain = dataclasses.replace(config, sampler_cells=0, sampler_steps=0)
    task, *_ = completed(monkeypatch, plain, data)
    assert (task.steps, task.cells) == (16, 1)


def test_a_sampler_hands_on_what_it_was_given(monkeypatch, key):
    """Every field of a task reaches the sampler of its name."""
    called, walked = {}, Walk(*(jnp.zeros(size, jnp.int32) for size in ((1, 1), (1,), (0, 1, 1))))
    for name in ("k_pass", "two_head_ancestral", "resample", "remask"):
        sampler = lambda *a, name=name, **k: called.update({name: (a, k)}) or walked  # noqa: E731
        monkeypatch.setattr(sudoku_samplers.sampling, name, sampler)
    schedule = sudoku_model.noise(sudoku.Config(**TINY), 4)
    task = sudoku_samplers.Task("p", "q", schedule, 4, 5, "confidence", True, 6, 3, 0.25, 0.75, 2)
    for name in sudoku_samplers.SAMPLERS:
        sudoku_samplers.run(name, task, key, sudoku_samplers.Swaps(), None)
    assert called["k_pass"] == (("p", "q", key, 3, 4, "confidence", 5), {"history": 2})
    how = {"k": 3, "temperature": 0.25, "spread": 0.75, "history": 2}
    assert called["resample"] == (("p", "q", key, 6, 4), {"select": "confidence"} | how)
    assert called["remask"] == (("p", "q", key, 6, 4, 5), how)
    args, how = called["two_head_ancestral"]
    assert args[:3] == ("p", "q", key) and len(args[4]) == 6 and how == {"wrong": True, "by_holding": False}
    sudoku_samplers.run("ancestral", task._replace(select="holding", wrong=False), key, sudoku_samplers.Swaps(), None)
    assert called["two_head_ancestral"][1] == {"wrong": False, "by_holding": True}


def test_what_boards_are_worth_is_counted_over_unknown_cells():
    question = jnp.asarray([[1, 2, 3, 4, 3, 4, 1, 2, 2, 1, 4, 3, 0, 0, 0, 0], [0] * 16])
    answer = jnp.asarray([[1, 2, 3, 4, 3, 4, 1, 2, 2, 1, 4, 3, 4, 3, 2, 1]] * 2)
    board = answer.at[1, :3].set(jnp.asarray([2, 1, 3]))
    found = sudoku_decoding._worth(Walk(board, None, None), question, answer)
    assert {name: (float(mean.total), float(mean.weight)) for name, mean in found.items()} == {
        "cell_accuracy": (18, 20),
        "puzzle_accuracy": (1, 2),
        "violations": (2, 2),  # two columns; the row and the box still hold every digit
    }
