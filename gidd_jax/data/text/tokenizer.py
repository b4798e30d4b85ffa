"""Text <-> token ids: bytes, characters, or a `tokenizer.json` of Hugging Face's `tokenizers`.

Every tokenizer ends with two ids that no text has, as in the authors' code: PAD, and MASK as the last one.
"""

import dataclasses
import functools
import types
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from gidd_jax.errors import InputError

UNSEEN = "\ufffd"
"""The replacement character: stands for characters that the training text has not, and for broken bytes."""
SHOWN_MASK = "█"
"""What a mask looks like in decoded text. Padding is left out."""

PIECE = 1 << 20
"""Characters encoded at once: what a Hugging Face tokenizer keeps in between is a hundred times the text."""
TABLE = 0x110000


@runtime_checkable
class Tokenizer(Protocol):
    """What corpora and samples ask of a tokenizer. ``own`` ids come from text; pad_id = own, mask_id = own + 1."""

    own: int
    pad_id: int
    mask_id: int
    vocab_size: int

    def encode(self, text: str) -> np.ndarray:
        """Text -> ids [N] below ``own``, in the smallest unsigned type."""

    def encode_all(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Texts -> their ids one after another [N], and where each begins, int64 [len(texts) + 1]."""

    def decode(self, ids: Iterable) -> str:
        """Ids -> text; a mask shows as █, padding as nothing, bytes that are no text as U+FFFD."""


class _Special:
    """The two ids at the end, and what follows from them."""

    @property
    def pad_id(self) -> int:
        return self.own

    @property
    def mask_id(self) -> int:
        return self.own + 1

    @property
    def vocab_size(self) -> int:
        return self.own + 2

    def encode(self, text: str) -> np.ndarray:
        return self.encode_all([text])[0]

    def decode(self, ids: Iterable) -> str:
        ids = np.asarray(ids)
        if ids.size and not 0 <= ids.min() <= ids.max() < self.vocab_size:
            raise InputError(f"id {ids.max() if ids.min() >= 0 else ids.min()}: ids are 0 to {self.vocab_size - 1}")
        ids = ids[ids != self.pad_id]
        return SHOWN_MASK.join(
            self._text(run[run < self.own]) for run in np.split(ids, np.flatnonzero(ids == self.mask_id))
        )


@dataclasses.dataclass(frozen=True)
class Bytes(_Special):
    """UTF-8 bytes: 256 ids, for any text."""

    own = 256

    def encode_all(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        encoded = [text.encode() for text in texts]
        return np.frombuffer(b"".join(encoded), np.uint8), _offsets(map(len, encoded))

    def _text(self, ids: np.ndarray) -> str:
        return ids.astype(np.uint8).tobytes().decode(errors="replace")


@dataclasses.dataclass(frozen=True)
class Characters(_Special):
    """The characters of ``alphabet``, in its order. U+FFFD is one of them and stands for all that are not."""

    alphabet: str

    @property
    def own(self) -> int:
        return len(self.alphabet)

    def encode_all(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        table = np.full(TABLE, self.alphabet.index(UNSEEN), np.min_scalar_type(self.own - 1))
        table[list(map(ord, self.alphabet))] = np.arange(self.own)
        return np.concatenate([table[codes] for codes in codes("".join(texts))]), _offsets(map(len, texts))

    def _text(self, ids: np.ndarray) -> str:
        return "".join(self.alphabet[i] for i in ids)


@dataclasses.dataclass(frozen=True)
class HuggingFace(_Special):
    """A tokenizer that Hugging Face's `tokenizers` describes; ``document`` is the text of its `tokenizer.json`.

    Its own special tokens are ordinary ids here; none are added, nothing is cut or padded. A text of over a million
    characters is encoded in pieces that end at a line break.
    """

    document: str

    @functools.cached_property
    def own(self) -> int:
        return max(hugging_face(self.document).get_vocab(with_added_tokens=True).values()) + 1

    def encode_all(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        inner, small = hugging_face(self.document), np.min_scalar_type(self.own - 1)
        parts, lengths = [np.zeros(0, small)], np.zeros(len(texts), np.int64)
        for owners, pieces in _batches(texts):
            for owner, made in zip(owners, inner.encode_batch(pieces, add_special_tokens=False), strict=True):
                parts.append(np.array(made.ids, small))
                lengths[owner] += len(made.ids)
        return np.concatenate(parts), _offsets(lengths)

    def _text(self, ids: np.ndarray) -> str:
        return hugging_face(self.document).decode(ids.tolist(), skip_special_tokens=False)


KINDS = {Bytes: "bytes", Characters: "characters", HuggingFace: "huggingface"}


def to_json(tokenizer: Tokenizer) -> dict:
    """A JSON-ready dict that ``from_json`` reads: kind, and alphabet or document."""
    return {"kind": KINDS[type(tokenizer)]} | dataclasses.asdict(tokenizer)


def from_json(stored: dict) -> Tokenizer:
    """The tokenizer that ``to_json`` wrote; raises InputError for anything else."""
    fields = dict(stored)
    kind = fields.pop("kind", None)
    for made, name in KINDS.items():
        if name == kind and set(fields) == {field.name for field in dataclasses.fields(made)}:
            return made(**fields)
    raise InputError(f"tokenizer of kind {kind!r}: not one of {', '.join(KINDS.values())}, or another version's")


def package(name: str) -> types.ModuleType:
    """The package `tokenizers`; raises ``InputError``, which says that ``name`` needs it, where it is not installed."""
    try:
        import tokenizers
    except ImportError:
        raise InputError(f"{name}: needs the package tokenizers; pip install 'gidd-jax[text]'") from None
    return tokenizers


@functools.lru_cache(maxsize=4)
def hugging_face(document: str, name: str = "tokenizer") -> "tokenizers.Tokenizer":
    try:
        inner = package(name).Tokenizer.from_str(document)
    except InputError:
        raise
    # The package raises plain exceptions, whatever is wrong.
    except Exception as error:
        raise InputError(f"{name}: this is no tokenizer.json ({str(error).splitlines()[0]})") from None
    inner.no_padding()
    inner.no_truncation()
    return inner


def _batches(texts: Sequence[str]) -> Iterator[tuple[list[int], list[str]]]:
    """Pieces of the texts, some ``PIECE`` characters together, and which text each is of.

    A text longer than that is cut after a line break where there is one.
    """
    owners, pieces, room = [], [], PIECE
    for owner, text in enumerate(texts):
        start = 0
        while start < len(text):
            end = len(text) if len(text) - start <= PIECE else text.rfind("\n", start, start + PIECE) + 1
            end = end or start + PIECE
            owners.append(owner)
            pieces.append(text[start:end])
            room -= end - start
            start = end
            if room <= 0:
                yield owners, pieces
                owners, pieces, room = [], [], PIECE
    yield owners, pieces


def codes(text: str) -> Iterator[np.ndarray]:
    """Code points of a text, a piece at a time: four bytes for every character would be much of it."""
    for start in range(0, max(len(text), 1), PIECE):
        yield np.frombuffer(text[start : start + PIECE].encode("utf-32-le"), np.uint32)


def _offsets(lengths: Iterable) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.fromiter(lengths, np.int64))])
