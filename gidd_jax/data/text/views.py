"""Documents as rows of at most S tokens, each with its length; two views of a document are rows of one number."""

import hashlib
import json
import pathlib
from typing import Literal, NamedTuple

import numpy as np

from gidd_jax.data.text.documents import Documents, gather
from gidd_jax.data.text.making import maker
from gidd_jax.data.text.split import held_out, overlap
from gidd_jax.data.text.tokenizer import Tokenizer, to_json
from gidd_jax.errors import InputError


class Rows(NamedTuple):
    """One split. Tokens of row n are ids[n, : lengths[n]]; what stands after them is the tokenizer's ``pad_id``.

    ``ids``, ``ids_other`` [N,S] of the smallest unsigned type that holds the padding, uint16 for up to 65,535 tokens;
    ``lengths``, ``lengths_other`` int32 [N] from ``least`` and 1 up; ``labels`` int32 [N]; ``documents`` int32 [N],
    which of the split's documents a row is of. Those of the other view and labels are None where there are none.
    """

    ids: np.ndarray
    lengths: np.ndarray
    ids_other: np.ndarray | None
    lengths_other: np.ndarray | None
    labels: np.ndarray | None
    documents: np.ndarray


class Views(NamedTuple):
    """Rows to train and to validate on.

    ``label_names``: what labels count, sorted. ``kind``: whether documents were held out, or given apart. ``dropped``:
    documents without a row, since they have fewer than ``least`` tokens, or the other view none. ``cut``: documents
    whose end is in no row. ``overlap``: share of the runs of 24 letters in the validation documents, of either view,
    that training documents have too. ``fingerprint``: kind of split, and the sha256 of all else but the name.
    """

    train: Rows
    validation: Rows
    tokenizer: Tokenizer
    label_names: tuple[str, ...]
    kind: Literal["document", "given"]
    dropped: int
    cut: int
    overlap: float
    name: str
    fingerprint: str


def views(
    source: str | pathlib.Path,
    *,
    length: int,
    tokenizer: str | pathlib.Path | Tokenizer = "bpe-4096",
    least: int = 8,
    windows: bool = False,
    cut: str = "file",
    column: str = "text",
    other: str | None = None,
    label: str | None = None,
    split: str = "train",
    subset: str | None = None,
    validation: str | pathlib.Path | None = None,
    validation_split: str | None = None,
    limit: int | None = None,
    share: float = 0.1,
    seed: int = 0,
) -> Views:
    """Read documents, hold some of them out, and encode each as a row: its first ``length`` tokens.

    ``source``: all that ``load`` takes, or kjv-web: verses of the King James Version, whose other view is the World
    English Bible (see ``verses``; a folder of Sword modules is that too). Of wiki-leads the other view is title and
    description, the label one of 11 topics or Uncategorized. Of a table or repository they are the columns ``other``
    and ``label``. ``windows``: rows are all stretches of ``length`` tokens, one after another, and there is no other
    view. Rows of fewer than ``least`` tokens are dropped.

    ``tokenizer``: as ``load`` has it; one that is learned is learned from both views of the training documents.
    ``validation``, ``validation_split``, ``limit`` (characters of the first view), ``share``, ``seed``: as in ``load``,
    but only whole documents are held out: those that are alike in either view are never parted.

    Raises ``InputError`` as ``load`` does, for fewer than 20 different documents to hold some out of, and where no
    document of a split has ``least`` tokens.
    """
    name = str(source)
    if not 1 <= least <= length:
        raise InputError(f"least {least}, length {length}: give rows of 1 token or more, at most {length}")
    if not 0 < share < 1 or (limit is not None and limit < 1):
        raise InputError(f"share {share:g}, limit {limit}: give a share above 0 and below 1, a limit above 0")
    make = maker(tokenizer)
    found = gather(source, cut, column, other, label, split, subset, limit)
    if validation is not None or validation_split is not None:
        apart = gather(validation or source, cut, column, other, label, validation_split or "train", subset, limit)
        train, held, kind = found, apart, "given"
    else:
        out = held_out(found.texts, share, seed, found.others)
        if out is None:
            raise InputError(
                f"{name}: too few different documents to hold some out ({len(found.texts)}, 20 are needed); "
                "cut the text into paragraphs or lines, or name a split to validate on"
            )
        train, held, kind = found.taken(~out), found.taken(out), "document"
    if windows:
        train, held = train._replace(others=None), held._replace(others=None)
    shared = overlap(_both(train), _both(held))
    made = make(_both(train))
    label_names = tuple(sorted({*(train.labels or ()), *(held.labels or ())}))
    parts, counts = [], np.zeros(2, int)
    for which, documents in (("train", train), ("validation", held)):
        rows, lost = _rows(documents, made, label_names, length, least, windows)
        if not len(rows.ids):
            raise InputError(f"{name}, {which}: no document has {least} tokens; lower the least, or give more text")
        parts.append(rows)
        counts += lost
    digest = hashlib.sha256(json.dumps([to_json(made), label_names], sort_keys=True).encode())
    for array in (*parts[0], *parts[1]):
        digest.update(b"none" if array is None else np.ascontiguousarray(array))
    fingerprint = f"{kind}-{digest.hexdigest()}"
    return Views(*parts, made, label_names, kind, *map(int, counts), shared, name, fingerprint)


