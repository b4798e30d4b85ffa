"""Statistics against closed forms, derived rows against tables small enough to check by hand."""

import io
import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from gidd_jax import analysis
from gidd_jax.errors import InputError

COLUMNS = "row group seed attention learning_rate step presentations split metric bin value".split()


def measure(attention, seed, metric, value, *, step=100, split="test", bin=-1, group="4x4", learning_rate=1e-3):
    row = f"{group}{attention}{seed}{learning_rate}"
    at = (step, step * 64, split, metric, bin, value)
    return dict(zip(COLUMNS, (row, group, seed, attention, learning_rate, *at), strict=True))


def table_of(*measurements):
    return pd.DataFrame(list(measurements), columns=COLUMNS)


def sudoku_table(gains=(0.5, 0.6), seeds=3):
    """Untrained accuracy .1 in every bin, final .1 + gain, the gain set for each dial value 0, 1, 2, ..."""
    rows = []
    for dial, gain in enumerate(gains):
        for seed in range(seeds):
            wobble = 0.01 * (seed - (seeds - 1) / 2)
            for split, step, up in (("validation", 0, 0.0), ("validation", 100, gain), ("test", 100, gain)):
                here = {"step": step, "split": split}
                rows.append(measure(float(dial), seed, "jump_loss", 2.0 - up + wobble, **here))
                rows.append(measure(float(dial), seed, "jump_accuracy", 0.1 + up, **here))
                rows.append(measure(float(dial), seed, "holding_loss", 0.7 - up / 2, **here))
                rows.append(measure(float(dial), seed, "holding_floor", 0.1, **here))
                rows.append(measure(float(dial), seed, "separation", up, **here))
                rows.append(measure(float(dial), seed, "separation_ceiling", 0.84, **here))
                rows.append(measure(float(dial), seed, "puzzle_accuracy@10", up / 2, **here))
                rows.append(measure(float(dial), seed, "puzzle_accuracy@1", up, **here))
                rows.append(measure(float(dial), seed, "gradient_cosine", -0.0001, **here))
                rows += [measure(float(dial), seed, "jump_accuracy/t", 0.1 + up, bin=b, **here) for b in range(10)]
    return table_of(*rows)


def test_mean_interval_equals_the_hand_value_and_scipy():
    # 1, 2, 3: mean 2, standard error 1/sqrt(3), t_{.975, 2} = 4.302653
    interval = analysis.mean_interval([1.0, 2.0, 3.0])
    assert interval.high == pytest.approx(2 + 4.302652729696142 / math.sqrt(3))
    values = np.random.default_rng(0).normal(size=9)
    expected = scipy.stats.t.interval(0.9, 8, values.mean(), scipy.stats.sem(values))
    assert analysis.mean_interval(values, alpha=0.1)[1:3] == pytest.approx(expected)


def test_mean_interval_drops_what_is_not_finite_and_counts_the_rest():
    assert analysis.mean_interval([1.0, np.nan, 3.0, np.inf]) == analysis.mean_interval([1.0, 3.0])
    alone = analysis.mean_interval([np.nan, 5.0])
    assert (alone.mean, alone.n) == (5.0, 1) and math.isnan(alone.low) and math.isnan(alone.high)
    none = analysis.mean_interval([np.nan])
    assert none.n == 0 and math.isnan(none.mean)


def test_mean_interval_covers_at_its_stated_rate():
    """2000 intervals at alpha = .1: the count that cover is Binomial(2000, .9); 4 standard deviations, p < 1e-4."""
    samples = np.random.default_rng(1).normal(3.0, 2.0, size=(2000, 5))
    covered = sum(
        interval.low <= 3.0 <= interval.high for interval in (analysis.mean_interval(s, 0.1) for s in samples)
    )
    assert abs(covered - 1800) < 4 * math.sqrt(2000 * 0.9 * 0.1)


def test_paired_interval_removes_what_the_pairs_share():
    shared = np.array([0.0, 10.0, 20.0, np.nan])
    paired = analysis.paired_interval(shared + np.array([1.0, 1.1, 0.9, 1.0]), shared)
    assert paired == pytest.approx(analysis.mean_interval([1.0, 1.1, 0.9]))
    assert paired.n == 3 and paired.low > 0


def test_bootstrap_of_the_mean_agrees_with_the_normal_interval():
    values = np.random.default_rng(2).normal(size=400)
    interval = analysis.bootstrap_interval(values, lambda x: float(x.mean()), seed=0, level=0.9)
    half = 1.6449 * values.std() / 20
    assert interval.mean == pytest.approx(values.mean())
    assert interval.high - interval.mean == pytest.approx(half, rel=0.1)
    assert interval == analysis.bootstrap_interval(values, lambda x: float(x.mean()), seed=0, level=0.9)
    assert interval.low > analysis.bootstrap_interval(values, lambda x: float(x.mean()), seed=0, level=0.99).low


