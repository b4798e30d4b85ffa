"""Optimiser and training step against optax and by hand; order-parameter probes against closed forms."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gidd_jax import ledger, optim, probes, sweep, train
from gidd_jax.config import to_json
from gidd_jax.errors import InputError
from gidd_jax.optim import OptimConfig
from tests.probes import Config, Regression

GOLDEN = np.load(pathlib.Path(__file__).parent / "golden" / "gidd.npz")


def tree(seed):
    rng = np.random.default_rng(seed)
    return {
        "a": {"kernel": jnp.asarray(rng.normal(size=(3, 2)), jnp.float32)},
        "b": jnp.asarray(rng.normal(size=4), jnp.float32),
    }


@pytest.mark.parametrize(("decay", "clip"), [(0.0, 0.0), (0.1, 0.0), (0.1, 0.5), (0.1, 3.0)])
def test_updates_equal_optax_adamw(decay, clip):
    params, rate, b2, config = tree(0), 0.01, 0.95, OptimConfig(clip=clip)
    reference = optax.chain(
        optax.clip_by_global_norm(clip) if clip else optax.identity(), optax.adamw(rate, b2=b2, weight_decay=decay)
    )
    theirs, state = params, reference.init(params)
    ours, mine = params, optim.init(params, config)
    for step in range(5):
        grads = tree(step + 1)
        ours, mine = optim.update(grads, mine, ours, rate, decay, b2, config)
        updates, state = reference.update(grads, state, theirs)
        theirs = optax.apply_updates(theirs, updates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), ours, theirs)


def test_rates_and_decays_may_differ_by_row():
    state = optim.init(tree(0), OptimConfig())
    run = jax.vmap(lambda rate: optim.update(tree(1), state, tree(0), rate, 0.0, 0.999, OptimConfig())[0])
    many = run(jnp.asarray([0.0, 0.1]))
    np.testing.assert_array_equal(many["b"][0], tree(0)["b"])
    np.testing.assert_allclose(many["b"][1], tree(0)["b"] - 0.1 * np.sign(tree(1)["b"]), rtol=1e-4)


def test_the_average_is_the_weighted_sum_of_all_parameters_so_far():
    """0.8^n p_0 + 0.2 sum_k 0.8^(n-k) p_k."""
    config = OptimConfig(average=0.8)
    path, state = [tree(0)], optim.init(tree(0), config)
    for step in range(3):
        params, state = optim.update(tree(step + 1), state, path[-1], 0.1, 0.0, 0.9, config)
        path.append(params)
    shares = [0.8**3, 0.2 * 0.8**2, 0.2 * 0.8, 0.2]
    jax.tree.map(
        lambda a, *p: np.testing.assert_allclose(a, sum(map(np.multiply, shares, p)), rtol=1e-5), state.average, *path
    )


def test_laprop_walks_the_stored_path():
    """Five updates of the reference, which had bias-corrected decays: b_n = 1 - (1 - b)/(1 - b^n)."""
    rate, b1, b2, eps, decay = GOLDEN["laprop/lr_b1_b2_eps_wd"].tolist()
    with jax.enable_x64(True):
        grads, stored = (jnp.asarray(np.float64(GOLDEN[f"laprop/{name}"])) for name in ("grads", "params"))
        config = OptimConfig(optimizer="laprop", b1=b1, eps=eps)
        state = optim.init({"w": stored[0]}, config)
        params = {"w": stored[0]}
        for step, g in enumerate(grads):
            params, state = optim.update({"w": g}, state, params, rate, decay, b2, config)
            np.testing.assert_allclose(params["w"], stored[step + 1], rtol=2e-6, atol=1e-7)
        assert int(state.count) == len(grads)


def test_laprop_trains_a_sweep_and_its_moments_come_back_from_a_checkpoint(tmp_path):
    config = Config(steps=200, optimizer="laprop", schedule="wsd", warmup=10)
    groups = [(config, sweep.grid(Regression(), learning_rate=[0.05]))]
    first, again = (sweep.run(Regression(), groups, tmp_path / "a") for _ in range(2))
    (replica,), (read,) = first.states.values(), again.states.values()
    assert int(replica.state.optim.count) == 200
    np.testing.assert_allclose(replica.state.params["w"], 1, atol=0.01)
    jax.tree.map(np.testing.assert_array_equal, replica, read)


def test_frozen_parameters_stay_while_their_moments_move():
    free = train.trainable(tree(0), "a/")
    assert free == {"a": {"kernel": False}, "b": True}
    state = optim.init(tree(0), OptimConfig())
    moved, state = optim.update(tree(1), state, tree(0), 0.1, 0.1, 0.9, OptimConfig(), free)
    np.testing.assert_array_equal(moved["a"]["kernel"], tree(0)["a"]["kernel"])
    assert (np.array(moved["b"]) != tree(0)["b"]).all()
    assert (np.array(state.adam.mu["a"]["kernel"]) != 0).all()
    for pattern in ("nothing", "."):
        with pytest.raises(InputError, match="must match some parameters and leave some"):
            train.trainable(tree(0), pattern)


def rates(updates, **settings):
    """The share of the peak at each of ``updates``."""
    config = OptimConfig(**settings)
    return np.array([optim.unit_schedule(jnp.int32(s), config) for s in updates])


@pytest.mark.parametrize(
    ("schedule", "warmup", "floor"), [("constant", 0, 0.0), ("linear", 100, 0.0), ("cosine", 100, 0.1)]
)
def test_rates_are_the_stored_ones(schedule, warmup, floor):
    assert int(GOLDEN["lr/warmup"]) == 100
    settings = {"schedule": schedule, "warmup": warmup, "floor": floor, "steps": int(GOLDEN["lr/total"])}
    wanted = GOLDEN[f"lr/{schedule}"] / GOLDEN["lr/max_lr"]
    np.testing.assert_allclose(rates(GOLDEN["lr/steps"], **settings), wanted, rtol=1e-6, atol=2e-7)


def test_schedules_at_their_corners():
    assert rates((1, 5, 10**6), steps=10).tolist() == [1, 1, 1]
    np.testing.assert_allclose(rates(range(1, 7), steps=10, warmup=4), [0.25, 0.5, 0.75, 1, 1, 1])
    cosine = {"schedule": "cosine", "steps": 100}
    np.testing.assert_allclose(rates((0, 50, 100, 200), **cosine), [1, 0.505, 0.01, 0.01], rtol=1e-5)
    assert rates((10,), warmup=10, **cosine) == 1
    wsd = {"schedule": "wsd", "steps": 1000, "warmup": 10, "cooldown": 0.2}
    wanted = [0.5, 1, 1, 1 - 0.99 * 0.5, 1 - 0.99 * 0.1**0.5, 0.01]
    np.testing.assert_allclose(rates((5, 10, 800, 850, 820, 1000), **wsd), wanted, rtol=1e-5)
    assert rates((2**31 - 1,), schedule="linear", steps=2**31 - 1, floor=0.0) == 0


def test_only_a_constant_schedule_goes_on_beyond_its_steps():
    """Also where wsd has not begun to fall: the rule stays simple."""
    for schedule in ("constant", "cosine", "linear", "wsd"):
        made = {"config": to_json(OptimConfig(steps=100, schedule=schedule)), "fingerprint": "data"}
        more = OptimConfig(steps=200, schedule=schedule)
        if schedule == "constant":
            ledger.check_identity(pathlib.Path("a"), made, more, "data")
            continue
        with pytest.raises(InputError, match=f"--steps 100 -> 200 needs --schedule constant, not {schedule}"):
            ledger.check_identity(pathlib.Path("a"), made, more, "data")


def test_a_config_written_before_a_setting_was_there_reads_as_it_ran():
    written = to_json(OptimConfig(steps=100, schedule="cosine"))
    for name in ("optimizer", "b1", "eps", "floor", "cooldown"):
        del written[name]
    old = {"config": written, "fingerprint": "data"}
    ledger.check_identity(pathlib.Path("a"), old, OptimConfig(steps=100, schedule="cosine"), "data")
    with pytest.raises(InputError, match="made with --optimizer adamw, now laprop"):
        ledger.check_identity(
            pathlib.Path("a"), old, OptimConfig(steps=100, schedule="cosine", optimizer="laprop"), "data"
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "sgd"}, "--optimizer sgd: not one of adamw, laprop"),
        ({"schedule": "step"}, "--schedule step: not one of constant, cosine, linear, wsd"),
        ({"b1": 1.0}, "--b1 1.0: must be at least 0 and below 1"),
        ({"average": 1.0}, "--average 1.0"),
        ({"eps": 0.0}, "--eps 0.0: must be above 0"),
        ({"floor": 1.5}, "--floor 1.5: must be at most 1"),
        ({"cooldown": 0.0}, "--cooldown 0.0: must be above 0"),
        ({"frozen": "("}, "--frozen"),
    ],
)
def test_settings_out_of_range_are_refused_in_one_line(settings, message):
    with pytest.raises(InputError, match=message) as caught:
        OptimConfig(**settings)
    assert "\n" not in str(caught.value)


def test_half_the_average_of_a_sweep_is_used_in_evaluation():
    config = Config(steps=30, average=0.9)
    result = sweep.run(Regression(), [(config, sweep.grid(Regression(), seed=[0]))])
    (replica,) = result.states.values()
    told = result.table.query("metric == 'distance' and step == 30 and split == 'test'")["value"].item()
    np.testing.assert_allclose(told, np.abs(replica.state.optim.average["w"] - 1).max(), rtol=1e-6)
    assert told > np.abs(replica.state.params["w"] - 1).max()


def test_cka_is_1_up_to_rotation_0_for_orthogonal_features_and_undefined_for_constants(key):
    x = jax.random.normal(key, (50, 4))
    turn, _ = jnp.linalg.qr(jax.random.normal(jax.random.key(1), (4, 4)))
    np.testing.assert_allclose(probes.cka(x, 3 * jnp.matmul(x, turn) + 2).value(), 1, rtol=1e-5)
    waves = jnp.stack([jnp.sin(2 * jnp.pi * k * jnp.arange(50) / 50) for k in (1, 2, 3, 4)], axis=1)
    assert probes.cka(waves[:, :2], waves[:, 2:]).value() < 1e-9
    assert probes.cka(x, jnp.ones((50, 2))).weight == 0
    gram = lambda a: (a - a.mean(0)) @ (a - a.mean(0)).T  # noqa: E731
    a, b = gram(np.array(x)), gram(np.array(x[:, :2]))
    np.testing.assert_allclose(
        probes.cka(x, x[:, :2]).value(), (a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b), rtol=1e-5
    )


def test_cosine_of_trees():
    a = {"x": jnp.array([3.0, 0.0]), "y": jnp.array(4.0)}
    b = {"x": jnp.array([0.0, 5.0]), "y": jnp.array(12.0)}
    np.testing.assert_allclose(probes.cosine(a, b).value(), 48 / (5 * 13), rtol=1e-6)
    np.testing.assert_allclose(probes.cosine(a, jax.tree.map(jnp.negative, a)).value(), -1, rtol=1e-6)
    assert probes.cosine(a, jax.tree.map(jnp.zeros_like, a)).weight == 0


@pytest.mark.parametrize("optimizer", optim.OPTIMIZERS)
@pytest.mark.parametrize("average", [0.0, 0.9])
def test_a_step_that_counts_leaves_every_number_finite(optimizer, average):
    """Moments and averages too, which ``healthy`` does not look at; gradients of any size, and none at all."""
    config = OptimConfig(optimizer=optimizer, average=average)
    step = train.gradient_step(lambda *_: (), lambda p, batch, key, size, *_: (size.weight_decay * p["b"].sum(), {}))
    started, verdicts = train.start(tree(0), config), []
    for size in (0.0, 1e-30, 1e-10, 1.0, 1e10, 1e18, 1e25, 1e38, np.inf, np.nan):
        hyper = optim.OptimHyper(learning_rate=1e-3, weight_decay=jnp.float32(size))
        new, _, healthy = step(started, jax.random.key(0), hyper, config, (), jnp.int32(0))
        assert not healthy or train.all_finite(new)
        verdicts.append(bool(healthy))
    assert verdicts[:6] == [True] * 6 and verdicts[6:] == [False] * 4
