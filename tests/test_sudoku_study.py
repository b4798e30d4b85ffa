"""The two-head study as one replica: what is trained, and order parameters with their known zeros."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gidd_jax import sweep
from gidd_jax.data import sudoku as sudoku_boards
from gidd_jax.data.sudoku import violations as count_violations
from gidd_jax.errors import InputError
from gidd_jax.studies import sudoku, sudoku_decoding, sudoku_model

TINY = dict(data="4x4", d_model=8, heads=2, layers=1, batch=8, eval_boards=16, decode_boards=8, decode=(4, 16), steps=6)


@functools.cache
def table(**settings):
    """Six steps of one seed at couplings 0 and 1."""
    config = sudoku.Config(**TINY | settings)
    hypers = sweep.grid(sudoku, seed=[0], **{config.dial: [0.0, 1.0]})
    return sweep.run(sudoku, [(config, hypers)]).table


def final(rows, metric, dial, value):
    last = rows[(rows["split"] == "test") & (rows["metric"] == metric) & (rows[dial] == value)]
    return last["value"].to_numpy()


def test_uncoupled_towers_have_no_cross_path_no_common_gradient_and_no_benefit():
    rows = table()
    for metric in ("knockout_zero_jump", "knockout_shuffle_jump", "knockout_zero_holding", "knockout_shuffle_holding"):
        assert final(rows, metric, "attention", 0.0) == 0
        assert final(rows, metric, "attention", 1.0) != 0
    assert final(rows, "gradient_cosine", "attention", 0.0) == 0
    assert final(rows, "gradient_cosine", "attention", 1.0) != 0
    assert final(rows, "benefit_jump", "attention", 0.0) == 0
    jump = [final(rows, "jump_loss", "attention", k) for k in (0.0, 1.0)]
    np.testing.assert_allclose(final(rows, "benefit_jump", "attention", 1.0), jump[0] - jump[1], rtol=1e-6)
    assert 0 < final(rows, "tower_cka", "attention", 0.0) < 1


@pytest.mark.slow
def test_a_shared_trunk_reports_no_tower_and_no_cross_path():
    rows = table(trunk="shared")
    assert not {"tower_cka", "knockout_zero_jump"} & set(rows["metric"])
    # The angle is measured with both gradients let through: a probe has one too.
    for dial in (0.0, 1.0):
        assert 0 < abs(final(rows, "gradient_cosine", "gradient", dial)) < 1


def test_every_average_stands_beside_its_bins():
    rows = table()
    binned = {"jump_loss", "jump_accuracy", "holding_loss", "separation", "precision", "recall", "holding_floor"}
    for metric in binned | {"knockout_zero_jump", "separation_ceiling"}:
        assert metric in set(rows["metric"])
        bins = rows[rows["metric"] == f"{metric}/t"]
        assert set(bins["bin"]) == set(range(10))
        assert set(bins["split"]) >= {"validation", "test"}
    assert set(rows.loc[rows["split"] == "train", "metric"]) >= {"jump_accuracy/t", "holding_loss/t", "gradient_norm"}


SLOW = pytest.mark.slow
VARIANTS = [
    pytest.param(dict(noise="masked"), marks=SLOW),
    pytest.param(dict(gated=True, dial="gate", low_discrepancy=True), marks=SLOW),
    pytest.param(dict(label="wrong", decode_by="confidence", dtype="bfloat16"), marks=SLOW),
    pytest.param(dict(iterations=3, positions="rope", time=True, average=0.9, clip=1.0), marks=SLOW),
    pytest.param(dict(schedule="cosine", warmup=2, frozen="token"), marks=SLOW),
    pytest.param(dict(trunk="shared", norm="post", given=False, dropout=0.1), marks=SLOW),
]


@pytest.mark.parametrize("settings", VARIANTS, ids=lambda s: "-".join(s))
def test_every_variant_trains_to_finite_numbers(settings):
    rows = table(**settings)
    assert final(rows, "alive", sudoku.Config(**TINY | settings).dial, 1.0) == 1
    assert np.isfinite(rows.loc[rows["metric"].isin(["loss", "jump_loss", "holding_loss"]), "value"]).all()


@pytest.mark.slow
def test_masked_noise_gives_the_label_away():
    assert final(table(noise="masked"), "holding_floor", "attention", 0.0) == 0
    assert final(table(noise="masked"), "separation_ceiling", "attention", 0.0) == 1


def test_batches_are_boards_of_the_tier_corrupted_outside_the_givens():
    config = sudoku.Config(**TINY | {"data": "9x9"})
    data, fingerprint = sudoku.load(config)
    assert fingerprint.startswith("class-") and "augment" in data
    on_device = jax.tree.map(jnp.asarray, data)
    tier = 1
    hyper = sudoku.Hyper(tier=tier)
    shown = sudoku.batch(jax.random.key(0), hyper, config, on_device, jnp.int32(0))
    answers = np.array(shown.x) + 1
    assert (count_violations(answers) == 0).all()
    assert (np.array(shown.z == shown.x) | ~np.array(shown.given)).all()
    assert not np.array(shown.resampled & shown.given).any()
    # Turned boards are not in the file, unturned ones are.
    start, count = data["start"][0, tier], data["count"][0, tier]
    stored = {row.tobytes() for row in data["answer"][start : start + count]}
    assert sum(row.tobytes() in stored for row in answers.astype(np.uint8)) < 2
    plain = {k: v for k, v in on_device.items() if k != "augment"}
    shown = sudoku.batch(jax.random.key(1), hyper, config, plain, jnp.int32(0))
    assert all(row.tobytes() in stored for row in (np.array(shown.x) + 1).astype(np.uint8))


def test_paired_settings_see_the_same_boards_times_and_noise():
    config = sudoku.Config(**TINY)
    data = jax.tree.map(jnp.asarray, sudoku.load(config)[0])
    first, second = (
        sudoku.batch(jax.random.key(3), sudoku.Hyper(attention=k), config, data, jnp.int32(0)) for k in (0.0, 1.0)
    )
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_splits_share_no_grid_and_bundled_4x4_boards_are_not_turned():
    data, fingerprint = sudoku.load(sudoku.Config(**TINY))
    assert fingerprint.startswith("grid-") and "augment" not in data
    grids = []
    for split in range(3):
        start, count = data["start"][split, 0], data["count"][split, 0]
        grids.append({row.tobytes() for row in data["answer"][start : start + count]})
    assert not (grids[0] & grids[1] or grids[0] & grids[2] or grids[1] & grids[2])


def test_the_dial_may_ramp():
    config = sudoku.Config(**TINY)
    dials = lambda i, **hyper: sudoku_model.couplings(sudoku.Hyper(**hyper), config, jnp.int32(i)).attention  # noqa: E731
    ramp = dict(attention=1.0, ramp_from=0.5, ramp_steps=4)
    np.testing.assert_allclose([dials(i, **ramp) for i in (0, 1, 2, 4, 100)], [0.5, 0.625, 0.75, 1, 1])
    assert dials(0, attention=0.7) == np.float32(0.7)
    down = dict(attention=0.0, ramp_from=1.0, ramp_steps=2)
    np.testing.assert_allclose([dials(i, **down) for i in (0, 1, 2)], [1, 0.5, 0])
    np.testing.assert_allclose([dials(i, **down, ramp_after=3) for i in (0, 3, 4, 5, 9)], [1, 1, 0.5, 0, 0])


def test_a_trained_model_is_used_with_the_dials_of_its_last_step():
    config = sudoku.Config(**TINY | {"steps": 6})
    for ramp, value in ((dict(ramp_steps=6), 0.8), (dict(ramp_steps=6, ramp_after=3), 0.4), ({}, 0.8)):
        dials = sudoku_model.final_couplings(sudoku.Hyper(attention=0.8, **ramp), config)
        np.testing.assert_allclose(dials.attention, value, rtol=1e-6)


def test_violations_on_the_device_equal_those_on_the_host():
    rng = np.random.default_rng(0)
    for cells, digits in ((16, 4), (36, 6), (81, 9)):
        boards = rng.integers(1, digits + 1, (50, cells)).astype(np.uint8)
        found = sudoku_decoding.violations(jnp.asarray(boards, jnp.int32))
        np.testing.assert_array_equal(found, count_violations(boards))


def test_an_oracle_decodes_every_board(monkeypatch):
    """Heads that know the answer: each decoding fills the board, and the metrics say so."""
    config = sudoku.Config(**TINY)
    data, _ = sudoku.load(config)
    question, answer = data["question"][:8], data["answer"][:8]

    def heads(params, model, z, given, t, dials):
        jump = 9.0 * jax.nn.one_hot(answer.astype(int) - 1, 4)
        return sudoku_decoding.two_head.Heads(jump[None], (z != answer).astype(jnp.float32)[None], None)

    monkeypatch.setattr(sudoku_decoding.two_head, "apply", heads)
    for k in (1, 5, 16):
        dials = sudoku_decoding.two_head.Couplings()
        found = sudoku_decoding.complete(jax.random.key(k), {}, config, data, jnp.asarray(question), dials, cells=k)
        np.testing.assert_array_equal(found.board, answer)


def trained(steps, **dials):
    """The parameters of one row after so many steps, from one start, its labels and boards those of every other."""
    config = sudoku.Config(**TINY | dict(steps=steps, trunk=dials.pop("trunk", "shared"), gated=True))
    return next(iter(sweep.run(sudoku, [(config, sweep.grid(sudoku, seed=[0], **dials))]).states.values())).state.params


def same(one, other, names, tower=slice(None)):
    """Which parts (``trunk``: all but the heads) are equal to the bit, in one tower or all."""
    heads = ("holding", "jump")
    parts = {name: [name] if name in heads else [part for part in one if part not in heads] for name in names}
    return {
        name: all(
            np.array_equal(a[tower], b[tower])
            for part in own
            for a, b in zip(jax.tree.leaves(one[part]), jax.tree.leaves(other[part]), strict=True)
        )
        for name, own in parts.items()
    }


@pytest.mark.slow
def test_what_stands_still_does_not_move_and_the_rest_does():
    """Adam's moments go on pushing a head whose loss no longer counts: updates are masked, not gradients."""
    parts = ("holding", "jump", "trunk")
    for dials, stand in [
        (dict(holding_until=3), {"holding": True, "jump": False, "trunk": False}),
        (dict(holding_until=3, trunk_until=3), {"holding": True, "jump": False, "trunk": True}),
    ]:
        assert same(trained(3), trained(6, **dials), parts) == stand
    waiting = trained(3, jump_from=3)
    assert same(trained(1, jump_from=3), waiting, parts) == {"holding": False, "jump": True, "trunk": False}
    # Towers: a detector first, then the jump tower behind the frozen detector.
    detector, both = (trained(n, trunk="towers", jump_from=3, holding_until=3, gate=1.0) for n in (3, 6))
    assert same(detector, both, ("trunk",), tower=0) == {"trunk": True}
    assert same(detector, both, ("trunk",), tower=1) == {"trunk": False}
    assert same(detector, both, ("holding", "jump")) == {"holding": True, "jump": False}


