"""Benchmarks: the harness' arithmetic on a clock of our own, work counted against XLA's count, every suite run tiny."""

import importlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import flops, harness, report
from benchmarks.harness import Pace, Row, Sample
from gidd_jax import cli
from gidd_jax.models import two_head

SUITE = ("attention", "compile", "concepts", "data", "gidd_loss", "kuramoto")
SUITE += ("pairs", "replicas", "sampling", "sweep", "train_step")


class Clock:
    """Time that passes only in calls, and the order of these."""

    def __init__(self):
        self.now, self.calls = 0.0, []

    def __call__(self):
        return self.now

    def takes(self, name, *seconds):
        """A call that takes these seconds in turn, and the last of them for ever."""
        left = list(seconds)

        def call():
            self.calls.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return call


def test_a_sample_leaves_the_warm_up_out_and_fills_its_time():
    clock = Clock()
    taken = harness.sample(clock.takes("a", 9.0, 0.3), Pace(5, 1.0), clock)
    assert taken.inner == 4 and len(clock.calls) == 2 + 5 * 4
    assert taken.seconds == pytest.approx([0.3] * 5)
    assert harness.once(clock.takes("b", 7.0, 1.0), clock) == 7.0


def test_a_pair_is_taken_in_turn_and_compared_lap_by_lap():
    clock = Clock()
    first = clock.takes("a", 1.0, 1.0, 1.0, 2.0, 4.0)
    second = clock.takes("b", 1.0, 1.0, 3.0, 8.0, 20.0)
    ours, theirs, ratio = harness.paired(first, second, Pace(3, 0.0), clock)
    assert clock.calls == ["a", "a", "b", "b", *"ababab"]
    assert (ours.seconds, theirs.seconds) == ((1.0, 2.0, 4.0), (3.0, 8.0, 20.0))
    assert ratio == (4.0, 3.5, 4.5)
    assert (ours.median, ours.quartiles) == (2.0, (1.5, 3.0))


def test_floors_and_shares():
    rates = flops.Rates(100.0, 10.0)
    bound_by_products, bound_by_bytes = flops.Work(200.0, 10.0), flops.Work(100.0, 40.0)
    assert harness.roofline(bound_by_products, rates) == 2 and harness.roofline(bound_by_bytes, rates) == 4
    assert harness.roofline([bound_by_products, bound_by_bytes], rates) == 6
    assert Row("a", {}, Sample((8.0,), 1), floor_s=6.0).roofline_share == 0.75
    assert Row("a", {}, floor_s=6.0).roofline_share is None
    measured = harness.measured_rates(64, 2**12)
    assert measured.flops > 1e6 and measured.bytes > 1e6


def test_shares_of_a_datasheet_are_known_devices_only():
    assert flops.model_flops_share(494.7e12, 1.0, "NVIDIA H200") == pytest.approx(0.5)
    assert flops.model_flops_share(1e12, 2.0, "TPU v4") == pytest.approx(0.5 / 275)
    assert flops.model_flops_share(1e12, 1.0, "TPU v4", "float32") is None
    assert flops.model_flops_share(1e12, 1.0, "cpu") is None


def counted(function, *args):
    """XLA's count of operations."""
    return jax.jit(function).lower(*args).cost_analysis()["flops"]


def test_work_of_a_product():
    a, b = jnp.ones((24, 40)), jnp.ones((40, 56))
    work = flops.matmul(24, 40, 56)
    assert work.flops == counted(jnp.matmul, a, b)
    assert work.bytes == a.nbytes + b.nbytes + (a @ b).nbytes


@pytest.mark.parametrize("settings", [{}, {"trunk": "shared"}, {"gated": True, "mask_token": True}, {"time": True}])
def test_work_of_the_two_head_model(settings):
    """XLA counts what is elementwise too: a few per cent of a model this wide."""
    config = two_head.TwoHeadConfig(16, 4, 2, 2, d_model=64, layers=2, d_ff=256, heads=2, **settings)
    boards = jnp.zeros((3, 16), jnp.int32)
    params = jax.eval_shape(lambda key: two_head.init(key, config), jax.random.key(0))

    def forward(params):
        return two_head.apply(params, config, boards, boards > 0, jnp.zeros(3), two_head.Couplings())

    ours, theirs = flops.two_head_forward(config, 3), counted(forward, params)
    assert ours < theirs < 1.12 * ours
    assert flops.two_head_training(config, 3) == 3 * ours


@pytest.fixture
def tiny(monkeypatch):
    """Every benchmark at its tiniest sizes under --quick."""
    monkeypatch.setitem(harness.PACES, "quick", harness.PACES["tiny"])
    monkeypatch.setattr(harness, "measured_rates", lambda *sizes: flops.Rates(1e10, 1e9))
    for name in SUITE:
        bench = importlib.import_module(f"benchmarks.bench_{name}")
        monkeypatch.setitem(bench.SCALES, "quick", bench.SCALES["tiny"])


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in harness.LONG)) for n in SUITE])
def test_every_benchmark_runs(tiny, name, tmp_path, capsys):
    out = tmp_path / "rows.jsonl"
    cached = jax.config.jax_enable_compilation_cache
    assert cli.main(["bench", name, "--quick", "--out", str(out)]) == 0
    assert jax.config.jax_enable_compilation_cache == cached
    printed = capsys.readouterr().out
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert printed.splitlines()[: len(lines) + 1] == report.table(lines).splitlines()[: len(lines) + 1]
    for line in lines:
        assert line["name"].startswith(f"{name}/") and line["params"] and line["device"] and line["versions"]["jax"]
        assert line["command"] == f"gidd-jax bench {name} --quick --out {out}"
        if line["median_s"] is not None:
            assert 0 < line["min_s"] <= line["median_s"] <= line["max_s"] and line["iqr_s"] >= 0
        assert line["ratio"] is None or line["ratio_low"] <= line["ratio"] <= line["ratio_high"]
        assert line["temp_bytes"] is None or line["temp_bytes"] >= 0
    timed = [line for line in lines if line["median_s"]]
    assert len(timed) >= 3 and any(line["compile_s"] for line in timed)


