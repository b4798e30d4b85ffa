"""The engine's promises, on a tiny regression whose optimum is known."""

import chex
import jax
import numpy as np
import pytest

from gidd_jax import program, sweep
from gidd_jax.errors import InputError
from tests.probes import Config, Regression

pytestmark = pytest.mark.exact

STUDY = Regression()
CONFIG = Config(steps=40, log_every=5, eval_every=20)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Six rows trained in one go, on disk."""
    directory = tmp_path_factory.mktemp("sweep") / "whole"
    hypers = sweep.grid(STUDY, seed=range(3), coupling=[0.0, 1.0])
    return sweep.run(STUDY, [(CONFIG, hypers)], directory)


def lines_of(table, row):
    return table[table["row"] == row].reset_index(drop=True)


def test_learns_the_known_optimum():
    hypers = sweep.grid(STUDY, seed=[0, 1], coupling=[0.0, 1.0], learning_rate=[0.05])
    table = sweep.run(STUDY, [(Config(steps=400), hypers)]).table
    last = table[(table["metric"] == "distance") & (table["step"] == 400)]
    first = table[(table["metric"] == "distance") & (table["step"] == 0)]
    assert (last["value"] < 0.02).all()
    assert (first["value"] > 0.2).all()


@pytest.mark.parametrize("rows", [1, 3, 23])
def test_one_trace_whatever_the_number_of_rows(rows):
    Regression.traces = 0
    sweep.run(STUDY, [(CONFIG, sweep.grid(STUDY, seed=range(rows)))])
    assert Regression.traces == 1


def test_a_row_is_bitwise_the_same_alone_in_company_and_anywhere(whole):
    for seed, coupling in ((0, 0.0), (2, 1.0)):
        alone = sweep.run(STUDY, [(CONFIG, sweep.grid(STUDY, seed=[seed], coupling=[coupling]))])
        ((group, row),) = alone.states
        crowd = sweep.grid(STUDY, seed=[*range(10, 27), seed, 99], coupling=[coupling])
        company = sweep.run(STUDY, [(CONFIG, crowd)])
        place = (group, row)
        chex.assert_trees_all_equal(alone.states[place], whole.states[place], company.states[place])
        # The benefit and the like belong to several rows; what is measured on one is equal to the last bit.
        assert lines_of(alone.table, row).equals(lines_of(whole.table, row))
        assert lines_of(alone.table, row).equals(lines_of(company.table, row))


def test_permuting_rows_changes_nothing(whole):
    columns = {"seed": [2, 0, 1, 1, 0, 2], "coupling": [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]}
    permuted = sweep.run(STUDY, [(CONFIG, sweep.rows(STUDY, **columns))])
    assert permuted.table.equals(whole.table)


@pytest.mark.parametrize("devices", [1, 2])
def test_the_number_of_devices_changes_at_most_the_rounding(whole, devices):
    hypers = sweep.grid(STUDY, seed=range(3), coupling=[0.0, 1.0])
    spread = sweep.run(STUDY, [(CONFIG, hypers)], devices=jax.devices()[:devices])
    np.testing.assert_allclose(spread.table["value"], whole.table["value"], rtol=1e-4, atol=1e-6)
    if devices > 1:  # XLA compiles for one device or for several
        assert spread.table.equals(whole.table)


def compiled(rows, devices):
    config = sweep.resolved(CONFIG, None, "cpu")
    place = program.layout(rows, config.width, devices)
    hypers = jax.tree.map(place.place, sweep.grid(STUDY, seed=range(rows)))
    data = jax.device_put(STUDY.load(config)[0], place.replicated)
    edges = program.programs(STUDY, config, place.mesh)
    replicas = edges.start(place.counts, hypers, data)
    return place, edges, replicas, hypers, data


def test_four_devices_share_the_rows_without_a_collective():
    place, edges, replicas, hypers, data = compiled(16, jax.devices()[:4])
    first = jax.numpy.int32(0)
    text = edges.advance.lower(place.counts, replicas, hypers, data, first, first).compile().as_text()
    assert place.mesh.size == 4
    assert len(replicas.alive.sharding.device_set) == 4
    for collective in ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter"):
        assert collective not in text


def test_two_calls_of_n_steps_equal_one_of_2n_bitwise():
    place, edges, replicas, hypers, data = compiled(3, jax.devices()[:1])
    other = jax.tree.map(lambda x: x.copy(), replicas)
    at = jax.numpy.int32
    once, _ = edges.advance(place.counts, replicas, hypers, data, at(0), at(20))
    half, _ = edges.advance(place.counts, other, hypers, data, at(0), at(10))
    twice, _ = edges.advance(place.counts, half, hypers, data, at(10), at(20))
    chex.assert_trees_all_equal(once, twice)


def test_no_hidden_transfer_between_calls_and_the_state_is_donated():
    place, edges, replicas, hypers, data = compiled(3, jax.devices()[:1])
    counts, first, last = jax.device_put((place.counts, np.int32(0), np.int32(5)))
    edges.advance(counts, jax.tree.map(lambda x: x.copy(), replicas), hypers, data, first, last)
    with jax.transfer_guard("disallow"):
        after, _ = edges.advance(counts, replicas, hypers, data, first, last)
    assert replicas.step.is_deleted()
    assert not after.step.is_deleted()


def test_a_poisoned_row_is_frozen_alone_and_reported(whole):
    columns = {"seed": [0, 1, 2], "coupling": [0.0, 1.0, 0.0], "poison_at": [-1, 12, -1]}
    result = sweep.run(STUDY, [(CONFIG, sweep.rows(STUDY, **columns))])
    healthy, poisoned, third = result.states.values()
    assert (bool(healthy.alive), bool(poisoned.alive), bool(third.alive)) == (True, False, True)
    assert int(poisoned.failed_at) == 12
    assert np.isfinite(poisoned.state.params["w"]).all()
    chex.assert_trees_all_equal(healthy, whole.states[next(iter(result.states))])
    dead = result.table[result.table["row"] == list(result.states)[1][1]]
    train = dead[(dead["split"] == "train") & (dead["metric"] == "loss")].set_index("step")["value"]
    assert np.isfinite(train[[5, 10, 15]]).all()  # steps 10 and 11 of the third interval still count
    assert train[[20, 25, 40]].isna().all()
    assert dead[(dead["metric"] == "alive") & (dead["step"] == 40)]["value"].tolist() == [0.0, 0.0]


def test_settings_of_one_seed_start_equal_and_see_the_same_noise():
    rows = sweep.run(STUDY, [(Config(steps=1), sweep.grid(STUDY, seed=[5], learning_rate=[0.0], coupling=[0.0, 1.0]))])
    first, second = rows.states.values()
    chex.assert_trees_all_equal(first.state.params, second.state.params)


def test_groups_stand_in_one_table():
    hypers = sweep.grid(STUDY, seed=[0, 1])
    both = sweep.run(STUDY, [(CONFIG, hypers), (Config(steps=40, log_every=5, eval_every=20, size=4), hypers)])
    assert both.table.groupby("group").size().to_dict().keys() == {"g0", "g1"}
    sizes = {group: replica.state.params["w"].shape for (group, _), replica in both.states.items()}
    assert sizes == {"g0": (8,), "g1": (4,)}


def test_rows_that_do_not_fit_wait_and_come_out_the_same(capsys):
    hypers = sweep.grid(STUDY, seed=range(3), coupling=[0.0, 1.0])
    tight = Config(**{**CONFIG.__dict__, "memory_limit": needed(6) * 0.99999})
    whole = sweep.run(STUDY, [(CONFIG, hypers)], devices=jax.devices()[:1])
    split = sweep.run(STUDY, [(tight, hypers)], devices=jax.devices()[:1])
    assert "training 5 at a time" in capsys.readouterr().err
    assert split.table.equals(whole.table)
    with pytest.raises(InputError, match=r"a block of 1 replicas needs .* lower --width or --batch"):
        sweep.run(STUDY, [(Config(**{**CONFIG.__dict__, "memory_limit": 1e-9}), hypers)])


def test_steps_wait_for_the_first_evaluation_only_where_a_second_state_has_no_room():
    hypers, devices = sweep.grid(STUDY, seed=range(3), coupling=[0.0, 1.0]), jax.devices()[:1]
    tight = Config(**{**CONFIG.__dict__, "memory_limit": needed(6) * 1.00001})
    data, _ = STUDY.load(CONFIG)
    for config, room in ((CONFIG, True), (tight, False)):
        settings = sweep.resolved(config, None, "cpu")
        (job,) = sweep._enrol(STUDY, settings, [], "g0", hypers, data, devices, 1).values()
        assert job.spare == room
    tables = [sweep.run(STUDY, [(config, hypers)], devices=devices).table for config in (CONFIG, tight)]
    assert tables[0].equals(tables[1])


def needed(rows):
    """GiB that the training call of so many rows asks for."""
    place, edges, replicas, hypers, data = compiled(rows, jax.devices()[:1])
    first = jax.numpy.int32(0)
    a = edges.advance.lower(place.counts, replicas, hypers, data, first, first).compile().memory_analysis()
    total = a.argument_size_in_bytes + a.output_size_in_bytes - a.alias_size_in_bytes + a.temp_size_in_bytes
    return total / 2**30


def test_blocks_of_several_rows_differ_by_rounding_only(whole):
    """Vmapped rows stand in lanes of one kernel: what differs from rows alone is the last bits."""
    wide = Config(**{**CONFIG.__dict__, "width": 4})
    hypers = sweep.grid(STUDY, seed=range(3), coupling=[0.0, 1.0])
    blocks = sweep.run(STUDY, [(wide, hypers)])
    np.testing.assert_allclose(blocks.table["value"], whole.table["value"], rtol=1e-4, atol=1e-6)
    again = sweep.run(STUDY, [(wide, sweep.grid(STUDY, seed=range(3), coupling=[0.0, 1.0]))])
    assert again.table.equals(blocks.table)


def test_a_profile_is_of_one_steady_call_and_changes_nothing(whole, tmp_path):
    """The trace holds the training program's run, and no compile."""
    hypers = sweep.grid(STUDY, seed=range(3), coupling=[0.0, 1.0])
    profiled = sweep.run(STUDY, [(CONFIG, hypers)], profile=tmp_path)
    (trace,) = tmp_path.rglob("*.xplane.pb")
    content = trace.read_bytes()
    assert b"jit_advanced" in content and b"backend_compile" not in content
    assert profiled.table.equals(whole.table)
