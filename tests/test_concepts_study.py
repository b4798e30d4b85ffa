"""The concept study: every objective by masks, its weights in closed form, rows of one program, the command line."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gidd_jax import cli, export, geometry, sweep
from gidd_jax.errors import InputError
from gidd_jax.studies import concepts, concepts_data, concepts_evaluation, concepts_model
from gidd_jax.studies.concepts_sampling import write
from gidd_jax.studies.concepts_task import Texts, pose, weigh

MASK, B, S = 20, 64, 12
LENGTHS = np.tile([12, 9, 5, 3], B // 4)
VALID = np.arange(S)[None] < LENGTHS[:, None]
IDS = np.where(VALID, np.random.default_rng(0).integers(0, 19, (B, S)), 19)
OTHER = np.where(VALID, (IDS + 5) % 19, 19)
TEXTS = Texts(IDS, VALID, OTHER, VALID)


@functools.cache
def poser():
    return jax.jit(lambda key, hyper: pose(key, TEXTS, hyper, MASK))


def posed(seed=0, **values):
    task = poser()(jax.random.key(seed), jax.tree.map(jnp.float32, concepts.Hyper(**values)))
    return jax.tree.map(np.asarray, task)


def test_self_reconstruction_shows_the_encoder_all_and_the_decoder_what_is_not_masked():
    task = posed()
    np.testing.assert_array_equal(task.seen, IDS)
    np.testing.assert_array_equal(task.keep, VALID)
    np.testing.assert_array_equal(task.target, VALID)
    np.testing.assert_array_equal(task.z, np.where(task.scored, MASK, IDS))
    assert not (task.scored & ~VALID).any()  # padding is never asked for
    # One time in each interval of length 1/B, and a share t of the cells masked: 3 standard errors.
    assert (np.sort((task.t * B).astype(int)) == np.arange(B)).all()
    spread = task.scored.sum() - (task.t[:, None] * VALID).sum()
    assert abs(spread) < 3 * np.sqrt((task.t * (1 - task.t))[:, None] * VALID).sum() ** 0.5 * 2


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31 - 1), st.floats(0.05, 0.9), st.floats(0, 0.1), st.booleans())
def test_prefix_and_rest_never_meet(seed, low, more, causal):
    task = posed(seed, prefix=1.0, split_lo=low, split_hi=low + more, causal=float(causal))
    assert not (task.keep & task.target).any()
    np.testing.assert_array_equal(task.keep | task.target, VALID)
    start = task.keep.sum(1)
    np.testing.assert_array_equal(start, np.argmax(task.target, axis=1))
    assert (start >= 1).all() and (start < LENGTHS).all()
    wanted = np.floor(low * LENGTHS).clip(1, LENGTHS - 1)
    assert (start >= wanted).all() and (start <= np.ceil((low + more) * LENGTHS).clip(1, LENGTHS - 1)).all()
    rows = np.arange(B)
    assert (task.place[rows, start] == 0).all() and (task.place[rows, LENGTHS - 1] == LENGTHS - 1 - start).all()


@pytest.mark.parametrize("prefix", [0.0, 1.0])
def test_an_autoregressive_decoder_sees_the_cell_before(prefix):
    task = posed(prefix=prefix, causal=1.0)
    np.testing.assert_array_equal(task.scored, task.target)
    np.testing.assert_array_equal(task.t, 1.0)
    for b in range(B):
        cells = np.flatnonzero(task.target[b])
        np.testing.assert_array_equal(task.z[b, cells], [MASK, *IDS[b, cells[:-1]]])


def test_deletion_leaves_a_share_and_at_least_one():
    kept = posed(delete=0.6).keep
    # Binomial(sum of lengths, .4): 4 standard deviations, alpha 6e-5.
    assert abs(kept.sum() - 0.4 * VALID.sum()) < 4 * np.sqrt(VALID.sum() * 0.24)
    assert posed(delete=0.999).keep.any(1).all()
    assert posed(t_min=1.0, t_max=1.0).scored.sum() == VALID.sum()


def test_masked_language_modelling_hides_the_same_cells_from_both():
    task = posed(t_min=0.15, t_max=0.15, encoder_noise=1.0)
    np.testing.assert_array_equal(task.seen, task.z)
    np.testing.assert_allclose(task.t, 0.15)


def test_another_view_is_asked_for():
    task = posed(other_view=1.0)
    np.testing.assert_array_equal(task.x, OTHER)
    np.testing.assert_array_equal(task.seen, IDS)


NATS = np.random.default_rng(1).exponential(size=(B, S)).astype(np.float32)


def weighed(task, **values):
    return float(weigh(jnp.asarray(NATS), task, concepts.Hyper(**values)))


@pytest.mark.parametrize("elbo", [0.0, 0.5, 1.0])
def test_at_a_constant_t_every_exponent_is_the_mean_cross_entropy(elbo):
    task = posed(t_min=0.4, t_max=0.4)
    assert weighed(task, elbo=elbo) == pytest.approx(NATS[task.scored].mean(), rel=1e-5)


def test_weights_in_closed_form():
    task = posed(t_min=0.1)
    t = task.t[:, None]
    elbo = np.where(task.scored, NATS / t, 0)
    assert weighed(task, elbo=1.0, per_cell=1.0) == pytest.approx(elbo.sum() / VALID.sum(), rel=1e-5)
    own = elbo.sum() / np.where(task.scored, 1 / t, 0).sum()
    assert weighed(task, elbo=1.0) == pytest.approx(own, rel=1e-5)
    seen = task.target & ~task.scored
    full = (NATS[task.scored].sum() + 0.5 * NATS[seen].sum()) / (task.scored.sum() + 0.5 * seen.sum())
    assert weighed(task, visible_weight=0.5) == pytest.approx(full, rel=1e-5)


TINY = dict(data="kjv", cut="file", limit=120_000, tokenizer="characters", similarity="none", windows=True, length=16)
TINY |= dict(batch=4, d_model=8, concepts=4, heads=2, hidden=8, eval_sequences=8, strata=2, steps=4)
ROWS = dict(
    depth=[1.0, 2.0, 2.0, 1.5, 2.0, 2.0, 2.0, 2.0],
    elbo=[0.0, 1.0, 0.0, 0.5, 1.0, 0.0, 0.0, 0.0],
    prefix=[0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0],
    delete=[0.0, 0.0, 0.0, 0.0, 0.6, 0.0, 0.0, 0.0],
    self_attention=[0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0],
    causal=[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0],
    decoder_tokens=[1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0],
    bixt=[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0],
    n_concepts=[4.0, 4.0, 2.0, 4.0, 1.0, 4.0, 4.0, 4.0],
    w_nearest=[0.0, 0.02, 0.0, 0.0, 0.0, 0.02, 0.0, 0.0],
    kendall_gal=[0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0],
    gate=[0.0, 0.0, 0.1, 0.1, 0.0, 0.0, 0.0, 0.0],
)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Eight ablations in one call, and how often the loss was traced."""
    traces = []
    whole = concepts.loss

    def counted(*args):
        traces.append(None)
        return whole(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(concepts, "step", concepts.train.gradient_step(concepts.batch, counted))
        folder = tmp_path_factory.mktemp("concepts") / "rows"
        table = sweep.run(concepts, [(concepts.Config(**TINY), sweep.rows(concepts, **ROWS))], folder).table
    return folder, table, len(traces)


@pytest.mark.slow
def test_eight_ablations_are_one_trace(swept):
    _, table, traces = swept
    assert traces == 1
    last = table[(table["step"] == 4) & (table["metric"] == "bound")]
    assert len(last) == 8 and np.isfinite(last["value"]).all()
    assert table[table["metric"] == "alive"]["value"].min() == 1


@pytest.mark.slow
def test_a_row_is_the_same_run_alone_to_the_bit(swept, tmp_path):
    _, table, _ = swept
    alone = {name: values[3:4] for name, values in ROWS.items()}
    single = sweep.run(concepts, [(concepts.Config(**TINY), sweep.rows(concepts, **alone))], tmp_path / "one").table
    among = table[table["row"] == single["row"].iloc[0]]
    keys = ["step", "split", "metric", "bin"]
    one, many = (each.sort_values(keys)["value"].to_numpy() for each in (single, among))
    assert len(one) == len(many) > 40
    np.testing.assert_array_equal(one, many)


def metric(table, name, **where):
    rows = table[(table["step"] == 4) & (table["metric"] == name) & (table["split"] == "validation")]
    for column, value in where.items():
        rows = rows[np.isclose(rows[column], value)]
    return rows["value"].to_numpy()


@pytest.mark.slow
def test_what_leaks_and_what_does_not(swept):
    table = swept[1]
    assert (metric(table, "leak", self_attention=0.0, decoder_tokens=1.0) == 0).all()
    assert (metric(table, "leak", self_attention=1.0, gate=0.1) > 0).all()


@pytest.mark.slow
def test_an_autoregressive_bound_is_its_own_nats(swept):
    table = swept[1]
    # Both are -log p of the same cells; the bound leaves the mask out and draws other splits.
    np.testing.assert_allclose(metric(table, "bound", causal=1.0), metric(table, "nats", causal=1.0), atol=0.05)


def test_effects_of_concepts_are_zero_where_the_channel_is_closed():
    config = concepts.Config(**TINY)
    data = loaded(config)
    hyper = concepts.Hyper(channel=0.0, gate=0.3)
    state = concepts.init(jax.random.key(0), hyper, config, data)
    found = jax.jit(lambda s: concepts_evaluation._own(jax.random.key(1), s.params, hyper, config, data, rows(data)))(
        state
    )
    assert float(found["zeroed"].value()) == 0 and float(found["shuffled"].value()) == 0
    assert float(found["nats"].value()) > 1


def test_random_vectors_stand_beside_the_geometry_of_concepts():
    z, used = 3 * np.random.default_rng(0).normal(size=(6, 5, 8)).astype(np.float32) + 1, np.arange(5) < 4
    found = jax.jit(concepts_evaluation._directions)(z, used)
    own = jax.jit(geometry.geometry)(z, used)
    for name, value in own.items():
        assert float(found[name]) == pytest.approx(float(value), rel=1e-5), name
    assert set(found) - set(own) == {f"{name}_random" for name in own if name != "slot_std"}
    drawn = np.asarray(jax.random.normal(jax.random.key(0), z.shape), np.float64)[:, :4]
    spread = np.linalg.svd(drawn.mean(0), compute_uv=False)
    assert float(found["effective_rank_random"]) == pytest.approx(spread.sum() / spread[0], rel=1e-4)
    unit = drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)
    cosine = np.abs((unit @ unit.transpose(0, 2, 1))[:, ~np.eye(4, dtype=bool)])
    assert float(found["slot_cosine_random"]) == pytest.approx(cosine.mean(), rel=1e-4)