def test_bootstrap_of_one_value_has_no_width():
    assert math.isnan(analysis.bootstrap_interval([4.0], lambda x: float(x[0]), seed=0).low)


def test_benefit_is_the_loss_without_coupling_minus_the_loss_with():
    table = table_of(
        measure(0.0, 0, "jump_loss", 1.5),
        measure(2.0, 0, "jump_loss", 1.2),
        measure(0.0, 1, "jump_loss", 1.0),
        measure(2.0, 1, "jump_loss", 1.1),
        measure(0.0, 0, "holding_loss/t", 0.4, bin=3),
        measure(2.0, 0, "holding_loss/t", 0.1, bin=3),
        measure(2.0, 0, "jump_accuracy", 0.1),
    )
    gained = analysis.benefit(table, "attention")
    assert list(gained.columns) == COLUMNS
    by = gained.set_index(["metric", "attention", "seed", "bin"])["value"]
    assert by["benefit_jump", 2.0, 0, -1] == pytest.approx(0.3)
    assert by["benefit_jump", 2.0, 1, -1] == pytest.approx(-0.1)
    assert by["benefit_holding/t", 2.0, 0, 3] == pytest.approx(0.3)
    assert (gained.loc[gained["attention"] == 0, "value"] == 0).all()
    assert len(gained) == 6


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"learning_rate": 1e-2}, {"group": "9x9"}, {"step": 50}, {"split": "validation"}, {"bin": 2}]
)
def test_benefit_never_pairs_across_anything_but_the_dial(other):
    coupled = {"attention": 1.0, "seed": 0, "metric": "jump_loss", "value": 1.0}
    table = table_of(measure(0.0, 0, "jump_loss", 2.0), measure(**(coupled | other)))
    gained = analysis.benefit(table, "attention")
    assert list(gained["attention"]) == [0.0]


def test_a_table_that_holds_derived_rows_gains_no_second_ones():
    once = analysis.with_derived(sudoku_table(), "attention")
    pd.testing.assert_frame_equal(analysis.with_derived(once, "attention"), once)


def test_benefit_of_a_dead_replica_is_unknown():
    table = table_of(measure(0.0, 0, "jump_loss", 1.0), measure(1.0, 0, "jump_loss", np.nan))
    assert np.isnan(analysis.benefit(table, "attention")["value"].iloc[1])


def test_an_unknown_dial_is_refused_with_the_dials_there_are():
    with pytest.raises(InputError, match="attention, learning_rate"):
        analysis.benefit(sudoku_table(), "atention")


def test_holding_excess_is_paired_with_the_floor_of_the_same_row():
    excess = analysis.holding_excess(sudoku_table())
    last = excess[(excess["split"] == "test") & (excess["attention"] == 0)]
    assert last["value"].to_numpy() == pytest.approx([0.7 - 0.25 - 0.1] * 3)


def test_final_prefers_test_and_never_reaches_back_for_a_dead_row():
    table = table_of(
        measure(0.0, 0, "jump_loss", 1.0, split="validation", step=100),
        measure(0.0, 0, "jump_loss", 2.0, split="test", step=100),
        measure(0.0, 0, "gradient_cosine", 3.0, split="train", step=90),
        measure(0.0, 1, "gradient_cosine", 4.0, split="train", step=50),
    )
    assert list(analysis.final(table)["value"]) == [2.0, 3.0]


def test_regroup_keeps_settings_apart():
    table = table_of(measure(0.0, 0, "loss", 1.0), measure(0.0, 0, "loss", 2.0, learning_rate=0.01))
    assert list(analysis.regroup(table, ["learning_rate"])["group"]) == [
        "4x4, learning_rate 0.001",
        "4x4, learning_rate 0.01",
    ]
    assert analysis.swept(table) == ["learning_rate"]


def test_summary_holds_means_half_widths_and_the_dead():
    table = sudoku_table()
    dead = (table["attention"] == 1) & (table["seed"] == 2) & (table["step"] == 100)
    table.loc[dead, "value"] = np.nan
    lines = analysis.summary(table, "attention").set_index("attention")
    assert lines.loc[0.0, "jump_loss"] == pytest.approx(1.5)
    assert lines.loc[0.0, "jump_loss±"] == pytest.approx(4.302652729696142 * 0.01 / math.sqrt(3))
    assert lines.loc[1.0, "benefit_jump"] == pytest.approx(0.1)
    assert lines.loc[1.0, "benefit_jump±"] == pytest.approx(0)
    assert lines.loc[0.0, "holding_excess"] == pytest.approx(0.35)
    assert list(lines["replicas"]) == [3, 3] and list(lines["dead"]) == [0, 1]
    decoded = [column for column in lines if "@" in column and "±" not in column]
    assert decoded == ["puzzle_accuracy@1", "puzzle_accuracy@10"]


