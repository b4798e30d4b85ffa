"""What the arms of the factorial tell, on tables made so that the right answer is known."""

import itertools

import numpy as np
import pandas as pd
import pytest

from experiments import easy_vs_hard_arms_tables as tables
from experiments import easy_vs_hard_figures as figures

SEEDS = range(3)


def table(lines):
    usual = dict(row="a", group="g0", step=8, presentations=80, split="test", bin=-1, attention=0.0, tier=2)
    return pd.DataFrame([usual | each for each in lines])


def by_t(value, **own):
    return [dict(metric=f"{head}_loss/t", bin=b, value=value, **own) for head in ("jump", "holding") for b in range(10)]


def told(found):
    return found.set_index(["arm", "coupling", "measure"])["mean"]


def test_curricula_are_compared_with_hard_alone_by_seed():
    names, gains, lines = {(2, 0): "hard alone", (2, 3): "easy, then hard"}, {0: 0.1, 3: 0.3}, []
    for first, K, seed in itertools.product(gains, (0.0, 1.0), SEEDS):
        own = dict(first_tier=first, attention=K, seed=seed)
        lines += by_t(1.0 + seed - K * gains[first], **own)
        for how, head in itertools.product(("zero", "random"), ("jump", "holding")):
            lines.append(dict(metric=f"knockout_{how}_{head}", value=K * (0.5 if how == "zero" else 0.2), **own))
        lines.append(dict(metric="tower_cka", value=0.4, **own))
    text, found = tables.curricula(table(lines), names)
    mean = told(found)
    assert mean["easy, then hard", 1.0, "jump benefit"] == pytest.approx(0.3)
    assert mean["easy, then hard", 1.0, "jump benefit - hard alone's"] == pytest.approx(0.2)
    assert mean["hard alone", 1.0, "holding knock-out - random change"] == pytest.approx(0.3)
    assert "+0.2 [+0.2, +0.2]" in text


def test_take_off_is_told_in_boards_and_paired():
    """From chance, whatever the first evaluations say; the holding head's by its separation, not by its loss."""
    boards, lines = np.arange(0, 2000, 100), []
    for group, K, seed in itertools.product(("g0", "g1"), (0.0, 1.0), SEEDS):
        own = dict(group=group, attention=K, seed=seed, split="validation")
        for seen in boards:
            jump, holding = 150 + 10 * seed, 950 + 10 * seed - 300 * K
            for metric, value in (
                ("jump_loss", 1.0 if seen < jump else 0.5),
                ("separation", 0.0 if seen < holding else 0.8),
                ("holding_loss", 0.7 if seen < 400 else 0.6),
            ):
                lines.append(dict(value=value, presentations=seen, metric=metric, **own))
    told_of, found = tables.volume(table(lines), {"g0": "all", "g1": "few"}, chance=1.0)
    mean = told(found)
    assert mean["few", 1.0, "holding take-off - K = 0's (boards)"] == pytest.approx(-300, abs=1)
    assert mean["all", 0.0, "jump take-off (boards)"] == pytest.approx(150, abs=1)
    assert mean["all", 1.0, "jump take-off - K = 0's (boards)"] == 0
    ends = mean["all", 0.0, "jump loss at the end"], mean["all", 1.0, "separation at the end"]
    assert ends == pytest.approx((0.5, 0.8))
    assert "half way from chance (1.00 nats; separation 0)" in told_of
    before = {"jump_loss": 1.0, "separation": 0.0}
    curves = {name: {m: tables.along(table(lines), g, m) for m in before} for g, name in (("g0", "all"), ("g1", "few"))}
    axes = figures.by_volume(curves, before, "boards").axes
    assert len(axes) == 4 and axes[0].get_ylabel() == "jump loss (nats per cell)" and axes[2].get_xscale() == "log"
    np.testing.assert_allclose(axes[2].lines[3].get_ydata()[-1], 0.8)  # after three seeds their mean


@pytest.mark.parametrize("width", [0.0, 0.25])
def test_a_loop_is_measured_against_the_value_the_dial_had(width):
    lines = []
    for end, speed, seed, done in itertools.product((0.0, 1.0), (8, 4), SEEDS, range(9)):
        own = dict(attention=end, ramp_from=1 - end, ramp_steps=speed, ramp_after=10, seed=seed, split="validation")
        K = (1 - end) + (2 * end - 1) * min(done / speed, 1)
        value = K + width * (end == 0)
        for metric in ("knockout_zero_jump", "knockout_zero_holding", "tower_cka", "jump_loss", "holding_loss"):
            lines.append(dict(metric=metric, value=value, step=10 + done, **own))
            lines.append(dict(metric=metric, value=99.0, step=5, **own))  # before the ramp
    mean = told(tables.hysteresis(table(lines))[1]).droplevel("coupling")
    for speed in (4, 8):
        assert mean[f"ramp of {speed} steps", "area, tower cka"] == pytest.approx(width)
        assert mean[f"ramp of {speed} steps", "down - up, jump_loss"] == pytest.approx(width)