def loaded(config):
    return jax.tree.map(jnp.asarray, concepts.load(config)[0])


def rows(data):
    return concepts_data.texts(data, concepts_data.held_out(data, 8))


def test_the_loss_is_the_task_and_weighted_terms_from_their_start():
    config = concepts.Config(**TINY)
    data = loaded(config)
    params = concepts.init(jax.random.key(0), concepts.Hyper(), config, data).params

    @jax.jit
    def lost(hyper, i):
        total, metrics = concepts.loss(params, rows(data), jax.random.key(2), hyper, config, data, i)
        return total, metrics["objective"], metrics["regularisers"]

    hyper = concepts.Hyper(w_nearest=0.5, w_covariance=2.0, reg_start=100.0, reg_warmup=10.0)
    hyper = jax.tree.map(jnp.float32, hyper)
    plain = lost(hyper, 99)
    assert float(plain[0]) == float(plain[1]) and float(plain[2]) == 0
    half, whole = lost(hyper, 105), lost(hyper, 500)
    assert float(half[2]) == pytest.approx(float(whole[2]) / 2, rel=1e-4) and float(whole[2]) != 0
    assert float(whole[0]) == pytest.approx(float(whole[1] + whole[2]), rel=1e-6)
    # Kendall-Gal at s = 0: half the sum of the task and the terms in use, whatever their weights.
    both = lost(hyper._replace(w_nearest=jnp.float32(1.0), w_covariance=jnp.float32(1.0)), 500)
    halved = lost(hyper._replace(kendall_gal=jnp.float32(1.0)), 500)
    assert float(halved[0]) == pytest.approx(float(both[0]) / 2, rel=1e-5)


