"""The n-gram judge: the formula by hand and by brute force, sums to one, and what it makes of text it has not seen."""

import collections
import functools
import itertools
import math

import jax
import numpy as np
import pytest

from gidd_jax import known
from gidd_jax.data.text import ngram, offline
from gidd_jax.errors import InputError

TEXT = np.array([0, 1, 2, 0, 1, 3, 0, 1, 2, 2, 0, 3, 1, 0, 1, 2])
V = 5


def counted(text, order, vocab):
    """P(w | h) by recursion over dictionaries: h a tuple of tokens, of any length."""
    grams = collections.Counter(
        tuple(text[i : i + n].tolist()) for n in range(1, order + 1) for i in range(len(text) - n + 1)
    )

    @functools.cache
    def p(h, w):
        h = h[-(order - 1) :] if order > 1 else ()
        below = p(h[1:], w) if h else 1 / vocab
        after = [grams[(*h, v)] for v in range(vocab)]
        if not sum(after):
            return below
        kinds = sum(count > 0 for count in after)
        return (grams[(*h, w)] + kinds * below) / (sum(after) + kinds)

    return p


@pytest.mark.parametrize("order", [1, 2, 4])
def test_every_probability_is_the_formula_counted_by_hand(order):
    model, p = ngram.fit(TEXT, V, order), counted(TEXT, order, V)
    rows = np.array(list(itertools.product(range(V), repeat=4)))
    found = ngram.nats(model, rows)
    wanted = [[-math.log(p(tuple(row[:i].tolist()), row[i].item())) for i in range(4)] for row in rows]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_two_numbers_worked_on_paper():
    """abab: P(a) = (2 + 2/2) / (4 + 2) = 1/2, and b follows a twice and nothing else: (2 + 1/2) / (2 + 1) = 5/6."""
    found = ngram.nats(ngram.fit(np.array([0, 1, 0, 1]), 2, 2), np.array([[0, 1]]))
    np.testing.assert_allclose(np.exp(-found), [[1 / 2, 5 / 6]])


def test_after_any_context_seen_or_not_probabilities_sum_to_one():
    model = ngram.fit(TEXT, V, 4)
    contexts = np.array(list(itertools.product(range(V), repeat=3)))
    rows = np.concatenate([np.repeat(contexts, V, axis=0), np.tile(np.arange(V), len(contexts))[:, None]], axis=1)
    p = np.exp(-ngram.nats(model, rows)[:, -1]).reshape(-1, V)
    np.testing.assert_allclose(p.sum(1), 1.0, rtol=1e-12)
    assert (p > 0).all()


@pytest.mark.slow
def test_a_markov_chain_is_judged_at_its_entropy():
    """200,000 tokens of a chain of order 1: held-out nats within .01 of the entropy rate, for a bigram and above it."""
    source = known.markov(jax.random.key(0), 6, 0.5)
    text = np.asarray(known.sample(jax.random.key(1), source, 1, 200_000)[0])
    held = np.asarray(known.sample(jax.random.key(2), source, 1, 50_000))
    exact = -float(known.log_likelihood(source, held)[0]) / held.size
    by_order = [ngram.nats(ngram.fit(text, 7, order), held).mean() for order in (1, 2, 3)]
    assert by_order[0] > exact + 0.2
    np.testing.assert_allclose(by_order[1:], exact, atol=0.01)


def test_more_context_is_better_on_text_it_has_not_seen():
    text = np.frombuffer("\n".join(offline.kjv()[:80]).encode(), np.uint8)
    train, held = text[:200_000], text[200_000 : 200_000 + 64 * 100].reshape(100, 64)
    unigram, trigram, pentagram = (ngram.nats(ngram.fit(train, 256, order), held).mean() for order in (1, 3, 5))
    assert unigram - 0.5 > trigram > pentagram + 0.1
    shuffled = np.random.default_rng(0).permuted(held, axis=1)
    assert ngram.nats(ngram.fit(train, 256, 3), shuffled).mean() > unigram


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ngram.fit(TEXT, V, 0), "give an order of 1 or more"),
        (lambda: ngram.fit(TEXT[:2], V, 3), "and more text"),
        (lambda: ngram.fit(TEXT, 3, 2), "tokens from 0 to 3: ids are 0 to 2"),
        (lambda: ngram.nats(ngram.fit(TEXT, V, 2), np.array([[0, 5]])), "tokens from 0 to 5: ids are 0 to 4"),
    ],
)
def test_what_cannot_be_counted_is_one_line(call, message):
    with pytest.raises(InputError, match=message):
        call()
