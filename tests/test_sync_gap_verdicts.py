"""What the experiment concludes, on curves and energies made so that the right answer is known."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from experiments import (
    sync_gap,
    sync_gap_figures,
    sync_gap_measure,
    sync_gap_pooled,
    sync_gap_report,
    sync_gap_verdicts,
)
from experiments.sync_gap_verdicts import (
    ARMS,
    CONTROL,
    COUPLINGS,
    FIRST,
    LAST,
    NATURAL,
    PARTS,
    STRONG,
    Measured,
    Ratios,
)
from gidd_jax import analysis, export, replica
from gidd_jax.config import to_json
from gidd_jax.errors import InputError
from gidd_jax.models import dit_image
from gidd_jax.studies.syncgap_theory import Amplitudes, Local, Terms

UNTIL = np.arange(0, 51, 5)
LAYERS = 10


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(sync_gap_verdicts, "RESAMPLES", 60)


def falling(middle, seed, height=1.0):
    """32 noisy curves that fall from 2 to 2 - height around a step."""
    rng = np.random.default_rng(seed)
    clean = 2 - height / (1 + np.exp(-(UNTIL - middle) / 3))
    return clean[None] * np.exp(0.1 * rng.normal(size=(32, len(UNTIL))))


def ratios(held_out, in_sample=None, spread=0.0, seed=0):
    """Ratios [L, S] whose last step is as given."""
    rng = np.random.default_rng(seed)
    ones = np.ones((LAYERS, 49))
    noisy = lambda x: np.concatenate([ones, (x + spread * rng.normal(size=LAYERS))[:, None]], axis=1)  # noqa: E731
    own = held_out if in_sample is None else in_sample
    one = noisy(np.ones(LAYERS))
    return Ratios(noisy(own), noisy(held_out), noisy(5 * np.ones(LAYERS)), one, one * noisy(held_out), one)


def theory(gamma=0.2, observed=20.0, predicted=21.0, closure=0.0):
    """Two leading and two trailing modes; chi is 1 of leading ones, .5 of trailing ones; pi is a hundredth of it."""
    shape, steps = (4, LAYERS, 4), np.array([0, 15, 30, 49])
    of = lambda x: np.broadcast_to(np.asarray(x, float), shape)  # noqa: E731
    chi = of([1.0, 1.0, 0.5, 0.5])
    gain = replica.ScoreGain(np.full(shape[:2], gamma), np.full(shape[:2], 0.1))
    local = Local(replica.Branching(of(0), of(1), of(0)), gain, of(0))
    modes = lambda x: np.full(shape[1:], x)  # noqa: E731
    a = np.ones((*shape, 6))
    return sync_gap_verdicts.Theory(
        steps,
        Terms(chi, 0.01 * chi, of(0), of(0), of(0)),
        of(1),
        Amplitudes(a, a),
        local,
        of(closure),
        modes(predicted),
        modes(observed),
    )


def made(
    coarse=20.0, fine=30.0, own_height=0.0, apart=1.0, closed=1.0, in_sample=None, spread=0.01, first=1.0, nearer=0.0
):
    """Controls commit at the given steps; with own noise curves are flat unless given a height. first: the last layer's
    ratio where the first layers are coupled; nearer: how much of the distance coupling the last layers takes away."""
    curves = {"coarse": {}, "fine": {}, "feature_cosine": {}}
    for i, (name, (_, shared)) in enumerate(ARMS.items()):
        for which, (scale, middle) in enumerate((("coarse", coarse), ("fine", fine))):
            curves[scale][name] = falling(middle, 10 * i + which, 1.5 if shared else own_height)
        curves["feature_cosine"][name] = np.zeros((32, len(UNTIL)))
    for arms in curves.values():
        arms["strangers"] = np.full(32, 2.0)
    far = 2 + 0.1 * np.random.default_rng(0).normal(size=32)
    ends = {PARTS[0]: far, PARTS[1]: far, PARTS[2]: far * (1 - nearer)}
    of = {NATURAL: apart, STRONG: closed, FIRST: first, LAST: closed}
    of = {coupling: np.ones(LAYERS) * value for coupling, value in of.items()}
    return Measured(
        UNTIL,
        curves,
        dict.fromkeys(curves, ends),
        {g: ratios(x, in_sample) for g, x in of.items()},
        {g: [ratios(x, in_sample, spread, seed) for seed in range(8)] for g, x in of.items()},
        64.0,
        {NATURAL: theory(), STRONG: theory()},
    )


def words(found):
    return {each.statement[:12]: each.word for each in sync_gap_verdicts.verdicts(found)}


@pytest.mark.parametrize(("coarse", "fine", "word"), [(20, 30, "holds"), (30, 20, "refuted"), (25, 25, "undecided")])
def test_hierarchy_of_the_control(coarse, fine, word):
    found = sync_gap_verdicts.hierarchy(made(coarse, fine), CONTROL)
    assert found.word == word and found.low < fine - coarse < found.high


def test_pairs_that_move_apart_have_not_committed():
    """A fine discrepancy that rises at step 40 is no commitment after a coarse one that falls at 20."""
    found = made()
    found.curves["fine"][CONTROL] = 4 - falling(40, 7)
    verdict = sync_gap_verdicts.hierarchy(found, CONTROL)
    assert verdict.word.startswith("no answer: no sigmoid") and np.isnan(verdict.value)
    told = sync_gap_report.midpoints([found], 50)
    assert next(line for line in told if CONTROL in line and "fine" in line).endswith("refused")


@pytest.mark.parametrize(("strong", "word"), [(15, "holds"), (35, "refuted")])
def test_stronger_coupling_commits_earlier_by_paired_resamples(strong, word):
    found = made()
    weakest, strongest = "g = 0.3, own noise", "g = 1, own noise"
    for seed, (arm, middle) in enumerate(((weakest, 25), (strongest, strong))):
        found.curves["coarse"][arm] = falling(middle, seed)
    verdict = sync_gap_verdicts.earlier(found, "coarse")
    assert verdict.word == word and verdict.low < 25 - strong < verdict.high
    assert verdict.statement == "1 commits earlier at g = 1 than at g = 0.3, steps (coarse)"
    found.curves["coarse"][strongest] = found.curves["coarse"][weakest]
    assert sync_gap_verdicts.earlier(found, "coarse")[1:4] == (0, 0, 0)


def test_every_plan_leaves_enough_sets_to_hold_one_out():
    """Leaving one set out must leave two, or the intervals of all that is held out are lost."""
    rng = np.random.default_rng(0)
    for plan in sync_gap.PLANS.values():
        M = 8 * plan.sets
        v = rng.normal(size=(3, 2, M, 200))
        grams = np.einsum("lsmd,lnd->lsmn", v, v[:, 0])
        whole, without = sync_gap_verdicts.with_jackknife(grams, rng.random((3, 2, 2, M)), plan.sets)
        numbers = sync_gap_verdicts.jackknifed(lambda r: float(r.held_out[-1, -1]), whole, without)
        assert np.isfinite(numbers).all()
    lost = sync_gap_verdicts.within("4", 0.05, np.nan, np.nan, 0.1)
    assert lost.word == "no answer: too few sets of pairs"


def test_leading_and_trailing_energies_are_what_held_out_divides():
    v = np.random.default_rng(1).normal(size=(2, 3, 24, 50)) * np.array([1.0, 0.5, 0.2])[:, None, None]
    found = analysis.mode_gaps(np.einsum("lsmd,lnd->lsmn", v, v[:, 0]), 3)
    np.testing.assert_allclose(found.trailing / found.leading, found.held_out)
    np.testing.assert_allclose(found.leading[:, 0], 1)
    assert (found.trailing[:, 2] < found.trailing[:, 0]).all()


def test_a_class_that_is_not_there_is_refused():
    sync_gap.checked([None, 9], 10)
    for kind in (10, -1):
        with pytest.raises(InputError, match=f"--classes {kind}: the classes are 0 to 9"):
            sync_gap.checked([None, kind], 10)


def test_the_users_decoder_and_features_see_a_batch_of_images():
    x = jnp.arange(48.0).reshape(3, 2, 2, 2, 2)
    found = sync_gap.by_image("jax.numpy:sin", "--decode")(x)
    assert found.shape == x.shape and (found == jnp.sin(x)).all()
    flat = sync_gap.by_image("tests.test_sync_gap_verdicts:features", "--features")(x)
    assert flat.shape == (3, 2, 2) and (flat == x.sum((-1, -2))).all()
    for name in ("jax.numpy:no_such", "no_such_module:f", ""):
        with pytest.raises(InputError, match=r"--decode .*cannot be imported"):
            sync_gap.by_image(name, "--decode")


def features(x):
    assert x.ndim == 4
    return x.sum((-1, -2))


def test_flat_curves_have_no_answer():
    found = sync_gap_verdicts.verdicts(made())
    own = [each for each in found if "own noise" in each.statement or each.statement.startswith("4 behaviour")]
    assert len(own) == 3 and all(each.word.startswith("no answer") for each in own)


def test_gaps_are_judged_by_what_is_held_out():
    rising = np.where(np.arange(LAYERS) >= 8, 6.0, 3.0)
    found = {each.statement: each for each in sync_gap_verdicts.verdicts(made(in_sample=rising))}
    assert found["2 last layers over first half, g = 0 (in sample)"].word == "holds"
    assert found["2 last layers over first half, g = 0 (in sample)"].value == pytest.approx(3.0)
    assert found["2 last layers over first half, g = 0 (held out)"].word == "undecided"
    assert found["3 gap - 1 at g = 0, last layer (held out)"].word == "undecided"
    assert words(made(apart=1.5))["3 gap - 1 at"] == "holds"
    assert words(made(apart=0.5))["3 gap - 1 at"] == "refuted"


def test_collapse_is_an_equivalence_and_not_a_lack_of_evidence():
    assert words(made(apart=1.5, closed=1.0))["4 internal: "] == "holds"
    assert words(made(apart=1.5, closed=1.4))["4 internal: "] == "refuted"
    assert words(made(apart=1.5, closed=1.0, spread=0.3))["4 internal: "] == "undecided"


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).normal(size=9)
    without = [np.delete(values, i) for i in range(9)]
    mean, low, high = sync_gap_verdicts.jackknifed(np.mean, values, without)
    assert mean == pytest.approx(values.mean())
    assert high - low == pytest.approx(2 * 1.96 * values.std(ddof=1) / 3)


def test_leaving_a_set_out_is_measuring_the_others():
    rng = np.random.default_rng(1)
    V = rng.normal(size=(3, 24, 40))
    grams, bands = np.einsum("smd,nd->smn", V, V[0])[None], rng.uniform(1, 2, size=(1, 3, 2, 24))
    whole, without = sync_gap_verdicts.with_jackknife(grams, bands, 3)
    np.testing.assert_allclose(whole.held_out, analysis.mode_gaps(grams, 3).held_out)
    np.testing.assert_allclose(without[0].held_out, analysis.mode_gaps(grams[..., 8:, 8:], 2).held_out)
    (low0, high0), (low, high) = bands[0, 0, :, 8:].sum(-1), bands[0, 2, :, 8:].sum(-1)
    assert without[0].cosine[0, 2] == pytest.approx((high / low) / (high0 / low0))


def test_a_fifth_of_the_layers_is_coupled():
    by_layer = lambda part, layers: np.flatnonzero(sync_gap_verdicts.Coupling(0.9, part).by_layer(layers)).tolist()  # noqa: E731
    assert by_layer("first fifth", 8) == [0, 1] and by_layer("last fifth", 8) == [6, 7]
    assert by_layer("last fifth", 28) == [22, 23, 24, 25, 26, 27] and by_layer("first fifth", 2) == [0]
    assert (
        by_layer("all layers", 3) == [0, 1, 2]
        and str(FIRST) == "g = 0.9 in the first fifth"
        and str(STRONG) == "g = 0.9"
    )


def test_which_layers_matter_is_judged_by_what_coupling_them_does():
    found = {each.statement: each for each in sync_gap_verdicts.verdicts(made(closed=1.0, first=1.4, nearer=0.3))}
    inside = found["2 cause: coupled last fifth closes the gap more than first"]
    outside = found["2 cause: coupled last fifth brings nearer than first (coarse)"]
    assert inside.word == "holds" and inside.value == pytest.approx(0.4)
    assert outside.word == "holds" and outside.value == pytest.approx(0.3, abs=0.05)
    same = {each.statement: each.word for each in sync_gap_verdicts.verdicts(made())}
    assert same[inside.statement] == same[outside.statement] == "undecided"


def test_no_gap_in_behaviour_is_an_equivalence():
    both = made(20.0, 20.2, own_height=1.5)
    found = {each.statement: each for each in sync_gap_verdicts.verdicts(both)}["4 behaviour: gap in steps at g = 1"]
    assert found.margin == 1 and abs(found.value) < 1 and found.word in ("holds", "undecided")
    apart = {each.statement: each.word for each in sync_gap_verdicts.verdicts(made(20.0, 30.0, own_height=1.5))}
    assert apart["4 behaviour: gap in steps at g = 1"] == "refuted"


def test_modes_are_seen_to_part_where_their_differences_fall_and_refused_where_they_do_not():
    """Amplitudes of 300 pairs that shrink about steps 20 and 40, and of a mode that does not care."""
    shrink = np.stack([1 / (1 + np.exp((UNTIL - 20) / 3)), 1 / (1 + np.exp((UNTIL - 40) / 3)), np.ones(len(UNTIL))])
    ends = np.sqrt(shrink.T)[:, None, :, None] * np.random.default_rng(0).normal(size=(len(UNTIL), 1, 3, 300))
    found = sync_gap_measure.observed(UNTIL, ends)
    np.testing.assert_allclose(found[0, :2], [20, 40], atol=2)
    assert np.isnan(found[0, 2])


def test_the_theorys_assumptions_against_their_thresholds():
    names = ("closure", "|pi|", "leading", "gamma", "half")
    value = lambda of: dict(zip(names, (x.value for x in sync_gap_verdicts.assumptions(of, 50)), strict=True))  # noqa: E731
    good, bad = value(theory()), value(theory(gamma=-1.0, closure=1.0, predicted=np.nan))
    assert good == pytest.approx({"closure": np.log2(1.1), "|pi|": 0.09, "leading": 0.5, "gamma": 0.05, "half": 0.5})
    assert bad["closure"] == pytest.approx(np.log2(1.1) - 1) and bad["gamma"] == -0.95 and bad["half"] == -0.5
    assert value(theory(predicted=27.0))["half"] == -0.5 and np.isnan(value(theory(observed=np.nan))["half"])


# ---------------------------------------------------------------- several seeds


def verdict(value, margin=None):
    return sync_gap_verdicts.Verdict("s", value, np.nan, np.nan, "", margin)


def test_seeds_are_pooled_as_students_test_does_and_corrected_for_all_that_is_asked():
    """Against scipy's test of each statement; Holm's p of two statements is (2, 1) times them, or not below."""
    from scipy.stats import ttest_1samp

    clear, vague = [1.0, 1.1, 0.9, 1.05], [0.3, -0.2, 0.5, 0.1]
    told = {"a": [[verdict(x)] for x in clear], "b": [[verdict(-y)] for y in vague]}
    found = sync_gap_pooled.pooled(told)
    (one,), (other,) = found["a"], found["b"]
    assert one.word == "holds" and other.word == "undecided"
    assert one.p == pytest.approx(2 * ttest_1samp(clear, 0).pvalue)
    assert other.p == pytest.approx(ttest_1samp(vague, 0).pvalue)
    assert one.mean == pytest.approx(np.mean(clear)) and one.low < 1 < one.high
    assert sync_gap_pooled.pooled({"a": [[verdict(-x)] for x in clear]})["a"][0].word == "refuted"
    # Asked often enough, nothing is decided.
    crowd = {"a": told["a"], "b": [[verdict(y)] * 400 for y in vague]}
    assert sync_gap_pooled.pooled(crowd)["a"][0].word == "undecided"


def test_within_a_margin_over_seeds():
    word = lambda values: sync_gap_pooled.pooled({"a": [[verdict(x, 0.1)] for x in values]})["a"][0].word  # noqa: E731
    assert word([0.01, -0.01, 0.02, 0.0]) == "holds"
    assert word([0.51, 0.49, 0.5, 0.52]) == word([-0.51, -0.49, -0.5, -0.52]) == "refuted"
    assert word([0.3, -0.3, 0.1, 0.0]) == "undecided"


def test_a_statement_that_a_seed_has_no_number_for_is_not_counted():
    told = {"a": [[verdict(x), verdict(np.nan if x > 1 else x)] for x in (1.0, 1.1, 0.9)]}
    one, none = sync_gap_pooled.pooled(told)["a"]
    alone = sync_gap_pooled.pooled({"a": [[verdict(x)] for x in (1.0, 1.1, 0.9)]})["a"][0]
    assert one.p == alone.p and none.word == "no answer for 1 of 3 seeds" and np.isnan(none.p)


def test_numbers_that_their_own_models_refuse_decide_nothing_together():
    refused = [sync_gap_verdicts.judged("s", x, np.nan, np.nan) for x in (1.0, 1.1, 0.9)]
    (found,) = sync_gap_pooled.pooled({"a": [[each] for each in refused]})["a"]
    assert found.word == "no answer for 3 of 3 seeds" and np.isnan(found.p) and found.mean == pytest.approx(1)


# ---------------------------------------------------------------- told and drawn


def test_everything_is_told_and_drawn():
    one, other = made(), made(21.0, 31.0, spread=0.02)
    judged = [sync_gap_verdicts.verdicts(each) for each in (one, other)]
    text = sync_gap_report.tell(8, 3, {0: one}, judged[:1], None)
    assert "== 8 layers, class 3, seed 0" in text and "refused" in text and text.count("no answer") == 5
    assert (
        "40 of 40" not in text and "20 of 20 predicted to part (median step 21), 20 seen to (20), 20 both, 1.0" in text
    )
    over = sync_gap_pooled.pooled({"a": judged})["a"]
    several = sync_gap_report.tell(8, None, {0: one, 1: other}, judged, over)
    assert "seed 0, 1" in several and "Holm p" in several and "40 of 40 predicted" in several
    table = sync_gap_report.table({(8, None): {0: one, 1: other}, (8, 3): {0: one}})
    assert set(table["kind"]) == {"no class", "class 3"} and set(table["seed"]) == {0, 1}
    assert {"held_out", "cosine", "coarse", "gamma", "predicted", "closure"} <= set(table["measure"])
    read = pd.read_csv(io.StringIO(table.to_csv(index=False)))
    assert not read["measure"].isna().any() and set(read["measure"]) == set(table["measure"])
    for found in ([one], [one, other]):
        figure = sync_gap_figures.drawn(found)
        assert len(figure.axes) == 10
        assert all(ax.collections for ax in figure.axes[:9]), "every curve has its band"


def test_a_band_is_as_wide_as_the_error_it_shows():
    """Of a median over 32 pairs, and of a jackknife that is the standard error of a mean."""
    found = made()
    band = sync_gap_figures.committed([found], "coarse", CONTROL)
    assert (band.low <= band.value + 1e-9).all() and (band.value <= band.high + 1e-9).all()
    values = np.random.default_rng(0).normal(size=(200, 3))
    mean = sync_gap_figures.resampled(values)
    np.testing.assert_allclose(mean.high - mean.low, 2 * 1.96 * values.std(0) / np.sqrt(200), rtol=0.25)
    several = sync_gap_figures.over([made(apart=1.0), made(apart=2.0)], NATURAL, lambda r: r.held_out[:, -1])
    np.testing.assert_allclose(several.value, 1.5)
    np.testing.assert_allclose(several.high - several.value, 12.706 * 0.5, rtol=1e-3)


@pytest.mark.slow
def test_a_model_is_measured_from_end_to_end(tmp_path):
    """Of a transformer without training, as import-dit leaves one: pairs apart by nothing but their start."""
    shape = dit_image.DitImageConfig(8, 2, classes=2, layers=3, d_model=8, heads=2)
    fresh = dit_image.init(jax.random.key(0), shape)
    params = jax.tree.map(lambda leaf: leaf + 0.1 * jnp.sin(jnp.arange(leaf.size)).reshape(leaf.shape), fresh)
    export.save(tmp_path, params, {"model": "dit_image", "config": to_json(shape)})
    maker, (subject,) = sync_gap.imported(tmp_path)
    assert maker.shape == shape and not maker.theory
    maker = maker._replace(steps=8, pool=2, theory=True)
    plan = sync_gap_measure.Plan(pairs=8, forks=7, sets=2)
    run = sync_gap_measure.programs(maker, plan)
    found = sync_gap_measure.measured(maker, plan, run, subject, 1)
    assert found.curves["coarse"][CONTROL].shape == (8, 7) and found.ratios[NATURAL].held_out.shape == (3, 8)
    np.testing.assert_allclose(found.ratios[NATURAL].in_sample[:, 0], 1, rtol=1e-4)
    assert set(found.ratios) == set(COUPLINGS) and len(found.left_out[STRONG]) == 2
    for of in found.theory.values():
        assert of.terms.chi.shape == (7, 3, 8) and of.terms.error.max() < 1e-5 and of.predicted.shape == (3, 8)
    # Coupling the first layers only is neither coupling none nor all.
    ends = [np.asarray(found.ends["fine"][part]) for part in PARTS]
    assert all(np.abs(a - b).max() > 1e-6 for a, b in ((ends[0], ends[1]), (ends[1], ends[2])))
    # Another class and seed: the same programs, other pairs of images.
    other = sync_gap_measure.measured(maker, plan, run, subject, 0)
    assert not np.allclose(other.curves["fine"][CONTROL], found.curves["fine"][CONTROL])
    assert all(program._cache_size() == 1 for program in run)
    told = sync_gap_report.tell(3, 1, {0: found}, [sync_gap_verdicts.verdicts(found)], None)
    assert "no class" not in told
    with pytest.raises(InputError, match="holds no image transformer"):
        export.save(tmp_path, params, {"model": "dit", "config": {}})
        sync_gap.imported(tmp_path)
