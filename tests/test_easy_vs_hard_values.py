"""The factorial's numbers and words, each against a loop over seeds and bins on a table of random numbers."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import nct, t

from experiments import easy_vs_hard_arms_tables as arms
from experiments import easy_vs_hard_contrasts as contrasts
from experiments import easy_vs_hard_detectors as detectors

SEEDS, COUPLINGS, TIERS, GROUPS = range(5), (0.0, 0.5, 1.0), ("easy", "hard"), {"g0": "given cells seen", "g1": "blind"}
METRICS = ("jump_loss/t", "holding_loss/t", "auroc_branch/t", "auroc_random/t", "knockout_zero_jump/t")
NINE = float(np.log(9))


@pytest.fixture(scope="module")
def table():
    """No two values alike, an evaluation on the way and one on other boards beside each, lines in no order."""
    rng, lines = np.random.default_rng(3), []
    for group, tier, test, K, seed in itertools.product(GROUPS, TIERS, TIERS, COUPLINGS, SEEDS):
        own = dict(group=group, tier=tier, test=test, attention=K, seed=seed, row=f"{tier}{K}{seed}")
        for step, split in ((5, "test"), (9, "test"), (9, "validation")):
            for metric, bin_ in itertools.product(METRICS, range(10)):
                lines.append(own | dict(step=step, split=split, bin=bin_, metric=metric, value=1 + rng.random()))
            for metric in ("auroc_branch", "auroc_random"):
                lines.append(own | dict(step=step, split=split, bin=-1, metric=metric, value=rng.random()))
    return pd.DataFrame(lines).sample(frac=1, random_state=0)


def at_end(table, **own):
    """The values of some lines at the end of training, on the boards that results are told of."""
    kept = (table["step"] == 9) & (table["split"] == "test")
    for name, value in own.items():
        kept &= table[name] == value
    return table[kept]


def loss(table, group, head, tier, test, K, seed):
    """Over t in [.6, 1]: a bin of t has as many resampled cells as its middle says, and as many cells as any other."""
    rows = at_end(table, group=group, tier=tier, test=test, attention=K, seed=seed, metric=f"{head}_loss/t")
    by_bin = rows.set_index("bin")["value"]
    weight = {b: 0.05 + 0.1 * b if head == "jump" else 1.0 for b in (6, 7, 8, 9)}
    return sum(weight[b] * by_bin[b] for b in weight) / sum(weight.values())


def half(values):
    return t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))


def test_benefits_and_their_difference_are_those_of_a_loop_over_seeds(table):
    found = contrasts.contrasts(table).set_index(["visibility", "head", "test", "coupling"])
    assert len(found) == 2 * 2 * 3 * 2
    for group, head, test, K in itertools.product(GROUPS, ("jump", "holding"), ("own", *TIERS), (0.5, 1.0)):
        gains = {}
        for tier in TIERS:
            asked = (group, head, tier, tier if test == "own" else test)
            gains[tier] = np.array([loss(table, *asked, 0.0, s) - loss(table, *asked, K, s) for s in SEEDS])
        row, d = found.loc[(GROUPS[group], head, test, K)], gains["hard"] - gains["easy"]
        for tier in TIERS:
            told = row[f"benefit_{tier}"], row[f"{tier}_half"]
            assert told == pytest.approx((gains[tier].mean(), half(gains[tier])))
        bounds = d.mean(), d.mean() - half(d), d.mean() + half(d)
        assert (row["difference"], row["low"], row["high"]) == pytest.approx(bounds)
        flips = [abs(np.dot(signs, d)) >= abs(d.sum()) - 1e-9 for signs in itertools.product((-1, 1), repeat=len(d))]
        assert row["p"] == pytest.approx(np.mean(flips))
        error = np.std(d, ddof=1) / np.sqrt(len(d))
        assert row["p_equivalent"] == pytest.approx(t.sf((0.02 - abs(d.mean())) / error, len(d) - 1))
        assert row["seeds"] == len(SEEDS)


def test_many_contrasts_are_corrected_together(table):
    found = contrasts.contrasts(table)
    order, above = found["p"].to_numpy().argsort(kind="stable"), 0.0
    for rank, i in enumerate(order):
        above = max(above, min(1.0, (len(found) - rank) * found["p"].iloc[i]))
        assert found["p_holm"].iloc[i] == pytest.approx(above)


@pytest.mark.parametrize("n", [6, 8, 64])
def test_what_could_have_been_found_is_found_with_probability_eight_tenths(n):
    """By the noncentral t distribution; the usual formula is an approximation to it, better with more seeds."""
    differences = np.random.default_rng(n).normal(0, 0.05, n)
    least = contrasts.detectable(differences) / (np.std(differences, ddof=1) / np.sqrt(n))
    edge = t.ppf(0.975, n - 1)
    power = nct.sf(edge, n - 1, least) + nct.cdf(-edge, n - 1, least)
    assert power == pytest.approx(0.8, abs=0.02)


def test_detection_compares_at_the_strongest_coupling_on_hard_boards(table):
    def auroc(tier, K):
        own = at_end(table, group="g0", tier=tier, test="hard", attention=K, metric="auroc_branch")
        return own.sort_values("seed")["value"].to_numpy()

    gaps = auroc("hard", 1.0) - auroc("easy", 1.0), auroc("hard", 1.0) - auroc("hard", 0.0)
    for line, gap in zip(contrasts.detection(table).splitlines(), gaps, strict=True):
        low, high = gap.mean() - half(gap), gap.mean() + half(gap)
        assert f"{gap.mean():+.3f} [{low:+.3f}, {high:+.3f}]" in line


def test_levels_are_those_of_the_own_tier_and_aurocs_of_both(table):
    levels = contrasts.by_t(table).set_index(["metric", "visibility", "tier", "test", "coupling", "bin"])
    for metric, test in itertools.product(("jump_loss/t", "knockout_zero_jump/t", "auroc_random/t"), TIERS):
        asked = (metric, "blind", "easy", test, 0.5, 7)
        if test == "easy" or metric.startswith("auroc"):
            own = at_end(table, metric=metric, group="g1", tier="easy", test=test, attention=0.5, bin=7)["value"]
            row = levels.loc[asked]
            assert (row["mean"], row["high"] - row["mean"], row["n"]) == pytest.approx((own.mean(), half(own), 5))
        else:
            assert asked not in levels.index


def flat(easy, hard, alone=(1.0, 1.0), spread=0.001):
    """Losses that are the same at every t: ``alone`` without coupling, less the benefits at K = .5 and 1 of a tier."""
    lines, wobble = [], spread * np.array([-1, 1, -1, 1, 0])
    for group, (tier, gains, start), test, seed in itertools.product(
        GROUPS, zip(TIERS, (easy, hard), alone, strict=True), TIERS, SEEDS
    ):
        for K, gain in zip(COUPLINGS, (0.0, *gains), strict=True):
            own = dict(group=group, tier=tier, test=test, attention=K, seed=seed, row="a", step=9, split="test")
            value = start - gain - (K > 0) * (tier == "hard") * wobble[seed]
            lines += [
                own | dict(metric=f"{h}_loss/t", bin=b, value=value) for h in ("jump", "holding") for b in range(10)
            ]
    return pd.DataFrame(lines)


@pytest.mark.parametrize(
    ("easy", "hard", "how", "word"),
    [
        ((0.0, 0.10), (0.0, 0.115), {}, "supported"),  # above 0, if within the margin too
        ((0.0, 0.10), (0.0, 0.085), {}, "refuted"),
        ((0.0, 0.10), (0.0, 0.070), {}, "open"),  # the other way round, and more than the margin
        ((0.0, 0.10), (0.3, 0.10), {}, "refuted"),  # the strongest coupling alone decides
        ((0.3, 0.0), (0.0, 0.1), {}, "supported"),
        ((0.0, 0.10), (0.0, 0.10), dict(spread=0.030), "open"),  # 0.02 within the interval
        ((0.0, 0.10), (0.0, 0.10), dict(spread=0.015), "refuted"),
        ((0.0, 0.0), (0.0, 0.5), dict(alone=(1.0, NINE - 0.09)), "void"),  # one tier is enough
        ((0.0, 0.0), (0.0, 0.5), dict(alone=(NINE - 0.09, 1.0)), "void"),
        ((0.0, 0.0), (0.0, 0.5), dict(alone=(NINE - 0.11, 1.0)), "supported"),
    ],
)
def test_the_verdict_follows_the_thresholds_that_were_written_down(easy, hard, how, word):
    table = flat(easy, hard, **how)
    primary, control, _ = contrasts.verdict(table, contrasts.contrasts(table), NINE).splitlines()
    assert word in primary and word in control


@pytest.mark.parametrize(("gap", "word"), [(0.025, "only sooner"), (0.035, "open"), (-0.025, "only sooner")])
def test_equally_good_detectors_differ_by_less_than_what_would_matter(gap, word):
    wobble = np.array([-0.03, 0.03, -0.03, 0.03, 0.0, 0.0]) * (0.1 if word == "only sooner" else 1)
    assert detectors._word(pd.Series(-abs(gap) + wobble), 2) == word


def test_the_ways_up_and_down_are_laid_over_each_other_at_equal_couplings():
    """On the way up K has the value v(K), on the way down w(K): the area lies between these two curves."""
    up, down = (lambda K: K**2), (lambda K: 0.3 + 0.7 * K)
    lines = []
    for end, seed, done in itertools.product((0.0, 1.0), range(3), range(9)):
        K = abs(1 - end - done / 8)
        own = dict(row="a", group="g0", tier=2, split="validation", bin=-1, presentations=1, attention=end, seed=seed)
        own |= dict(ramp_from=1 - end, ramp_steps=8, ramp_after=4, step=4 + done)
        for metric in ("knockout_zero_jump", "knockout_zero_holding", "tower_cka", "jump_loss", "holding_loss"):
            lines.append(own | dict(metric=metric, value=(up if end else down)(K)))
    grid = np.arange(9) / 8
    found = arms.hysteresis(pd.DataFrame(lines))[1].set_index("measure")["mean"]
    assert found["area, jump loss"] == pytest.approx(np.trapezoid(down(grid) - up(grid), grid))
    assert found["down - up, jump_loss"] == pytest.approx(down(0.5) - up(0.5))


def test_curves_along_training_are_of_validation_boards():
    lines = [
        dict(split=split, bin=bin_, group=group, metric=metric, attention=K, seed=1, presentations=64, value=value)
        for value, (split, bin_, group, metric, K) in enumerate(
            itertools.product(("test", "validation"), (-1, 3), ("g0", "g1"), ("jump_loss", "separation"), (0.0, 1.0))
        )
    ]
    found = arms.along(pd.DataFrame(lines), "g1", "separation")
    assert found.index.to_list() == [(0.0, 1), (1.0, 1)] and found[64].to_list() == [22, 23]