@pytest.mark.slow
def test_quick_benchmarks_run_side_by_side_and_are_told_in_order(tmp_path, capsys):
    out = tmp_path / "rows.jsonl"
    assert cli.main(["bench", "data", "sampling", "--quick", "--out", str(out)]) == 0
    names = [json.loads(line)["name"].split("/")[0] for line in out.read_text().splitlines()]
    assert list(dict.fromkeys(names)) == ["data", "sampling"] and len(names) > 6
    printed = [line.split("/")[0] for line in capsys.readouterr().out.splitlines() if "/" in line[:10]]
    assert printed == names


@pytest.mark.slow
def test_a_sweep_is_started_cold_and_warm():
    from benchmarks import bench_compile, subjects

    rows = list(bench_compile._starts(subjects.SPINNERS, 2))
    assert [len(row.sample.seconds) for row in rows] == [1, 1, 2, 2]
    for first, end in (rows[:2], rows[2:]):
        assert all(0 < a < b for a, b in zip(first.sample.seconds, end.sample.seconds, strict=True))


def test_the_products_of_a_step_are_its_operations(monkeypatch):
    """``bare_products`` makes each product of the forward and two more of its size: 3 forwards of operations."""
    from benchmarks import bench_train_step as bench

    config = two_head.TwoHeadConfig(16, 4, 2, 2, d_model=8, layers=2, heads=2, d_ff=16, iterations=2, time=True)
    products = flops.two_head_products(config, 3)
    made = []
    compiled = harness.compiled
    monkeypatch.setattr(bench, "compiled", lambda *args: made.append(compiled(*args)) or made[-1])
    bench.bare_products(products, "float32", flops.Rates(1e10, 1e9))
    # A contraction over one number adds nothing, and XLA counts half: the holding head's, to its input.
    once = [p._replace(count=1).flops * share for p in products for share in (1, 0.5 if p.n == 1 else 1, 1)]
    assert [each.call.cost_analysis()["flops"] for each in made] == pytest.approx(once)
    assert sum(product.flops for product in products) * 3 == flops.two_head_training(config, 3)


def test_a_call_of_several_things_tells_the_time_of_one():
    taken = Sample((2.0, 4.0, 3.0), 5).each(4)
    assert taken == ((0.5, 1.0, 0.75), 5)
    row = Row("a", {}, taken, flops=3e9, items=6, unit="boards")
    line = report.as_line(row)
    assert (line["flops_per_s"], line["items_per_s"]) == (4e9, 8.0)
    assert "4 GFLOP/s, 8 boards/s" in report.brief(line)


def test_a_package_that_is_missing_is_told(monkeypatch):
    from benchmarks import bench_kuramoto as bench

    monkeypatch.setattr(bench, "_installed", lambda name: None)
    monkeypatch.setattr(bench, "_whole_sweep", lambda *args: iter(()))
    rows = list(bench.rows(bench.SCALES["tiny"], Pace(5, 0.0), flops.Rates(1e10, 1e9)))
    missing = [row for row in rows if row.sample is None]
    assert [row.note for row in missing] == ["jaxkuramoto is not installed", "kuramoto is not installed"]
    assert all(np.isfinite(row.sample.median) for row in rows if row.sample)


def test_what_cannot_be_run_is_one_line(tmp_path, monkeypatch, capsys):
    assert cli.main(["bench", "--list"]) == 0
    assert set(SUITE) <= set(capsys.readouterr().out.split())
    assert cli.main(["bench", "nothing"]) == 2
    assert "no benchmark 'nothing'; there are" in capsys.readouterr().err
    assert cli.main(["bench", "--out", str(tmp_path / "no" / "file")]) == 2
    assert "give a file in a folder that exists" in capsys.readouterr().err
    # As installed from a wheel: neither the working directory nor the package's has benchmarks.
    monkeypatch.setattr("gidd_jax.__file__", str(tmp_path / "site-packages" / "gidd_jax" / "__init__.py"))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bench"]) == 2
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1 and "run this from a checkout" in told


def test_tables_say_seconds_and_bytes_as_people_do():
    assert [report.seconds(x) for x in (2.0, 0.0123, 4e-6)] == ["2 s", "12.3 ms", "4 us"]
    assert [report.size(x) for x in (2**30, 3 * 2**20)] == ["1 GiB", "3 MiB"]
    text = report.table([report.as_line(Row("a", {"N": 2}, note="same")), report.as_line(Row("bb", {}, note="same"))])
    assert text.splitlines()[1].startswith("a [1]") and text.splitlines()[3:] == ["[1] same"]