@pytest.mark.slow
def test_dropout_differs_by_replica_and_step_and_leaves_the_task_as_it_is():
    config = concepts.Config(**TINY, dropout=0.5, slot_positions="learned")
    data, hyper = loaded(config), concepts.Hyper(gate=0.5)
    params = concepts.init(jax.random.key(0), hyper, config, data).params
    drawn = rows(data)
    # As the engine makes them: a key a replica, and of it one a step.
    key = lambda replica, i: jax.random.fold_in(jax.random.key(replica), i)  # noqa: E731
    task = pose(jax.random.split(key(0, 0))[0], drawn, hyper, concepts_model.mask_id(data))

    @jax.jit
    def told(key):
        seen = concepts_model.see(params, hyper, config, data, task, jax.random.split(key)[1])
        return weigh(concepts.smoothed_cross_entropy(seen.logits, task.x, 0.0)[0], task, hyper)

    found = {(replica, i): float(told(key(replica, i))) for replica in (0, 1) for i in (0, 1)}
    assert len(set(found.values())) == 4
    lost = jax.jit(lambda key: concepts.loss(params, drawn, key, hyper, config, data, jnp.int32(0))[1]["objective"])
    assert float(lost(key(0, 0))) == pytest.approx(found[0, 0], rel=1e-6)


