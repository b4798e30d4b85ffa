"""The factorial of the concept study: contrasts of known effects, and what its tables say of made-up numbers."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from experiments import (
    concept_figures,
    concept_fixes,
    concept_floor,
    concept_gradients,
    concept_tables,
    prefix_diffusion,
)
from gidd_jax.studies import concepts, concepts_data

NAMES = tuple(concept_fixes.FIXES)


def table(seeds=6, noise=0.01):
    """similarity = .1 + .05 depth + .2 prefix + .08 depth x prefix (factors 0 and 1) + noise, at steps 0 and 5."""
    rng, lines = np.random.default_rng(0), []
    for which in itertools.product((0, 1), repeat=4):
        on = dict(zip(NAMES, which, strict=True))
        name = "+".join(key for key, value in on.items() if value) or "-"
        for seed in range(seeds):
            value = 0.1 + 0.05 * on["depth"] + 0.2 * on["prefix"] + 0.08 * on["depth"] * on["prefix"]
            for step, metric, told in (
                *((0, "similarity", 0.1), (5, "similarity", value + noise * rng.standard_normal())),
                *((0, "bound", 6.0), (5, "bound", 5.0 + noise * rng.standard_normal())),
                *((5, "effective_rank_centred", 8 + noise * rng.standard_normal()), (5, "effective_rank", 5.0)),
                *((5, "similarity_bag_of_words", 0.16), (5, "similarity_tf_idf", 0.59)),
            ):
                lines.append((name, seed, step, "validation", -1, metric, told))
    return pd.DataFrame(lines, columns=["setting", "seed", "step", "split", "bin", "metric", "value"])


def test_contrasts_are_the_effects_that_were_put_in():
    values = concept_tables.measured(table(noise=0.0))["similarity"]
    of = lambda *factors: concept_tables.contrast(values, factors, NAMES).to_numpy()  # noqa: E731
    # The mean effect of depth is its own and half of what it adds where prefix is on.
    np.testing.assert_allclose(of("depth"), 0.05 + 0.04, atol=1e-12)
    np.testing.assert_allclose(of("prefix"), 0.2 + 0.04, atol=1e-12)
    np.testing.assert_allclose(of("depth", "prefix"), 0.04, atol=1e-12)
    np.testing.assert_allclose(of("elbo"), 0, atol=1e-12)
    np.testing.assert_allclose(of("depth", "prefix", "elbo"), 0, atol=1e-12)


def test_effects_are_found_and_none_where_there_is_none():
    found = concept_tables.effects(table(), NAMES).set_index(["metric", "effect"])
    real = {"depth", "prefix", "depth x prefix"}
    for effect, row in found.loc["similarity"].iterrows():
        assert (row["holm"] < 0.05) == (effect in real), effect
    # Family-wise: 15 true null hypotheses, none rejected at these seeds.
    assert (found.loc["bound", "holm"] > 0.05).all()
    assert found.loc[("similarity", "depth"), "mean"] == pytest.approx(0.09, abs=0.01)
    assert found.loc[("similarity", "elbo"), "least"] < 0.02


def test_verdicts_say_what_the_numbers_say():
    made = table()
    told = concept_tables.verdicts(made, concept_tables.effects(made, NAMES), made["setting"].unique(), slots=16)
    by_name = {line[:8].strip(): line for line in told}
    assert "not shown" in by_name["claim 1"] and "the largest is prefix" in by_name["claim 1"]
    assert "open" in by_name["claim 2"] and "shown" in by_name["claim 3"]
    assert "above its floor" in by_name["floor"]
    # Depth alone: similarity .15 and rank 5 of 16, which is above 20 of 128.
    words = [line.split("): ")[1].split(" by ")[0] for line in told if line.startswith("gate ")]
    assert words == ["not met", "met", "met"] and all("not comparable" in line for line in told if "gate " in line)


def test_settings_stand_below_random_vectors_and_the_untrained_model():
    last = table()[lambda lines: lines["step"] == 5]
    made = pd.concat([last.assign(step=0), last])
    extra = made[made["metric"] == "effective_rank"].assign(metric="effective_rank_random", value=11.5)
    lines = concept_tables.settings_table(pd.concat([made, extra]), ["-", "depth"]).splitlines()
    assert [line.split("  ")[0] for line in lines] == ["setting", "random vectors", "untrained", "-", "depth"]
    assert lines[1].split()[2:] == ["-", "11.5", "-", "-"] and "rank" in lines[0]
    assert "random" not in concept_tables.settings_table(made, ["-", "depth"])


def test_the_rows_of_the_factorial_are_all_different_and_named():
    hypers, names = concept_fixes.rows("tiny", 2, list(concept_fixes.ARMS))
    settings = 16 + len(concept_fixes.ARMS)
    assert len(names) == len(hypers.seed) == 2 * settings and len(set(names)) == settings
    assert {"-", "depth+elbo+prefix+spread", "elbo+spread"} <= set(names)
    late = names.index("all, regulariser late")
    assert hypers.reg_start[late] == concept_fixes.PRESETS["tiny"]["steps"] / 2


def test_contrasts_of_decoders_are_paired_by_seed():
    lines = []
    for decoder, bound in (("diffusion", 5.0), ("diffusion, attention", 4.9), ("autoregressive", 3.0)):
        for channel, more in (("", 0.0), (", no channel", 0.2)):
            for seed in range(5):
                value = bound + more + seed + 0.001 * ((7 * seed) % 3)  # seeds differ by far more than decoders
                lines.append((decoder + channel, seed, 5, "validation", -1, "bound", value))
    made = pd.DataFrame(lines, columns=["setting", "seed", "step", "split", "bin", "metric", "value"])
    made = pd.concat(
        [made, made.replace({"setting": {"diffusion": "position only"}}).query("setting == 'position only'")]
    )
    made = pd.concat(
        [made, made.query("setting == 'diffusion, no channel'").assign(setting="position only, no channel")]
    )
    found = prefix_diffusion.contrasts(made).set_index(["question", "contrast"])
    assert found.loc[("coordinate", "diffusion, attention less diffusion"), "mean"] == pytest.approx(-0.1)
    assert found.loc["value", "mean"].to_numpy() == pytest.approx(0.2)


def grown(gain, seeds=4):
    """Every measure .1 before training; at the last of three looks ``gain[setting]`` more, seeds .001 apart."""
    lines = []
    for (name, more), seed, step in itertools.product(gain.items(), range(seeds), (0, 5, 10)):
        for metric in (*concept_floor.MEASURES, "topic"):
            value = 0.1 + 0.05 * seed + more * step / 10 + 0.001 * (-1) ** seed * (step > 0)
            lines.append((name, seed, step, "validation", -1, metric, value))
        lines += [(name, seed, step, "validation", -1, f"similarity_{c}", 0.3) for c in ("bag_of_words", "tf_idf")]
        lines.append((name, seed, step, "validation", -1, "topic_majority", 0.2))
    return pd.DataFrame(lines, columns=["setting", "seed", "step", "split", "bin", "metric", "value"])


def test_an_encoder_is_above_its_floor_where_its_paired_gain_is_and_is_large_enough():
    table = grown({"self": 0.1, "prefix": 0.02, "none": -0.1})
    found = concept_floor.gains(table)
    own = found[found["metric"] == "similarity"].set_index("objective")
    np.testing.assert_allclose(own["mean"], [0.1, 0.02, -0.1], atol=1e-12)
    # Seeds differ by .05, their gains by .001: a standard error of .001 / sqrt(3), 3 degrees of freedom.
    half = stats.t.ppf(0.975, 3) * 0.001 / np.sqrt(3)
    np.testing.assert_allclose(own["high"] - own["mean"], half, rtol=1e-6)
    words = [line[29:45].strip() for line in concept_floor.tell(found).splitlines() if line.startswith("similarity ")]
    assert words == ["above its floor", "open", "below its floor"]
    axes = concept_figures.floor(table, ["self", "prefix"], {"counts": 0.2, "weighed": 0.4}, 4).axes
    assert [ax.get_xlabel() for ax in axes] == ["training step"] * 3 and all(ax.get_ylabel() for ax in axes)
    np.testing.assert_allclose(axes[0].lines[0].get_ydata(), [0.175, 0.225, 0.275], atol=1e-9)


def test_pieces_are_weighed_by_how_few_training_texts_have_them(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "text.txt").write_text("\n".join("".join(rng.choice(list("abcdef"), 8)) + "zz" for _ in range(80)))
    # z, in every text, weighs nothing: "abzz" and "bazz" are one text, "abzz" and "cdzz" share nothing.
    lines = ["sentence1,sentence2,score", "abzz,bazz,3", "abzz,cdzz,1", "abzz,aezz,2"]
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    given = dict(data=str(tmp_path / "text.txt"), cut="line", tokenizer="characters", length=10)
    found = concept_floor.pieces(concepts.Config(**given, similarity=str(tmp_path / "pairs.csv")))
    views = concepts_data.views(concepts.Config(**given))
    rows = [views.tokenizer.decode(row[:n]) for row, n in zip(views.train.ids, views.train.lengths, strict=True)]
    rare = {letter: np.log(len(rows) / sum(letter in row for row in rows)) for letter in "abe"}
    part = rare["a"] ** 2 / np.hypot(rare["a"], rare["b"]) / np.hypot(rare["a"], rare["e"])
    assert found["weighed"] == pytest.approx(np.corrcoef([1.0, 0.0, part], [3, 1, 2])[0, 1], abs=1e-9)
    assert found["counts"] == pytest.approx(np.corrcoef([1.0, 4 / 6, 5 / 6], [3, 1, 2])[0, 1], abs=1e-9)


def test_gradients_are_told_as_multiples_of_the_first_objectives_seed_by_seed():
    """Seeds ten times apart, an objective 2^i times the first in each: multiples without spread."""
    lines = []
    for (i, name), seed, step in itertools.product(enumerate(concept_gradients.OBJECTIVES), range(3), (0, 7)):
        values = {"concept_gradient": 10.0**seed * 2.0**i * (3.0 if step else 1.0), "zeroed": 0.25 + 0.1 * i}
        lines += [(name, seed, step, "validation", -1, metric, value) for metric, value in values.items()]
    table = pd.DataFrame(lines, columns=["setting", "seed", "step", "split", "bin", "metric", "value"])
    heads, *told, _ = concept_gradients.tell(table, steps=7, seeds=3).splitlines()
    assert "step 7" in heads
    for i, (line, (name, (_, said))) in enumerate(zip(told, concept_gradients.OBJECTIVES.items(), strict=True)):
        times = f"{2**i:.2f} ±0.00"
        first, later = (f"{37 * 2**i * scale:.2e}" for scale in (1, 3))
        assert line.split("  ", 1)[0] == name
        cells = [cell.strip() for cell in line[len(name) :].split("  ") if cell.strip()]
        assert cells == [said, first, times, later, times, f"{0.25 + 0.1 * i:+.3f} ±0.000"]
