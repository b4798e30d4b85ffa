"""Fine-tuning on pairs with human scores: sides that share no text, heads in closed form, correlations, refusals."""

import csv
import itertools
import re
import shlex

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.stats

from experiments import concept_similarity
from gidd_jax import cli, export, sweep
from gidd_jax.config import to_json
from gidd_jax.data.text import baselines, similarity
from gidd_jax.errors import InputError
from gidd_jax.models import bottleneck
from gidd_jax.studies import concepts, concepts_data, concepts_model, pairs, pairs_data

LETTERS = "abcdefgh"
SHAPE = dict(cut="line", tokenizer="characters", length=11, d_model=8, concepts=3, heads=2, hidden=8, batch=4)
SHAPE |= dict(encoder_layers=2, decoder_layers=1)
ROW = concepts.Hyper(gate=0.7, init_std=0.1, n_concepts=2.0)


def scored(left, right, count, name="made"):
    texts = [f"text {i}" for i in range(count)]
    score = np.arange(len(left), dtype=float)
    return similarity.Similarities(texts, np.int32(left), np.int32(right), score, texts, name)


def test_no_text_is_on_both_sides():
    rng = np.random.default_rng(0)
    # Chains of up to four texts hang together and stay together.
    left = np.arange(400)[np.arange(400) % 4 != 3]
    chains = scored(left, left + 1, 400)
    train, held, kind = similarity.parted(chains)
    assert kind == "groups" and (train ^ held).all() and 0.1 < held.mean() < 0.3
    # Every two of thirty texts: pairs across are in neither.
    left, right = np.triu_indices(30, 1)
    every = scored(left, right, 30)
    train, held, kind = similarity.parted(every)
    assert kind == "texts" and (train.sum(), held.sum()) == (24 * 23 / 2, 6 * 5 / 2)
    for given, parts in ((chains, similarity.parted(chains)), (every, (train, held))):
        sides = [{*given.left[part], *given.right[part]} for part in parts[:2]]
        assert not sides[0] & sides[1]
    # A text's side is its own: pairs in another order, texts under other numbers.
    order, new = rng.permutation(len(left)), rng.permutation(30)
    texts = [every.texts[i] for i in np.argsort(new)]
    moved = every._replace(texts=texts, left=np.int32(new[left][order]), right=np.int32(new[right][order]))
    np.testing.assert_array_equal(similarity.parted(moved)[1], held[order])
    with pytest.raises(InputError, match="made: too few pairs to hold some out"):
        similarity.parted(scored([0, 2], [1, 3], 4))


def test_some_pairs_with_their_texts_alone():
    found = similarity.taken(scored([0, 2, 4], [1, 3, 0], 5), np.array([True, False, True]))
    assert found.texts == ["text 0", "text 1", "text 4"]
    assert (found.left.tolist(), found.right.tolist(), found.score.tolist()) == ([0, 2], [1, 0], [0, 2])