def test_summary_counts_a_replica_that_says_it_is_dead():
    table = pd.concat([sudoku_table(), table_of(measure(1.0, 0, "alive", 0.0, split="train"))])
    assert list(analysis.summary(table, "attention")["dead"]) == [0, 1]
    assert "finite; 1 in all, in no mean" in " ".join(analysis.format_summary(table, "attention").split())
    assert "dead:" not in analysis.format_summary(sudoku_table(), "attention")


def test_no_two_columns_of_the_summary_share_a_name():
    names = [analysis.metric_name(metric) for family in analysis.FAMILIES.values() for metric in family]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("width", [60, 120])
def test_the_printed_summary_is_aligned(width):
    long_names = [sudoku_table().assign(group=f"a rather long name of a group of models, size {n}") for n in (4, 9)]
    text = analysis.format_summary(pd.concat(long_names), "attention", width)
    *blocks, notes = text.split("\n\n")
    for block in blocks:
        _title, *lines = block.split("\n")
        assert len({len(line) for line in lines}) == 1
        assert len(lines) == 3 + 4
    assert max(map(len, text.split("\n"))) <= (width if width == 120 else 62)
    assert "Performance" in text and "Coupling" in text and "size 9" in text
    titles = [block.split("\n")[0] for block in blocks]
    begun = [title for title in titles if not title.endswith(", continued")]
    assert len(set(begun)) == len(begun) and (width == 120 or len(begun) < len(titles))
    assert "jump accuracy 0.100" in notes and "separation ceiling 0.840" in notes
    assert "95 % t interval over 3 seeds" in " ".join(notes.split())
    assert "split test, step 100" in notes


def test_the_printed_summary_shows_the_unknown_as_a_dash_and_no_negative_zero():
    table = sudoku_table(seeds=1)
    table.loc[(table["attention"] == 1) & (table["metric"] == "jump_loss"), "value"] = np.nan
    text = analysis.format_summary(table, "attention")
    assert " - " in text and "nan" not in text and "-0.000" not in text and "±" not in text
    assert "1 seed, no interval" in text


def test_the_printed_summary_says_what_it_pooled():
    table = pd.concat([sudoku_table(), sudoku_table().assign(learning_rate=0.1, row="other " + sudoku_table()["row"])])
    assert "pooled over learning rate" in " ".join(analysis.format_summary(table, "attention").split())


def test_the_summary_needs_no_more_than_a_loss():
    table = table_of(*[measure(1.0, seed, "loss", 1.0 + seed, split="validation") for seed in range(2)])
    assert "1.500 ±6.353" in analysis.format_summary(table, "attention")


def test_the_summary_reads_what_parquet_gives_back():
    table = sudoku_table()
    stored = io.BytesIO()
    categories = dict.fromkeys(["group", "split", "metric"], "category")
    table.astype(categories).to_parquet(stored)
    restored = pd.read_parquet(stored)
    assert analysis.format_summary(restored, "attention") == analysis.format_summary(table, "attention")


def test_learning_is_visible_when_every_reachable_bin_has_risen():
    seen, gains = analysis.learning_visible(sudoku_table(gains=(0.25, 0.35)))
    assert seen is True
    assert gains.groupby("attention")["gain"].mean().to_numpy() == pytest.approx([0.25, 0.35])
    assert len(gains) == 20 and (gains["replicas"] == 3).all()


def test_learning_is_not_visible_when_one_bin_has_not_risen():
    table = sudoku_table()
    stuck = (table["metric"] == "jump_accuracy/t") & (table["bin"] == 7) & (table["step"] == 100)
    table.loc[stuck, "value"] = 0.15
    assert analysis.learning_visible(table)[0] is False
    assert analysis.learning_visible(table, margin=0.05 - 1e-9)[0] is True


def test_the_ambiguous_bins_are_not_held_against_it():
    table = sudoku_table()
    table.loc[(table["metric"] == "jump_accuracy/t") & (table["bin"] >= 8), "value"] = 0.1
    assert analysis.learning_visible(table)[0] is True


def test_learning_is_not_visible_in_the_dead_nor_without_a_start():
    table = sudoku_table()
    table.loc[table["step"] == 100, "value"] = np.nan
    assert analysis.learning_visible(table)[0] is False
    with pytest.raises(InputError, match="step 0"):
        analysis.learning_visible(table[table["step"] > 0])


def test_every_label_names_its_unit():
    assert analysis.axis_label("holding_loss/t") == "holding loss (nats per cell)"
    assert analysis.axis_label("puzzle_accuracy@10") == "boards solved @10 (fraction)"
    assert analysis.axis_label("something_new") == "something new"
    assert all(unit for _, unit in analysis.LABELS.values())
