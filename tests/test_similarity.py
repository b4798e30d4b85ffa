"""Texts with human scores of how alike they are, and what counting words makes of them."""

import importlib.util
import json
import sys

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest
import scipy.stats

from gidd_jax.data.text import baselines, offline, similarity
from gidd_jax.errors import InputError

TEXTS = ["The cat sat.", "A cat, the CAT!", "dogs don't bark", ""]


def message(*args, **options):
    with pytest.raises(InputError) as caught:
        similarity.load(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Counting words


def test_bags_of_words_are_counts_of_unit_length():
    bags = baselines.bag_of_words(TEXTS)
    # the cat sat | a cat the cat: cosine (1 + 2) / (sqrt 3 sqrt 6)
    dots = (bags @ bags.T).toarray()
    assert dots == pytest.approx(np.array([[1, 1 / 2**0.5, 0, 0], [1 / 2**0.5, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]))
    assert baselines.words("Don't say 'tis 42 naïve_ones") == ["don", "t", "say", "tis", "naïve", "ones"]
    assert similarity.cosines(bags, np.array([0, 0, 2]), np.array([1, 2, 3])) == pytest.approx([1 / 2**0.5, 0, 0])


def test_tf_idf_weighs_words_by_how_few_texts_have_them():
    found = baselines.tf_idf(TEXTS[:3])
    # the and cat are in 2 of 3, sat and a in 1: ln(3/2), ln 3
    low, high = np.log(1.5), np.log(3)
    cosine = (low * low + 2 * low * low) / ((2 * low**2 + high**2) * (low**2 + (2 * low) ** 2 + high**2)) ** 0.5
    assert similarity.cosines(found, np.array([0, 0]), np.array([1, 2])) == pytest.approx([cosine, 0])
    assert baselines.tf_idf(["same", "same"]).toarray().tolist() == [[0], [0]]
    # Of the background alone: cat is in all of it and counts nothing, sat in none and as much as a word of one.
    found = baselines.tf_idf(TEXTS[:1], ["the cat", "a cat"]).toarray()[0]
    assert sorted(found[found > 0]) == pytest.approx([0.5**0.5, 0.5**0.5])


def test_jaccard_and_pairs_that_share_few_words():
    left, right = ["a b c", "", "a b c d", "one"], ["b c d e", "", "A, b; c d d", "two"]
    assert baselines.jaccard(left, right).tolist() == [2 / 5, 0, 1, 0]
    assert baselines.low_overlap(left, right, 0.5, least=1).tolist() == [0, 3]
    assert baselines.low_overlap(left, right, 0.4, least=1).tolist() == [3]
    assert baselines.low_overlap(left, right, 0.5, least=2).tolist() == [0]


@pytest.mark.parametrize("sparse", [False, True])
def test_retrieval_counts_nearest_keys(sparse, monkeypatch):
    monkeypatch.setattr(baselines, "BLOCK", 3)
    rng = np.random.default_rng(0)
    keys = rng.normal(size=(10, 4))
    queries = keys * rng.uniform(1, 5, (10, 1))
    queries[:4] = -queries[:4]
    as_given = baselines.scipy.sparse.csr_array if sparse else np.asarray
    assert baselines.retrieval(as_given(queries), as_given(keys)) == pytest.approx(0.6)
    assert baselines.retrieval(as_given(np.ones((10, 4))), as_given(np.ones((10, 4)))) == pytest.approx(0.1)
    assert baselines.retrieval(as_given(np.zeros((10, 4))), as_given(keys)) == pytest.approx(0.1)
    assert np.isnan(baselines.retrieval(as_given(keys[:0]), as_given(keys[:0])))


# Human scores


def lee(folder, texts=("one text", "another caf\xe9", "a third")):
    (folder / "lee.cor").write_text("\n".join(texts) + "\n", encoding="latin-1")
    (folder / "similarities0-1.txt").write_text(" 1.0 0.2 0.3\n 0 1.0 0.4\n 0 0 1\n")
    (folder / "lee_background.cor").write_text("x\ny\n")
    return folder


def test_lee_from_a_folder(tmp_path):
    found = similarity.load(lee(tmp_path))
    assert found.texts == ["one text", "another caf\xe9", "a third"]
    pairs = list(zip(found.left.tolist(), found.right.tolist(), found.score.tolist(), strict=True))
    assert pairs == [(0, 1, 0.2), (0, 2, 0.3), (1, 2, 0.4)]
    assert found.background == ["x", "y"]
    (tmp_path / "lee.cor").write_text("one\ntwo\n")
    assert message(tmp_path) == f"{tmp_path}: similarities0-1.txt is no table of 2 times 2 numbers, one a pair"
    (tmp_path / "similarities0-1.txt").unlink()
    assert message(tmp_path) == (
        f"{tmp_path}: there is no file similarities0-1.txt; pip install gensim==4.4.0, or name a folder"
    )


def test_lee_from_an_installed_package(tmp_path, monkeypatch):
    lee(tmp_path)

    def located(package, name):
        assert package == "gensim"
        return tmp_path / name

    monkeypatch.setattr(offline, "installed", located)
    assert len(similarity.load().score) == 3
    monkeypatch.undo()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert message("lee") == "lee: needs the package gensim (its files); pip install 'gidd-jax[concepts]'"
    info = tmp_path / "gensim-4.4.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gensim\nVersion: 4.4.0\n")
    (info / "RECORD").write_text("lee.cor,,\nsimilarities0-1.txt,,\nlee_background.cor,,\n")
    assert similarity.load().score.tolist() == [0.2, 0.3, 0.4]
    (info / "RECORD").write_text("lee.cor,,\n")
    assert message("lee") == "lee: there is no file similarities0-1.txt; pip install gensim==4.4.0, or name a folder"


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_pairs_from_a_table(tmp_path, suffix):
    rows = [("A man sings.", "One sings.", 4.2), ("One sings.", 'A "dog", barks.', 0.0), ("x", "x", 5)]
    path = tmp_path / f"some{suffix}"
    names = ("sentence1", "sentence2", "score")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    columns["score"] = [float(each) for each in columns["score"]]
    if suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
    elif suffix == ".jsonl":
        path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows))
    elif suffix == ".csv":
        pyarrow.csv.write_csv(pyarrow.table(columns), path)
    else:
        path.write_text("\n".join("\t".join(map(str, row)) for row in (names, *rows)) + "\n")
    found = similarity.load(path)
    assert found.texts == ["A man sings.", "One sings.", 'A "dog", barks.', "x"]
    assert (found.left.tolist(), found.right.tolist()) == ([0, 1, 3], [1, 2, 3])
    assert found.score.tolist() == [4.2, 0, 5]
    assert found.background == found.texts
    assert message(path, score="sentence1").startswith(
        f"{path}, row 1, sentence1: 'A man sings.' is no number; mend the row"
    )
    assert message(path, score="label").endswith("name one of these")