def test_a_rise_that_steepens_with_the_width_is_found():
    rng, lines = np.random.default_rng(0), []
    shapes = {f"g{i}": ("4x4", width) for i, width in enumerate((8, 16, 32))}
    for (group, (_, width)), K, seed in itertools.product(shapes.items(), (0.1, 0.25, 0.5, 0.75, 1.0), SEEDS):
        value = np.exp(width * (K - 1) / 8) + rng.normal(0, 1e-6)
        lines.append(dict(group=group, attention=K, seed=seed, metric="knockout_zero_jump", value=value))
    text, found = tables.sizes(table(lines), shapes)
    assert text.splitlines()[-1].startswith("4x4, N the width: transition: ")
    mean = told(found).droplevel("coupling")
    assert mean["4x4", "power of the width in max d ln r / dK"] == pytest.approx(1.0, abs=0.02)


def test_the_best_rate_is_chosen_on_validation_and_told_on_test():
    lines = []
    better = {(1, 0.0): 0.1, (1, 1.0): 0.3, (2, 0.0): 0.1, (2, 1.0): 0.3}
    for tier, K, rate, seed, split in itertools.product((1, 2), (0.0, 1.0), (0.1, 0.3), SEEDS, ("validation", "test")):
        value = 1.0 if rate == better[tier, K] else 2.0
        if split == "test":
            value = (1.0 if rate == 0.1 else 0.8) - 0.1 * K * (tier == 2)
        lines += by_t(value, tier=tier, attention=K, learning_rate=rate, seed=seed, split=split)
    mean = told(tables.learning_rate(table(lines), {1: "easy", 2: "hard"})[1])
    assert mean["hard, best rate", 1.0, "jump loss at 0.3"] == pytest.approx(0.7)
    assert mean["easy, best rate", 1.0, "jump benefit"] == pytest.approx(0.2)
    assert mean["best rate", 1.0, "D = hard - easy"] == pytest.approx(0.1)


def test_samplers_are_compared_at_equal_calls_by_seed():
    right = {("two-head uniform", "resample"): 0.5, ("masked", "k-pass"): 0.3, ("masked", "remask"): 0.4}
    lines = []
    for (model, sampler), steps, tier, seed in itertools.product(right, (7, 26), (1, 2), SEEDS):
        own = dict(model=model, steps=steps, tier=tier, seed=seed)
        value = right[model, sampler] + 0.1 * seed + 0.2 * (tier == 2) * (sampler == "resample")
        lines += [dict(metric=f"puzzle_accuracy@{sampler}", value=value, **own)]
        lines += [dict(metric=f"model_calls@{sampler}", value=steps, **own)]
        lines += [dict(metric=f"cell_accuracy@{sampler}", value=0.9, **own)]
        lines += [dict(metric="puzzle_accuracy@1", value=9.0, **own)]  # the study's own decoder, at no number of calls
    solved = tables.solved(table(lines), {1: "easy", 2: "hard"})
    assert len(solved) == 3 * 2 * 2 * 3 and solved["solved"].max() < 1
    found = told(tables.noise(solved)[1]).droplevel("coupling")
    assert found["easy: masked, remask", "boards solved in 26 calls"] == pytest.approx(0.5)
    assert found["hard: in 7 steps", "solved: two-head resample - masked k-pass"] == pytest.approx(0.4)
    assert found["hard - easy: in 26 steps", "solved: two-head resample - masked remask"] == pytest.approx(0.2)
    axes = figures.against_calls(tables.by_calls(solved), "boards").axes
    assert len(axes) == 4 and all("(" in ax.get_xlabel() and "(" in ax.get_ylabel() for ax in axes)


def test_a_line_a_width_holds_what_the_table_does():
    usual = dict(measure="knock-out, jump", n=3)
    shapes = itertools.product(("4x4", "6x6"), (8, 16, 32), (0.5, 1.0))
    lines = [
        usual | dict(arm=f"{b} width {w}", coupling=K, mean=w * K, low=w * K - 1, high=w * K + 1) for b, w, K in shapes
    ]
    lines.append(dict(arm="4x4", coupling=np.nan, measure="power", mean=1.0, low=0.0, high=2.0, n=3))
    for ax, board in zip(figures.by_width(pd.DataFrame(lines)).axes, ("4x4", "6x6"), strict=True):
        drawn = {line.get_label(): list(line.get_ydata()) for line in ax.lines if line.get_label().startswith("width")}
        assert ax.get_title() == board
        assert drawn == {f"width {w}": [w / 2, w] for w in (8, 16, 32)}
