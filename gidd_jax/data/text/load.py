"""A source of text -> a corpus: token ids to train and to validate on."""

import hashlib
import json
import pathlib
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np

from gidd_jax.data.text import read
from gidd_jax.data.text.making import maker
from gidd_jax.data.text.split import split as deal
from gidd_jax.data.text.tokenizer import UNSEEN, Characters, Tokenizer, to_json
from gidd_jax.errors import InputError

MOST = 2**31 - 1
"""Tokens are counted in 32 bits on a device."""


class Part(NamedTuple):
    """Documents one after another: ``tokens`` unsigned [N], ``offsets`` int64 [D + 1], ``characters`` of the text."""

    tokens: np.ndarray
    offsets: np.ndarray
    characters: int

    @property
    def characters_per_token(self) -> float:
        """Nats a token / (ln 2 x this) are bits a character, whatever the tokenizer."""
        return self.characters / len(self.tokens)


class Corpus(NamedTuple):
    """What a language model trains on. ``fingerprint``: kind of split, and the sha256 of all else but the name."""

    train: Part
    validation: Part
    tokenizer: Tokenizer
    kind: Literal["document", "position", "given"]
    name: str
    fingerprint: str

    @property
    def unseen(self) -> int:
        """Validation characters that the alphabet of the training text has not, all read as U+FFFD."""
        if not isinstance(self.tokenizer, Characters):
            return 0
        return int((self.validation.tokens == self.tokenizer.alphabet.index(UNSEEN)).sum())


def load(
    source: str | pathlib.Path,
    *,
    tokenizer: str | pathlib.Path | Tokenizer = "bytes",
    cut: str = "file",
    column: str = "text",
    split: str = "train",
    subset: str | None = None,
    validation: str | pathlib.Path | None = None,
    validation_split: str | None = None,
    least: int = 1,
    limit: int | None = None,
    share: float = 0.1,
    seed: int = 0,
) -> Corpus:
    """Read text, hold some of it out, and encode it.

    ``source``: kjv (comes with the package), wiki-leads (extra `text`), a text, CSV, JSONL or parquet file, a folder
    of more .txt files than tables, or a `datasets` repository in a folder or on the Hugging Face hub (its ``split`` and
    ``subset``). A document is a row of a table, in its ``column``, or a "file", "paragraph" or "line" of text, as
    ``cut`` says; it ends in one line break. Documents of fewer than ``least`` characters are left out, as is all
    after the first ``limit`` characters.

    ``tokenizer``: bytes, characters (the alphabet is that of the training text), bpe-N (N byte pairs learned from
    it, extra `text`) or the path of a `tokenizer.json`.
    ``validation`` is another source to validate on, ``validation_split`` a split of it or else of ``source``. Without
    either ``share`` is held out: whole documents, or of one long text its end (see ``split.split``).

    Raises ``InputError`` for a file that is missing, empty, not UTF-8 (with the position of the byte) or not what its
    name says, a missing column, a repository that cannot be reached or needs a script, and for too little text.
    """
    name = str(source)
    if not 0 < share < 1:
        raise InputError(f"share {share:g}: give a share above 0 and below 1 to hold out")
    if limit is not None and limit < 1:
        raise InputError(f"limit {limit}: give a number of characters above 0")
    # A tokenizer that is none is told before the text comes, which may take long.
    make = maker(tokenizer)

    def gather(name: str, split: str) -> list[str]:
        return _kept(read.documents(name, cut, column, split, subset), name, least, limit)

    texts = gather(name, split)
    if validation is None and validation_split is None:
        train, held, kind = deal(texts, share, seed)
    else:
        train, held, kind = texts, gather(str(validation or source), validation_split or "train"), "given"
    if not held:
        raise InputError(f"{name}: {sum(map(len, texts))} characters leave none to validate on; give more text")
    made = make(train)
    parts = [_part(made, each, name) for each in (train, held)]
    return Corpus(*parts, made, kind, name, f"{kind}-{_digest(made, parts)}")


def _kept(texts: Iterator[str], name: str, least: int, limit: int | None) -> list[str]:
    kept, read, room = [], 0, limit
    for text in texts:
        if not text.strip():
            continue
        read += 1
        text = text.rstrip("\r\n") + "\n"
        if len(text) < least:
            continue
        kept.append(text[:room])
        if room is not None:
            room -= len(kept[-1])
            if room == 0:
                break
    if not kept:
        why = f"none of its {read} documents has {least} characters; lower that" if read else "it holds no text"
        raise InputError(f"{name}: {why}")
    return kept


def _part(made: Tokenizer, texts: list[str], name: str) -> Part:
    tokens, offsets = made.encode_all(texts)
    if len(tokens) > MOST:
        raise InputError(f"{name}: {len(tokens)} tokens are more than {MOST}; give a limit of characters")
    return Part(tokens, offsets, sum(map(len, texts)))


def _digest(made: Tokenizer, parts: list[Part]) -> str:
    digest = hashlib.sha256(json.dumps(to_json(made), sort_keys=True).encode())
    for part in parts:
        digest.update(np.ascontiguousarray(part.tokens))
        digest.update(part.offsets)
    return digest.hexdigest()
