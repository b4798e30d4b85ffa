"""What holding heads are as detectors, on tables made so that the right answer is known."""

import itertools

import pytest

from experiments import easy_vs_hard_detectors as heads
from experiments import easy_vs_hard_figures as figures
from tests.test_easy_vs_hard_arms import by_t, table, told


@pytest.mark.parametrize(("gain", "word"), [(0.1, "more than sooner"), (0.0, "only sooner"), (None, "open: too few")])
def test_detectors_are_compared_where_they_are_equally_good(gain, word):
    """A coupled one learns twice as fast, and is better by ``gain`` at equal skill; without a gain none else learns."""
    lines = []
    for tier, K, seed, i in itertools.product((2, 3), (0.0, 1.0), range(6), range(11)):
        skill = 0.5 + 0.04 * i * (1 + K) if gain is not None or K else 0.5
        branch = 0.5 + 0.5 * (skill - 0.5) + (gain or 0) * K + 0.001 * (seed % 2) * K
        own = dict(tier=tier, attention=K, seed=seed, presentations=100 * i, split="validation")
        lines += [dict(metric=f"auroc_{arm}", value=v, **own) for arm, v in (("random", skill), ("branch", branch))]
    curves = heads.by_evaluation(table(lines), {2: "easy", 3: "hard"})
    text, found = heads.detectors(curves)
    mean = told(found)
    assert mean["random cells at 0.85", 1.0, "hard: boards seen"] == pytest.approx(100 * 0.35 / 0.08)
    assert f"random cells at 0.85: {word}" in text
    if gain is not None:
        assert mean["random cells at 0.85", 1.0, "hard: coupled - alone"] == pytest.approx(gain + 0.0005)
        assert mean["random cells at 0.85", 0.0, "hard: AUROC, wrong branch"] == pytest.approx(0.675)
        assert mean["random cells at 0.75", 0.0, "hard: boards seen"] == pytest.approx(625)
        assert mean["random cells at 0.9", 1.0, "hard - easy"] == pytest.approx(0)
    axes = figures.by_skill(curves, heads.AT, "boards").axes
    assert [ax.get_title() for ax in axes] == ["trained on easy boards", "trained on hard boards"]
    assert len(axes[0].lines) == 12 + 3 + 1


@pytest.mark.parametrize(("slow", "word"), [(3, "only sooner"), (4, "open: too few")])
def test_an_answer_takes_as_many_pairs_as_were_asked(slow, word):
    """Twelve seeds on hard boards alone; of ``slow`` of them the uncoupled head never gets to the level."""
    lines = []
    for K, seed, i in itertools.product((0.0, 1.0), range(6, 18), range(11)):
        skill = 0.5 + 0.04 * i * (1 if K or seed >= 6 + slow else 0.5)
        own = dict(tier=3, attention=K, seed=seed, presentations=100 * i, split="validation")
        branch = 0.5 * skill + 0.001 * (seed % 2 - 0.5) * K
        lines += [dict(metric=f"auroc_{arm}", value=v, **own) for arm, v in (("random", skill), ("branch", branch))]
    curves = heads.by_evaluation(table(lines), {3: "hard"})
    text, found = heads.detectors(curves, 9)
    assert f"random cells at 0.85: {word}" in text
    assert not found["measure"].str.contains("easy").any()
    (ax,) = figures.by_skill(curves, heads.AT, "boards").axes
    assert ax.get_title() == "trained on hard boards"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["K = 0", "K = 1"]