def test_true_labels_fade_out_of_the_gate_and_evaluation_may_have_a_gate_of_its_own():
    config = sudoku.Config(**TINY, gated=True)
    hyper = sudoku.Hyper(gate=0.5, gate_truth=1.0, truth_steps=4, eval_gate=1.0)
    faded = [float(sudoku_model.couplings(hyper, config, jnp.int32(i)).gate_truth) for i in range(6)]
    np.testing.assert_allclose(faded, [1, 0.75, 0.5, 0.25, 0, 0])
    assert float(sudoku_model.couplings(hyper, config, jnp.int32(6)).gate) == 0.5
    assert float(sudoku_model.final_couplings(hyper, config).gate) == 1.0
    for asked, gate in ((-1.0, 0.5), (0.0, 0.0)):
        assert float(sudoku_model.final_couplings(hyper._replace(eval_gate=asked), config).gate) == gate


@pytest.mark.slow
def test_a_ramped_row_is_no_reference_without_coupling():
    config = sudoku.Config(**TINY)
    columns = dict(seed=[0, 0, 0], attention=[0.0, 1.0, 0.0], ramp_from=[0.0, 0.0, 1.0], ramp_steps=[0, 0, 6])
    rows = sweep.run(sudoku, [(config, sweep.rows(sudoku, **columns))]).table
    gains = rows[(rows["metric"] == "benefit_jump") & (rows["step"] == 6) & (rows["split"] == "test")]
    assert gains.set_index("ramp_from").loc[1.0, "value"] != 0
    assert gains[gains["ramp_from"] == 0].set_index("attention").loc[0.0, "value"] == 0