@pytest.mark.slow
def test_the_gradient_of_a_concept_is_that_of_differences_of_numpy():
    """Central differences of the task's loss, written in numpy from the logits, by every coordinate of the concepts."""
    config = concepts.Config(**TINY)
    data = loaded(config)
    hyper = concepts.Hyper(n_concepts=3.0, gate=1.0, init_std=0.3, self_attention=1.0, elbo=1.0, smoothing=0.0)
    params = concepts.init(jax.random.key(0), hyper, config, data).params
    text = rows(data)
    found = jax.jit(
        lambda params: concepts_evaluation._gradients(jax.random.key(4), params, hyper, config, data, text)
    )(params)

    task = pose(jax.random.key(4), text, hyper, concepts_model.mask_id(data))
    z, _ = concepts_model.encode(params, hyper, config, data, task.seen, task.keep)
    weight = np.where(task.scored, 1 / np.maximum(np.float64(task.t), 1e-3)[:, None], 0)
    logits = jax.jit(
        lambda moved: jax.lax.map(lambda z: concepts_model.decode(params, hyper, config, data, z, task), moved)
    )

    def losses(moved):
        told = np.float64(logits(moved))
        nats = np.log(np.exp(told).sum(-1)) - np.take_along_axis(told, np.asarray(task.x)[None, ..., None], -1)[..., 0]
        return (weight * nats).sum(2) / weight.sum()  # [moves, B]: a text's concepts reach its own cells alone

    # A coordinate at a time, of all texts at once.
    z, half = np.asarray(z), 1e-2 * np.eye(z[0].size, dtype=np.float32).reshape(-1, 1, *z[0].shape)
    slope = (losses(z + half) - losses(z - half)) / 2e-2
    norms = np.linalg.norm(slope.T.reshape(z.shape), axis=-1) * len(z)
    np.testing.assert_allclose(norms[:, 3], 0, atol=1e-3)  # nobody reads what is out of use
    assert norms[:, :3].min() > 0.01
    assert float(found["concept_gradient"].value()) == pytest.approx(norms[:, :3].mean(), rel=5e-3)