@pytest.mark.parametrize(
    ("taught", "spread", "word"),
    [
        (0.1, 0.01, "the jump's loss teaches"),
        (0.0, 0.01, "a second tower is enough"),
        (-0.1, 0.01, "open"),
        (0.0, 0.1, "open"),
    ],
)
def test_a_twin_without_the_jumps_loss_stands_between_alone_and_coupled(taught, spread, word):
    lines = []
    for (name, (K, weight)), seed in itertools.product(heads.TWINS.items(), range(6, 18)):
        value = {"coupled": 0.3, "twin": 0.3 + taught + spread * (seed % 2 - 0.5), "alone": 0.6}[name] + 0.01 * seed
        own = dict(attention=K, jump_weight=weight, seed=seed)
        lines += [dict(metric=m, value=value, **own) for m in heads.ENDS]
        lines += [dict(metric="holding_loss/t", bin=b, value=value + b, **own) for b in range(10)]
    text, found = heads.twin(table(lines))
    mean = told(found)
    assert mean["twin - coupled", 1.0, "holding loss"] == pytest.approx(taught)
    assert mean["alone - twin", 1.0, "auroc random"] == pytest.approx(0.3 - taught)
    assert mean["twin - coupled", 1.0, "holding loss at t in bin 7"] == pytest.approx(taught)
    assert mean["alone", 0.0, "separation"] == pytest.approx(0.6 + 0.115)
    assert mean["alone - coupled", 1.0, "holding loss"] == pytest.approx(0.3)
    assert "separation above 1/3): alone 12 of 12, coupled 12 of 12" in text
    by_seed = heads.ends(table(lines))
    assert by_seed.loc[("coupled", 8), "jump_loss"] == pytest.approx(0.38) and len(by_seed) == 36
    assert text.endswith(f"holding loss, twin - coupled: {word}")
    curves = heads.by_twin(table([line | dict(split="validation") for line in lines]), ("holding_loss", "auroc_branch"))
    axes = figures.by_setting(curves, {"holding_loss": ("oracle", 0.2), "auroc_branch": ("chance", 0.5)}, "boards").axes
    assert [ax.get_ylabel() for ax in axes] == ["holding loss (nats per cell)", "AUROC, wrong branch (probability)"]
    thick = {line.get_label(): line.get_ydata() for line in axes[0].lines if not line.get_label().startswith("_")}
    assert set(thick) == {*heads.TWINS, "oracle"} and thick["alone"] == pytest.approx(0.6 + 0.115)


def test_what_is_compared_where_a_head_alone_has_learned_leaves_the_others_out():
    lines = []
    for (name, (K, weight)), seed in itertools.product(heads.TWINS.items(), range(6, 18)):
        stuck = name == "alone" and seed < 9
        ends = {"holding_loss": 0.69 if stuck else 0.4 if name == "alone" else 0.3, "separation": 0.1 if stuck else 0.5}
        own = dict(attention=K, jump_weight=weight, seed=seed)
        lines += [dict(metric=m, value=ends.get(m, 0.0) + 1e-3 * (seed % 2), **own) for m in heads.ENDS]
        lines.append(dict(metric="holding_loss/t", bin=0, value=0.0, **own))
    text, found = heads.twin(table(lines))
    row = found.set_index("measure").loc["holding loss, where alone has learned"]
    assert (row["mean"], row["n"]) == (pytest.approx(0.1), 9)
    assert "separation above 1/3): alone 9 of 12, coupled 12 of 12, twin 12 of 12" in text


@pytest.mark.parametrize(
    ("gains", "word"), [((0.1, 0.2), "more on hard boards"), ((0.1, 0.1), "the same"), ((0.2, 0.1), "open, 0.0")]
)
def test_the_benefit_of_two_tiers_is_compared_on_boards_of_their_own(gains, word):
    """On the other tier's boards every benefit is 0; one head of the twelve alone has not learned, on hard boards."""
    lines, gain = [], dict(zip(("easy", "hard"), gains, strict=True))
    for tier, test, K, seed in itertools.product(("easy", "hard"), ("easy", "hard"), (0.0, 1.0), range(6, 18)):
        own = dict(tier=tier, test=test, attention=K, seed=seed)
        value = 0.5 - K * (gain[tier] + 0.004 * (seed % 2 - 0.5) * (tier == "hard")) * (tier == test)
        lines += by_t(value, **own)
        stuck = tier == "hard" and seed == 7 and not K
        lines.append(dict(metric="separation", value=0.1 if stuck else 0.6, **own))
    text, found = heads.by_tier(table(lines))
    row = found.set_index(["head", "test"]).loc[("holding", "own")]
    assert (row["benefit_easy"], row["benefit_hard"]) == pytest.approx(gains)
    assert text.splitlines()[-1].startswith(f"benefit to the holding head: {word}")
    assert "easy K 0: 12 of 12, easy K 1: 12 of 12, hard K 0: 11 of 12, hard K 1: 12 of 12" in text