@pytest.mark.slow
def test_shuffling_takes_another_board_even_in_batches_of_one():
    rows = table(batch=1)
    assert final(rows, "knockout_shuffle_jump", "attention", 1.0) != 0


def test_the_fingerprint_watches_the_order_of_tiers(tmp_path):
    boards = sudoku_boards.load("4x4", limit=60)
    question, answer = ([sudoku_boards.format(row) for row in rows] for rows in (boards.question, boards.answer))
    prints = []
    for swap in (False, True):
        path = tmp_path / f"{swap}.csv"
        names = ["b" if (i % 3 == 0) == swap else "a" for i in range(60)]
        lines = [",".join(row) for row in zip(names, question, answer, strict=True)]
        path.write_text("\n".join(["source,question,answer", *lines]))
        prints.append(sudoku.load(sudoku.Config(**TINY | {"data": str(path)}))[1])
    assert prints[0] != prints[1]


def test_tiers_out_of_range_and_dials_without_effect_are_refused():
    config = sudoku.Config(**TINY | {"trunk": "shared"})
    data, _ = sudoku.load(config)
    with pytest.raises(InputError, match="attention > 0 moves nothing here: it needs --trunk towers"):
        sudoku.check(sweep.grid(sudoku, attention=[0.5]), config, data)
    blind, rows = sudoku.Config(**TINY | {"given": False}), sweep.grid(sudoku, sees_given=[0, 1])
    sudoku.check(rows, sudoku.Config(**TINY), data)
    with pytest.raises(InputError, match="sees_given moves nothing here: it needs --given"):
        sudoku.check(rows, blind, data)
    with pytest.raises(InputError, match="tier 9: no boards of it"):
        sudoku.check(sweep.grid(sudoku, first_tier=9, first_steps=1), config, data)
    with pytest.raises(InputError, match="ramp_after > 0 moves nothing here"):
        sudoku.check(sweep.grid(sudoku, ramp_after=1), config, data)


@pytest.mark.slow
def test_learning_is_visible_on_4x4_boards():
    from gidd_jax.analysis import learning_visible

    config = sudoku.Config(data="4x4", steps=300, d_model=32, layers=2, batch=32, eval_boards=256, decode=(16,))
    hypers = sweep.grid(sudoku, seed=[0, 1], attention=[0.0, 1.0], learning_rate=3e-3)
    visible, _ = learning_visible(sweep.run(sudoku, [(config, hypers)]).table)
    assert visible
