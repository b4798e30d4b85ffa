"""An n-gram model of tokens: an autoregressive judge of text that has nothing in common with the models it judges.

Interpolated Witten-Bell: with c(h w) the occurrences of w after the context h, c(h) their sum, D(h) how many different
tokens follow h, and h' the context without its first token,

    P(w | h) = (c(h w) + D(h) P(w | h')) / (c(h) + D(h)),    P(w | h) = P(w | h') where h was never seen,

down to 1/V below the empty context. Source: Witten & Bell, IEEE Trans. Inf. Theory 37 (1991) 1085; in this form Chen &
Goodman, Comput. Speech Lang. 13 (1999) 359, section 2.5.
"""

from typing import NamedTuple

import numpy as np

from gidd_jax.errors import InputError


class Level(NamedTuple):
    """Grams of one length n, numbered in order, all int64. ``keys`` [N]: V times the number of the first n - 1 tokens,
    plus the last token; ``counts`` [N]: occurrences. By number of the n - 1 tokens [M]: how often anything follows
    them, and how many different tokens do."""

    keys: np.ndarray
    counts: np.ndarray
    followed: np.ndarray
    kinds: np.ndarray


class Ngram(NamedTuple):
    """What ``fit`` found: grams of 1, 2, ... tokens."""

    vocab: int
    levels: tuple[Level, ...]


def fit(tokens: np.ndarray, vocab: int, order: int = 6) -> Ngram:
    """Counts the grams of up to ``order`` tokens of one long text, ids [N] below ``vocab``.

    Raises InputError for an order below 1, ids outside the vocabulary, or a text shorter than the order.
    """
    tokens = np.asarray(tokens).astype(np.int64)
    if order < 1 or len(tokens) < order:
        raise InputError(f"an {order}-gram model of {len(tokens)} tokens: give an order of 1 or more, and more text")
    if tokens.min() < 0 or tokens.max() >= vocab:
        raise InputError(f"tokens from {tokens.min()} to {tokens.max()}: ids are 0 to {vocab - 1}")
    # The number of the gram that begins at each place: all begin with the empty one.
    number, known, levels = np.zeros(len(tokens) + 1, np.int64), 1, []
    for length in range(1, order + 1):
        shorter = number[: len(tokens) - length + 1]
        keys, number, counts = np.unique(
            shorter * vocab + tokens[length - 1 :], return_inverse=True, return_counts=True
        )
        followed = np.bincount(shorter, minlength=known)
        levels.append(Level(keys, counts, followed, np.bincount(keys // vocab, minlength=known)))
        known = len(keys)
    return Ngram(vocab, tuple(levels))


def nats(model: Ngram, x: np.ndarray) -> np.ndarray:
    """-log P of every token given those before it in its row, float64 [B,S]; the first has no context.

    Raises InputError for ids outside the vocabulary.
    """
    x = np.asarray(x).astype(np.int64)
    if x.size and not 0 <= x.min() <= x.max() < model.vocab:
        raise InputError(f"tokens from {x.min()} to {x.max()}: ids are 0 to {model.vocab - 1}")
    p, number = np.full(x.shape, 1 / model.vocab), np.zeros(x.shape, np.int64)
    for context, level in enumerate(model.levels[: x.shape[1]]):
        # By the place where the context begins; -1 where it was never seen.
        number, token, below = number[:, : x.shape[1] - context], x[:, context:], p[:, context:]
        followed = np.where(number < 0, 0, level.followed[number])
        kinds = np.where(number < 0, 0, level.kinds[number])
        key = np.where(number < 0, -1, number * model.vocab + token)
        place = np.minimum(np.searchsorted(level.keys, key), len(level.keys) - 1)
        seen = level.keys[place] == key
        mixed = (np.where(seen, level.counts[place], 0) + kinds * below) / np.maximum(followed + kinds, 1)
        p[:, context:] = np.where(followed > 0, mixed, below)
        number = np.where(seen, place, -1)
    return -np.log(p)
