"""Texts as rows of tokens, texts with human scores, and what is asked of held-out ones: read on the host once."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np

from gidd_jax import export
from gidd_jax.data import text
from gidd_jax.data.text import baselines, similarity
from gidd_jax.studies.concepts_settings import Config, ModelConfig
from gidd_jax.studies.concepts_task import Texts
from gidd_jax.types import Tree

PROBED = (1024, 512)
"""Labelled texts of training and of validation that the linear probe takes, at most."""
FOUND = 512
"""Pairs of the retrieval test, at most."""
OVERLAP = 0.45
"""Retrieval takes pairs that share less than this of their words (Jaccard): all others any count of words finds."""


def views(config: ModelConfig) -> text.Views:
    """The rows of a config, read on the host; raises InputError where they cannot be."""
    return text.views(
        config.data,
        length=config.length,
        tokenizer=config.tokenizer,
        windows=config.windows,
        cut=config.cut,
        column=config.column,
        other=config.other_column or None,
        label=config.label_column or None,
        split=config.data_split,
        subset=config.subset or None,
        validation_split=config.validation_split or None,
        limit=config.limit or None,
    )


def load(config: Config) -> tuple[Tree, str]:
    """Rows of both splits, training first; the similarity set, the probe and the retrieval test with their floors.

    ``vocabulary`` is empty: its length is the vocabulary, mask included, which shapes the model.
    """
    found = views(config)
    both = (found.train, found.validation)
    joined = lambda field: np.concatenate([getattr(part, field) for part in both])  # noqa: E731
    sizes = [len(part.ids) for part in both]
    data = {
        "ids": joined("ids"),
        "lengths": joined("lengths"),
        "first": np.int32([0, sizes[0]]),
        "count": np.int32(sizes),
        "vocabulary": np.zeros((found.tokenizer.vocab_size, 0), np.uint8),
    }
    fingerprint = found.fingerprint
    if found.train.ids_other is not None:
        data |= {"other": joined("ids_other"), "other_lengths": joined("lengths_other")}
        data["retrieval"] = _retrieval(found)
    if found.train.labels is not None:
        data["probe"] = _probe(found)
    if config.similarity != "none":
        scored = similarity.load(config.similarity)
        data["similarity"] = scored_texts(scored, found.tokenizer, config.length)
        fingerprint += f"-{digest(scored)}"
    if config.init_from:
        data["params"], sha256 = export.read_params(config.init_from)
        fingerprint += f"-{sha256}"
    return data, fingerprint


def texts(data: Tree, rows: jax.Array) -> Texts:
    """The rows as the task takes them; a text without another version is its own."""
    ids, valid = _rows(data["ids"], data["lengths"], rows)
    other = _rows(data["other"], data["other_lengths"], rows) if "other" in data else (ids, valid)
    return Texts(ids, valid, *other)


def held_out(data: Tree, count: int) -> jax.Array:
    """The same validation rows at every evaluation, spread evenly; some come twice where there are too few."""
    return data["first"][1] + (jnp.arange(count) * data["count"][1]) // count


def inside(ids: jax.Array, lengths: jax.Array) -> jax.Array:
    """Which cells are text, [N,S]."""
    return jnp.arange(ids.shape[1])[None] < lengths[:, None]


def _rows(ids: jax.Array, lengths: jax.Array, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
    chosen = ids[rows].astype(jnp.int32)
    return chosen, inside(chosen, lengths[rows])


def scored_texts(scored: similarity.Similarities, tokenizer: text.Tokenizer, length: int) -> Tree:
    """Texts with human scores as windows of ``length`` tokens, their pairs, and what counts of words make of them."""
    ids, lengths, share = _windows(scored.texts, tokenizer, length)
    floors = {
        name: similarity.agreement(similarity.cosines(vectors, scored.left, scored.right), scored.score)
        for name, vectors in (
            ("bag_of_words", baselines.bag_of_words(scored.texts)),
            ("tf_idf", baselines.tf_idf(scored.texts, scored.background)),
        )
    }
    return {
        "ids": ids,
        "lengths": lengths,
        "share": share,
        "left": scored.left,
        "right": scored.right,
        "score": np.float32(scored.score),
        "floors": {name: np.float32(agreement) for name, agreement in floors.items()},
    }


def _windows(several: list[str], tokenizer: text.Tokenizer, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whole texts as windows: ids [W,S], tokens of each [W], and the share of each text that each window is [N,W]."""
    tokens = [tokenizer.encode(each) for each in several]
    parts = [(i, each[at : at + length]) for i, each in enumerate(tokens) for at in range(0, len(each), length)]
    ids = np.full((len(parts), length), tokenizer.pad_id, np.int32)
    share = np.zeros((len(several), len(parts)), np.float32)
    for row, (owner, part) in enumerate(parts):
        ids[row, : len(part)] = part
        share[owner, row] = len(part) / len(tokens[owner])
    return ids, np.int32([len(part) for _, part in parts]), share


def _probe(found: text.Views) -> Tree:
    chosen = [_spread(len(part.ids), most) for part, most in zip((found.train, found.validation), PROBED, strict=True)]
    train, test = (part.labels[rows] for part, rows in zip((found.train, found.validation), chosen, strict=True))
    kept = [np.isin(each, _named(found)) for each in (train, test)]
    chosen = [rows[each] for rows, each in zip(chosen, kept, strict=True)]
    train, test = (labels[each] for labels, each in zip((train, test), kept, strict=True))
    return {
        "train": np.int32(chosen[0]),
        "test": np.int32(chosen[1] + len(found.train.ids)),
        "train_label": np.int32(train),
        "test_label": np.int32(test),
        "classes": np.zeros((len(found.label_names), 0), np.uint8),
        "majority": np.float32(np.mean(test == np.bincount(train).argmax())),
    }


def _named(found: text.Views) -> list[int]:
    """Labels that say something: not that of what has no topic."""
    return [i for i, label in enumerate(found.label_names) if label.lower() != "uncategorized"]


def digest(scored: similarity.Similarities) -> str:
    """Name and sha256 of texts with human scores."""
    whole = hashlib.sha256("\0".join(scored.texts).encode())
    for part in (scored.left, scored.right, scored.score):
        whole.update(np.ascontiguousarray(part))
    return f"{scored.name}-{whole.hexdigest()[:16]}"


def _retrieval(found: text.Views) -> Tree:
    part = found.validation
    one, other = (
        text.decode_rows(found.tokenizer, ids, lengths)
        for ids, lengths in ((part.ids, part.lengths), (part.ids_other, part.lengths_other))
    )
    rows = baselines.low_overlap(one, other, OVERLAP)
    rows = rows[_spread(len(rows), FOUND)]
    pair = [one[i] for i in rows], [other[i] for i in rows]
    floors = {}
    for name, vectorise in (("bag_of_words", baselines.bag_of_words), ("tf_idf", baselines.tf_idf)):
        vectors = vectorise([*pair[0], *pair[1]])
        floors[name] = np.float32(baselines.retrieval(vectors[: len(rows)], vectors[len(rows) :]))
    return {"rows": np.int32(rows + len(found.train.ids)), "floors": floors}


def _spread(count: int, most: int) -> np.ndarray:
    """At most so many of ``range(count)``, spread evenly."""
    return np.arange(min(count, most)) * count // max(min(count, most), 1)
