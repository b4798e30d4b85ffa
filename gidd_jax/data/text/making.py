"""The tokenizer that a name stands for; an alphabet and byte pairs are learned from the training text."""

import pathlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from gidd_jax.data.text.tokenizer import (
    TABLE,
    UNSEEN,
    Bytes,
    Characters,
    HuggingFace,
    Tokenizer,
    codes,
    hugging_face,
    package,
)
from gidd_jax.errors import InputError

BYTES = 256
LEARNED_FROM = 1 << 26
"""Characters, the first of the training text, that byte pairs are learned from: a minute's work, and enough."""

Maker = Callable[[Sequence[str]], Tokenizer]


def maker(name: str | pathlib.Path | Tokenizer) -> Maker:
    """What makes the tokenizer of a name from the training texts; one that needs no texts makes it all the same.

    The name is bytes, characters, bpe-N (N tokens, see ``bpe``) or the path of a `tokenizer.json`; or a tokenizer.
    Raises ``InputError`` for any other name, for a file that is no tokenizer, and for want of `tokenizers`, before
    there are texts.
    """
    if not isinstance(name, str | pathlib.Path):
        return lambda texts: name
    name = str(name)
    if name == "characters":
        return lambda texts: Characters(alphabet(texts))
    if size := re.fullmatch(r"bpe-(\d+)", name):
        size = int(size[1])
        if size <= BYTES:
            raise InputError(f"{name}: the {BYTES} bytes are tokens too; give bpe-N with N above {BYTES}, or bytes")
        package(name)
        return lambda texts: bpe(texts, size)
    made = Bytes() if name == "bytes" else stored(pathlib.Path(name))
    return lambda texts: made


def stored(path: pathlib.Path) -> Tokenizer:
    """The tokenizer of a `tokenizer.json`; raises ``InputError`` for a file that is missing or none."""
    if not path.is_file():
        raise InputError(
            f"{path}: no such tokenizer; give bytes, characters, bpe-N (bpe-4096) or the path of a tokenizer.json"
        )
    try:
        tokenizer = HuggingFace(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise InputError(f"{path}: this is no tokenizer.json: it is not UTF-8") from None
    hugging_face(tokenizer.document, str(path))
    return tokenizer


def alphabet(texts: Sequence[str]) -> str:
    """Every character of the texts and U+FFFD, sorted."""
    seen = np.zeros(TABLE, bool)
    seen[ord(UNSEEN)] = True
    for some in codes("".join(texts)):
        seen[some] = True
    return "".join(map(chr, np.flatnonzero(seen)))


def bpe(texts: Sequence[str], size: int) -> HuggingFace:
    """Byte pairs merged until there are ``size`` tokens, the 256 bytes among them: any text comes back unchanged.

    The same texts in any order give the same tokens; pairs seen once are not merged, so few texts give fewer tokens.
    Merges stay within words (a space belongs to the word after it), as in GPT-2. Source: Sennrich et al., Neural
    machine translation of rare words with subword units, 2016; Radford et al., Language models are unsupervised
    multitask learners, 2019 (bytes).
    """
    tokenizers = package(f"bpe-{size}")
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(_first(texts, LEARNED_FROM), trainer)
    return HuggingFace(made.to_str())


def _first(texts: Iterable[str], room: int) -> Iterator[str]:
    for text in texts:
        if room <= 0:
            return
        yield text[:room]
        room -= len(text)