def write(path, lines, header=("sentence1", "sentence2", "score")):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *lines])
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with texts, pairs and an exported model of the concept study that nothing was taught."""
    folder, rng = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    say = lambda count: " ".join(rng.choice(list(LETTERS), count))  # noqa: E731
    (folder / "text.txt").write_text("\n".join(say(5) for _ in range(60)))
    for name, count in (("train", 40), ("held", 30)):
        write(folder / f"{name}.csv", [(say(3), say(rng.integers(1, 6)), rng.integers(6)) for _ in range(count)])
    model(folder / "model", folder, SHAPE, ROW)
    return folder


def model(directory, folder, shape, hyper):
    config = concepts.Config(data=str(folder / "text.txt"), similarity="none", **shape)
    data = jax.tree.map(jnp.asarray, concepts.load(config)[0])
    params = concepts.init(jax.random.key(5), hyper, config, data).params
    about = {"study": "concepts", "row": "abc", "step": 0, "hyper": hyper._asdict(), "config": to_json(config)}
    export.save(directory, params, about)
    return config


def settings(made, **values):
    _, config, _, _ = export.load_model(concepts, made / "model")
    given = dict(init_from=str(made / "model"), pairs=str(made / "train.csv"), held_out=str(made / "held.csv"))
    return pairs.config_of(config, **given | {"steps": 4, "batch": 8} | values)


def test_rows_hold_both_texts_and_the_longer_one_is_cut(made):
    data, _ = pairs.load(settings(made))
    tokenizer = concepts_data.views(settings(made)).tokenizer
    side = similarity.load(made / "train.csv")
    for row in range(40):
        one, other = side.texts[side.left[row]], side.texts[side.right[row]]
        length = int(data["lengths"][row])
        shown = tokenizer.decode(data["ids"][row, :length])
        first, second = shown.split("█")
        assert one == first and other.startswith(second)
        assert length == min(len(one) + 1 + len(other), 11)
        assert (data["ids"][row, length:] == tokenizer.pad_id).all()
    assert data["cut"] == pytest.approx(np.mean([len(r[0]) + len(r[1]) > 10 for r in texts(made / "held.csv")]))
    both = similarity.Similarities(["a" * 20, "b" * 30, "c"], np.int32([0, 2]), np.int32([1, 1]), np.zeros(2), [], "")
    ids, lengths, whole = pairs_data._joined(both, tokenizer, 11)
    assert (tokenizer.decode(ids[0]), tokenizer.decode(ids[1])) == ("aaaaa█bbbbb", "c█bbbbbbbbb")
    assert lengths.tolist() == [11, 11] and not whole.any()
    standard = data["score"][:40]
    assert (standard.mean(), standard.std()) == pytest.approx((0, 1), abs=1e-6)


def texts(path):
    with open(path, newline="") as file:
        return [line[:2] for line in csv.reader(file)][1:]


def test_heads_read_what_they_say(made):
    config = settings(made)
    data = jax.tree.map(jnp.asarray, pairs.load(config)[0])
    state = pairs.init(jax.random.key(0), pairs.Hyper(), config, data)
    pool = jnp.sin(jnp.arange(8.0))
    params = state.params | {"head": state.params["head"] | {"pool": pool, "bias": jnp.float32(0.3)}}
    ids = data["ids"][:5]
    keep = concepts_data.inside(ids, data["lengths"][:5])
    switches, shape = concepts_model.switches(ROW), concepts_model.shape(config, data)

    @jax.jit
    def seen(params):
        z, _ = bottleneck.encode(params["model"], shape, switches, ids, keep)
        place = jnp.broadcast_to(jnp.arange(11)[None], ids.shape)
        masks = jnp.full_like(ids, len(data["vocabulary"]) - 1)
        told = bottleneck.features(params["model"], shape, switches, z, masks, place, keep, jnp.ones(5))
        return z, told, [pairs.predict(params, pairs.Hyper(head=head), config, data, ids, keep) for head in range(3)]

    z, told, found = jax.tree.map(np.asarray, seen(params))
    weight, bias = np.asarray(params["head"]["weight"]), 0.3
    share = np.exp(z[:, :2] @ np.asarray(pool))
    share /= share.sum(1, keepdims=True)  # the third concept is not in use
    mean = [told[b, : int(n)].mean(0) for b, n in enumerate(data["lengths"][:5])]
    for got, read in zip(found, (z[:, 0], np.einsum("bc,bcd->bd", share, z[:, :2]), np.array(mean)), strict=True):
        np.testing.assert_allclose(got, read @ weight + bias, atol=1e-5)


@pytest.fixture(scope="module")
def swept(made):
    """Heads x starts in one call, and how often the loss was traced."""
    traces, whole = [], pairs.loss

    def counted(*args):
        traces.append(None)
        return whole(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "step", pairs.train.gradient_step(pairs.batch, counted, pairs._trains))
        hypers = sweep.grid(pairs, head=[0, 1, 2], warm=[0.0, 1.0], tune=[0.0, 1.0], learning_rate=[0.01])
        result = sweep.run(pairs, [(settings(made), hypers)])
    return result, hypers, len(traces)


@pytest.mark.slow
def test_heads_and_starts_are_rows_of_one_trace(swept, made):
    result, hypers, traces = swept
    assert traces == 1 and len(hypers.head) == 12
    given = export.read_params(made / "model")[0]["encoder"]["token"]
    for row, warm, tune in zip(sweep.row_ids(hypers), hypers.warm, hypers.tune, strict=True):
        state = result.states["g0", row].state
        same = np.array_equal(state.params["model"]["encoder"]["token"], given)
        assert same == (warm == 1 and tune == 0)
        assert np.abs(state.params["head"]["bias"]) > 0


@pytest.mark.slow
def test_correlations_are_those_of_scipy(swept, made):
    result, hypers, _ = swept
    config = settings(made)
    data = jax.tree.map(jnp.asarray, pairs.load(config)[0])
    human = similarity.load(made / "held.csv")
    ids = data["ids"][40:]
    keep = concepts_data.inside(ids, data["lengths"][40:])
    table = result.table[(result.table["step"] == 4) & (result.table["split"] == "validation")]
    predicted = jax.jit(lambda params, hyper: pairs.predict(params, hyper, config, data, ids, keep))
    for place in (3, 11):  # warm and tuned: the first concept, via the decoder
        hyper = jax.tree.map(lambda column, place=place: jnp.asarray(column[place]), hypers)
        row = sweep.row_ids(hypers)[place]
        found = np.asarray(predicted(result.states["g0", row].state.params, hyper))
        told = table[table["row"] == row].set_index("metric")["value"]
        assert told["pearson"] == pytest.approx(scipy.stats.pearsonr(found, human.score).statistic, abs=1e-5)
        assert told["spearman"] == pytest.approx(scipy.stats.spearmanr(found, human.score).statistic, abs=1e-5)
    counted = similarity.cosines(baselines.bag_of_words(human.texts), human.left, human.right)
    words = scipy.stats.spearmanr(counted, human.score).statistic
    assert told["similarity_rank_bag_of_words"] == pytest.approx(words, abs=1e-6)
    assert np.isfinite(told[["similarity", "similarity_rank", "similarity_tf_idf"]]).all()


def test_how_the_sides_were_parted_is_told(made, tmp_path):
    lines = [(f"a {i}", f"b {i}", i) for i in range(20)]
    config = settings(made, pairs=str(write(tmp_path / "pairs.csv", lines)), held_out="")
    assert pairs_data.sides(config)[2] == "no text on both sides"
    every = [(f"t{i}", f"t{j}", i) for i in range(20) for j in range(i)]
    config = settings(made, pairs=str(write(tmp_path / "every.csv", every)), held_out="")
    train, held, how = pairs_data.sides(config)
    assert how.startswith("split by text") and (len(train.texts), len(held.texts)) == (16, 4)
    assert pairs_data.sides(settings(made))[2] == "given apart"


def refused(made, **values):
    with pytest.raises(InputError) as caught:
        pairs.load(settings(made, **values))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_is_refused_in_one_line(made, tmp_path):
    assert refused(made, init_from="").startswith("--init-from: give an exported model of the concept study")
    assert refused(made, heads=4, windows=True).endswith("/model: give --heads 2 --no-windows, as it has")
    assert refused(made, pairs=str(tmp_path / "none.csv")).endswith("no such file; give a CSV or parquet file")
    assert "has no column 'label'" in refused(made, score="label")
    assert refused(made, held_out="validation").startswith("--held-out validation: no such file")
    same = write(tmp_path / "same.csv", [("a b", "c", 1), ("d", "e f", 1), ("g", "h", 1)])
    assert refused(made, pairs=str(same)).endswith("all scores of a side are equal, so nothing follows them")
    bad = write(tmp_path / "bad.csv", [("a b", "c", "much")])
    assert "row 1, score: 'much' is no number" in refused(made, pairs=str(bad))
    assert refused(made, held_out="", pairs=str(bad.with_name("same.csv"))).endswith("a file of pairs to measure on")
    config = settings(made)
    with pytest.raises(InputError, match="tune: is 0 or 1"):
        pairs.check(sweep.grid(pairs, tune=[0.5]), config, pairs.load(config)[0])
    with pytest.raises(InputError, match="is one model and has no rows"):
        concept_similarity.models(made / "model", ["3f"], tmp_path)


@pytest.mark.slow
def test_the_command_line_tunes_plots_and_reports(made, tmp_path, capsys):
    out, given = tmp_path / "sweep", ["--init-from", str(made / "model"), "--pairs", str(made / "train.csv")]
    given += ["--held-out", str(made / "held.csv"), "--batch", "4", "--steps", "2", "--quiet", "--out", str(out)]
    assert cli.main(["sweep", "pairs", *given]) == 2
    told = capsys.readouterr().err
    flags = re.search(r"model: give (.*), as it has$", told.strip()).group(1)
    assert cli.main(["sweep", "pairs", *given, *shlex.split(flags), "--head", "0", "2", "--warm", "0", "1"]) == 0
    told = capsys.readouterr().out
    assert "Scores of pairs, after fine-tuning" in told and "pooled over head" in told
    assert cli.main(["report", str(out)]) == 0
    page = (out / "report.html").read_text()
    assert "Scores of pairs" in page and "before training" in page


def test_the_validation_split_of_stsb_is_measured_on(monkeypatch, made):
    asked, side = [], scored([0], [1], 2)
    monkeypatch.setattr(similarity, "load", lambda *given: asked.append(given) or side)
    pairs_data.sides(settings(made, pairs="stsb", held_out=""))
    pairs_data.sides(settings(made, pairs="nyu-mll/glue", pairs_subset="stsb", held_out="validation", score="label"))
    assert asked == [
        *(("stsb", "score", split, None) for split in ("train", "validation")),
        *(("nyu-mll/glue", "label", split, "stsb") for split in ("train", "validation")),
    ]


def test_what_the_script_concludes_is_the_paired_difference():
    lines = []
    for head, warm, seed, step in itertools.product((0, 1, 2), (0.0, 1.0), range(4), (0, 9)):
        own = dict(group="g0", learning_rate=1e-3, tune=1.0, head=head, warm=warm, seed=seed, step=step)
        gain = {0: 0.2, 1: 0.0, 2: -0.2}[head] * warm * (step == 9)
        found = {"pearson": 0.5, "spearman": 0.4 + gain + 0.01 * seed + 0.003 * warm * (-1) ** seed, "error": 0.8}
        found |= {"cut": 0.25, "similarity": 0.1 + warm, "similarity_rank": 0.2}
        found |= {f"similarity{rank}_{name}": 0.3 for rank in ("", "_rank") for name in concept_similarity.COUNTED}
        lines += [own | dict(split="validation", bin=-1, metric=name, value=value) for name, value in found.items()]
    told = concept_similarity.tell(pd.DataFrame(lines), ["row abc"], "some: 40 pairs to learn from, 30 held out")
    words = [line.split(": ")[-1] for line in told.splitlines() if line.strip().startswith("trained less")]
    assert words == ["gains from training", "no gain told", "loses by training"]
    assert "Spearman +0.200 [" in told and "25% of them cut" in told and "not comparable" in told
    assert [line.split()[2] for line in told.splitlines() if line.endswith("+0.200 ±0.000")] == ["+1.100", "+0.100"]


def synonyms(meanings=4, size=2):
    """(text, text, how many meanings they share), each meaning said by one of two words at random."""
    rng, words = np.random.default_rng(0), LETTERS

    def say(several):
        return " ".join(words[m + meanings * rng.integers(2)] for m in rng.permutation(several))

    def line():
        common, order = rng.integers(size + 1), rng.permutation(meanings)
        return say(order[:size]), say([*order[:common], *order[size : 2 * size - common]]), common

    return [line() for _ in range(3400)]


@pytest.mark.slow
def test_a_head_learns_what_counting_words_cannot_tell(made, tmp_path):
    """Two words a meaning: shared words tell part of the shared meanings, all is told by who has learnt the words."""
    lines = synonyms()
    write(tmp_path / "train.csv", lines[:3000])
    write(tmp_path / "held.csv", lines[3000:])
    shape = SHAPE | dict(length=8, d_model=32, concepts=8, heads=4, hidden=64)
    model(tmp_path / "model", made, shape, concepts.Hyper(gate=1.0, init_std=0.1))
    out = tmp_path / "out"
    status = concept_similarity.main(
        *(tmp_path / "model", [], out, 1, [3e-3], [1.0], True),
        **dict(pairs=str(tmp_path / "train.csv"), held_out=str(tmp_path / "held.csv"), score="score", steps=500),
        **dict(batch=64, schedule="cosine", warmup=50, clip=1.0),
    )
    assert status == 0 and "3000 pairs to learn from, 400 held out" in (out / "concept_similarity.txt").read_text()
    found = pd.read_csv(out / "concept_similarity.csv")
    last = found[found["step"] == 500]
    floor = max(last["similarity_rank_bag_of_words"].iloc[0], last["similarity_rank_tf_idf"].iloc[0])
    assert 0.3 < floor < 0.85
    best = last[last["head"] < 2].groupby("head")["spearman"].max()
    assert (best > floor + 0.05).all()
    assert (found[found["step"] == 0]["spearman"].abs() < 0.35).all()