def test_stsb_is_a_repository_on_the_hub(tmp_path, monkeypatch):
    path = tmp_path / "validation.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"sentence1": ["a"], "sentence2": ["b"], "score": [0.5]}), path)
    asked = []

    def fetch(*arguments):
        asked.append(arguments[:2])
        return [path]

    monkeypatch.setattr("gidd_jax.data.hub.fetch", fetch)
    assert similarity.load("stsb").score.tolist() == [0.5]
    assert asked == [("sentence-transformers/stsb", "validation")]


def test_agreement_is_correlation_of_values_and_of_ranks():
    rng = np.random.default_rng(1)
    human = rng.integers(0, 6, 200)
    predicted = human + rng.normal(size=200)
    found = similarity.agreement(predicted, human)
    assert found.pearson == pytest.approx(scipy.stats.pearsonr(predicted, human).statistic)
    assert found.spearman == pytest.approx(scipy.stats.spearmanr(predicted, human).statistic)
    assert similarity.agreement(np.exp(human), human).spearman == pytest.approx(1)
    assert np.isnan(similarity.agreement(np.ones(2), np.arange(2))).all()


@pytest.mark.skipif(importlib.util.find_spec("gensim") is None, reason="needs the files of gensim")
def test_lee_as_it_is_and_its_floors():
    """Pearson and Spearman measured by another program: counts .166, .144; TF-IDF .589, .272 (df of its own)."""
    found = similarity.load()
    assert (len(found.texts), found.score.shape, len(found.background)) == (50, (1225,), 300)
    assert (found.score.min(), found.score.max()) == (0.2, 1.0)
    assert "gensim" not in sys.modules
    for vectors, expected, within in (
        (baselines.bag_of_words(found.texts), (0.166, 0.144), 0.001),
        (baselines.tf_idf(found.texts, found.background), (0.589, 0.272), 0.006),
    ):
        measured = similarity.agreement(similarity.cosines(vectors, found.left, found.right), found.score)
        assert measured == pytest.approx(expected, abs=within)