def test_settings_that_contradict_are_refused():
    config = concepts.Config(**TINY)
    data = loaded(config)
    for values, message in (
        ({"other_view": 1.0}, "one version of each text"),
        ({"split_lo": 0.6}, "split_lo: must not exceed split_hi"),
        ({"t_min": 0.5, "t_max": 0.2}, "t_min: must not exceed t_max"),
        ({"causal": 0.5}, "causal: is 0 or 1"),
        ({"depth": 60.0}, "depth 60: more than there are; --encoder-layers is"),
        ({"n_concepts": 60.0}, "n_concepts 60: more than there are; --concepts is"),
    ):
        with pytest.raises(InputError, match=message):
            concepts.check(jax.tree.map(lambda x: np.float32([x]), concepts.Hyper(**values)), config, data)
    with pytest.raises(InputError, match="eval-sequences 1"):
        concepts.Config(**TINY | {"eval_sequences": 1})


@pytest.mark.parametrize("causal", [0.0, 1.0])
def test_writing_fills_what_is_asked_for_and_is_the_likeliest_at_temperature_0(causal):
    config = concepts.Config(**TINY)
    data = loaded(config)
    hyper = concepts.Hyper(causal=causal, self_attention=1.0, gate=0.5)
    params = concepts.init(jax.random.key(3), hyper, config, data).params
    text, count = rows(data), jnp.array([16, 16, 5, 1, 16, 3, 16, 16])
    wrote = jax.jit(
        lambda key: write(key, params, hyper, config, data, text.ids, text.valid, count, steps=4, temperature=0.0)
    )
    found = np.asarray(wrote(jax.random.key(0)))
    mask = concepts_model.mask_id(data)
    np.testing.assert_array_equal((found != mask).sum(1), count)
    np.testing.assert_array_equal(found, wrote(jax.random.key(1)))


@pytest.mark.slow
def test_the_command_line_sweeps_and_samples(swept, capsys):
    folder, _, _ = swept
    row = export.rows(concepts, folder)[0]["row"]
    assert cli.main(["sample", str(folder), "--row", row, "--text", "And God said", "--steps", "3"]) == 0
    told = capsys.readouterr().out
    assert "And God said\n-> " in told and "12 tokens read, 12 written" in told
    assert cli.main(["sample", str(folder), "--row", row, "--text", "x" * 17]) == 2
    assert "17 tokens; the model reads 1 to 16" in capsys.readouterr().err
    assert cli.main(["evaluate", str(folder), "--eval-sequences", "4"]) == 0
    assert "bound at all" in capsys.readouterr().out
    assert cli.main(["plot", str(folder)]) == 0
    told = capsys.readouterr().out
    assert "bound at all" in told and "effective rank" in told


@pytest.mark.slow
def test_what_only_concepts_can_tell_is_learnt_through_them_and_not_without(tmp_path):
    """Eight letters drawn at random, all asked for at once: ln 8 nats each to whoever has not read them."""
    rng, file = np.random.default_rng(0), tmp_path / "letters.txt"
    file.write_text("\n".join("".join(rng.choice(list("abcdefgh"), 8)) for _ in range(4000)))
    config = concepts.Config(
        **TINY
        | dict(data=str(file), cut="line", limit=0, windows=False, length=9, batch=32, d_model=32, concepts=8)
        | dict(hidden=64, decoder_layers=1, eval_sequences=64, strata=1, steps=800, eval_every=800),
        **dict(schedule="cosine", warmup=50, clip=1.0),
    )
    both = dict(t_min=1.0, t_max=1.0, decoder_tokens=0.0, learning_rate=5e-3, gate=0.1)
    hypers = sweep.grid(concepts, channel=[0.0, 1.0], **{name: [value] for name, value in both.items()})
    table = sweep.run(concepts, [(config, hypers)], tmp_path / "sweep").table
    last = table[(table["step"] == 800) & (table["split"] == "validation")]
    nats = last[last["metric"] == "nats"].set_index("channel")["value"]
    assert nats[0.0] == pytest.approx(np.log(8), abs=0.03)
    assert nats[1.0] < 1.7
    assert last[last["metric"] == "shuffled"].set_index("channel")["value"][1.0] > 1