def decode_rows(tokenizer: Tokenizer, ids: np.ndarray, lengths: np.ndarray) -> list[str]:
    """The text of rows [N,S], padding left out."""
    return [tokenizer.decode(row[:length]) for row, length in zip(ids, lengths, strict=True)]


def _both(documents: Documents) -> list[str]:
    return documents.texts + (documents.others or [])


def _rows(
    documents: Documents, made: Tokenizer, label_names: tuple[str, ...], size: int, least: int, windows: bool
) -> tuple[Rows, tuple[int, int]]:
    """Rows of the documents that are long enough; how many documents have none, how many are not whole."""
    tokens, offsets = made.encode_all(documents.texts)
    whole = np.diff(offsets)
    counts = -(-whole // size) if windows else np.ones_like(whole)
    owner = np.repeat(np.arange(len(whole)), counts)
    begin = size * (np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts))
    lengths = np.minimum(whole[owner] - begin, size)
    kept = lengths >= least
    ids_other = lengths_other = labels = None
    if documents.others:
        ids_other, lengths_other = _encoded(documents.others, made, size)
        kept &= lengths_other > 0
        ids_other, lengths_other = ids_other[kept], lengths_other[kept]
    owner, begin, lengths = owner[kept], begin[kept], lengths[kept]
    ids = _filled(tokens, offsets[owner] + begin, lengths, size, made.pad_id)
    if documents.labels:
        numbers = {label: number for number, label in enumerate(label_names)}
        labels = np.array([numbers[label] for label in documents.labels], np.int32)[owner]
    reached = np.zeros(len(whole), int)
    np.maximum.at(reached, owner, begin + lengths)
    lost = int((reached == 0).sum()), int(((reached > 0) & (reached < whole)).sum())
    return Rows(ids, lengths.astype(np.int32), ids_other, lengths_other, labels, owner.astype(np.int32)), lost


def _encoded(texts: list[str], tokenizer: Tokenizer, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The first ``length`` tokens of every text -> ids [N,S] as those of ``Rows``, lengths int32 [N]."""
    tokens, offsets = tokenizer.encode_all(texts)
    lengths = np.minimum(np.diff(offsets), length)
    return _filled(tokens, offsets[:-1], lengths, length, tokenizer.pad_id), lengths.astype(np.int32)


def _filled(tokens: np.ndarray, start: np.ndarray, lengths: np.ndarray, size: int, pad: int) -> np.ndarray:
    """Rows tokens[start : start + lengths], filled up with ``pad``: [N, size]."""
    ids = np.full((len(start), size), pad, np.min_scalar_type(pad))
    before = np.cumsum(lengths) - lengths
    ids[np.arange(size) < lengths[:, None]] = tokens[np.repeat(start - before, lengths) + np.arange(lengths.sum())]
    return ids
