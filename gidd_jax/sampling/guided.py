"""Revealing masks in an order and at a pace that an order parameter R guides; every arm of a comparison is a row.

Source: the Phase-Diffusion proposal, corrected: counts sum to what is masked, only masked cells are chosen, revealed
tokens stay (or are masked again by a rule of their own), the mask is never drawn, confidence is that of the token.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Integer, Key

from gidd_jax.sampling.draws import ranks
from gidd_jax.sampling.reveal import paced

Guess = Callable[
    [Int[Array, "B S"], Float[Array, "B"]], tuple[Float[Array, "B S V"], Float[Array, "B S"] | Float[Array, "B S V"]]
]
"""Tokens with masks, and the share masked -> logits of the clean tokens, and R in [0, 1] of every cell; from a judge of
tokens R of every token that may be drawn there: the cell then has that of the token drawn."""


class Arm(NamedTuple):
    """How one row reveals; all traced, each a scalar or [B], so that arms share a program and keys.

    clamp: R of every cell and of the pace, NaN where it is free. span, lo: the pace, see ``reveal_counts``; (0, 1) is
    even. coins: 1 reveals each masked cell with probability 1 / (steps left) instead, as ancestral sampling does.
    confidence: weight of log p(token drawn) in the order; agreement: weight of log(1/2 + R/2) in it, and of R in
    masking again; noise: weight of Gumbel noise in the order, which at 1 and nothing else is a random order.
    shuffled: 1 permutes R among the masked cells of the row before it is used for the order. again: share of the
    greatest rate of masking again that keeps the marginals, (1 - R agreement) min(1, s / (1 - t)) (ReMDM,
    arXiv 2503.00307). temperature divides the logits.
    """

    clamp: ArrayLike = jnp.nan
    span: ArrayLike = 0.4
    lo: ArrayLike = 0.8
    coins: ArrayLike = 0.0
    confidence: ArrayLike = 1.0
    agreement: ArrayLike = 1.0
    noise: ArrayLike = 0.0
    shuffled: ArrayLike = 0.0
    again: ArrayLike = 0.0
    temperature: ArrayLike = 1.0


class Guided(NamedTuple):
    """Tokens, and by step: R of the sequence as the model has it, cells revealed (less those masked again), and the
    mean entropy in nats of the model's guess at the cells still masked (0 where there are none)."""

    tokens: Int[Array, "B S"]
    r: Float[Array, "T B"]
    counts: Int[Array, "T B"]
    entropy: Float[Array, "T B"]


ARMS: dict[str, Arm] = {
    "guided": Arm(),
    "low_confidence": Arm(span=0.0, lo=1.0, agreement=0.0),
    "random_order": Arm(span=0.0, lo=1.0, confidence=0.0, agreement=0.0, noise=1.0),
    "ancestral": Arm(coins=1.0, confidence=0.0, agreement=0.0, noise=1.0),
    "remdm": Arm(span=0.0, lo=1.0, confidence=0.0, agreement=0.0, noise=1.0, again=1.0),
    "remdm_guided": Arm(again=1.0),
}
"""Samplers by name: R-guided; LLaDA's low-confidence order (arXiv 2502.09992); a random order; MDLM's ancestral process
(arXiv 2406.07524); ReMDM with counts in place of rates; ReMDM with R in the place of its confidence."""


def guided(
    keys: Key[Array, "B"],
    guess: Guess,
    z: Integer[ArrayLike, "B S"],
    steps: int,
    mask_id: int,
    arm: Arm = ARMS["guided"],
    pace: Float[ArrayLike, "T B"] | None = None,
) -> Guided:
    """Fills the masks of z in ``steps`` model calls, whatever R does; what is not masked at the start never changes.

    ``pace`` [T,B] replaces R in the count alone, NaN where it is free: another row's R, say. A key a row, consumed: a
    batch is as many batches of one, and rows with equal keys share their noise. The pace reads the mean of R over
    masked cells. Cells just revealed are never masked again at once; a cell's R is the one at which it was revealed.
    """
    z = jnp.asarray(z)
    own = z == mask_id
    whole = own.sum(1)
    rows, length = z.shape
    arm = Arm(*(jnp.broadcast_to(jnp.asarray(value, jnp.float32), (rows,)) for value in arm))
    pace = jnp.full((steps, rows), jnp.nan) if pace is None else jnp.asarray(pace)
    clamp = arm.clamp[:, None]

    def step(state, inputs):
        z, masked, exact, known = state
        i, pace_B = inputs
        to_go, left = steps - i, masked.sum(1)
        draws, coins, order, shuffle, hide = _numbers(keys, i, z.shape, guess_width)
        logits, r = guess(z, left / jnp.maximum(whole, 1))
        logits = jnp.where(_ids(logits) == mask_id, -jnp.inf, logits.astype(jnp.float32))
        log_p = jax.nn.log_softmax(logits / arm.temperature[:, None, None], axis=-1)
        token = jnp.argmax(log_p + draws, axis=-1)
        log_p_token = _of(log_p, token)
        r = _of(r, token) if r.ndim == 3 else r
        entropy = -jnp.where(jnp.isfinite(log_p), jnp.exp(log_p) * log_p, 0.0).sum(-1)

        free = jnp.where(masked, r, 0.0).sum(1) / jnp.maximum(left, 1)
        used = jnp.where(jnp.isnan(pace_B), jnp.where(jnp.isnan(arm.clamp), free, arm.clamp), pace_B)
        r = jnp.where(arm.shuffled[:, None] > 0, _permuted(shuffle, r, masked), r)
        r = jnp.where(jnp.isnan(clamp), r, clamp)

        after, exact = paced(left, exact, used, to_go, arm.span, arm.lo)
        tossed = masked & (coins * to_go < 1)
        count = jnp.where(arm.coins > 0, tossed.sum(1), left - after)
        score = arm.confidence[:, None] * log_p_token + arm.agreement[:, None] * jnp.log(0.5 + 0.5 * r)
        score = score + arm.noise[:, None] * order
        reveal = masked & (ranks(score, masked) < count[:, None])

        t, s = to_go / steps, (to_go - 1) / steps
        rate = jnp.minimum(1.0, s / jnp.maximum(1 - t, 1e-6)) * (to_go > 1)
        again = own & ~masked & (hide < arm.again[:, None] * rate * (1 - arm.agreement[:, None] * known))
        z = jnp.where(reveal, token.astype(z.dtype), jnp.where(again, mask_id, z)).astype(z.dtype)
        known = jnp.where(reveal, r, known)
        shown = reveal.sum(1) - again.sum(1)
        mean = jnp.where(masked, entropy, 0.0).sum(1) / jnp.maximum(left, 1)
        return (z, (masked & ~reveal) | again, exact + again.sum(1), known), (free, shown, mean)

    guess_width = jax.eval_shape(guess, z, jnp.ones(rows))[0].shape[-1]
    start = (z, own, whole.astype(jnp.float32), jnp.zeros((rows, length)))
    (z, *_), (r, counts, entropy) = jax.lax.scan(step, start, (jnp.arange(steps), pace))
    return Guided(z.astype(jnp.int32), r, counts, entropy)


def _numbers(keys: Key[Array, "B"], i: Int[Array, ""], shape: tuple[int, ...], vocab: int) -> tuple[Array, ...]:
    """Of every row: Gumbel noise for tokens [S,V] and the order [S], uniform numbers for coins, shuffle, hiding."""

    def row(key):
        # One draw for all, because threefry compiles once per call.
        u = jax.random.uniform(jax.random.fold_in(key, i), (shape[1], 2 * vocab + 4))
        fine, coarse = jnp.split(u[:, : 2 * vocab], 2, axis=1)
        return _gumbel(coarse + 2.0**-24 * fine), *u[:, 2 * vocab :].T

    tokens, coins, order, shuffle, hide = jax.vmap(row)(keys)
    return tokens, coins, _gumbel(order), shuffle, hide


def _gumbel(u: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """-log(-log(1 - u)): the far tail, which decides draws of unlikely tokens, is near u = 0 and keeps its digits."""
    return -jnp.log(-jnp.log1p(-jnp.maximum(u, 2.0**-48)))


def _permuted(shuffle: Float[Array, "B S"], r: Float[Array, "B S"], masked: Bool[Array, "B S"]) -> Float[Array, "B S"]:
    """R of every masked cell moved to another masked cell of its row, in an order that ``shuffle`` decides."""
    place = jnp.argsort(jnp.where(masked, shuffle, 2.0), axis=1)  # masked cells in random order, then the others
    here = jnp.argsort(jnp.where(masked, 0, 1), axis=1, stable=True)  # masked cells in their own order, then the others
    moved = jnp.take_along_axis(r, place, axis=1)
    rows = jnp.arange(len(r))[:, None]
    return jnp.where(masked, jnp.zeros_like(r).at[rows, here].set(moved), r)


def _ids(logits: Float[Array, "B S V"]) -> Int[Array, "one one V"]:
    return jnp.arange(logits.shape[-1])[None, None]


def _of(values: Float[Array, "B S V"], token: Int[Array, "B S"]) -> Float[Array, "B S"]:
    return jnp.take_along_axis(values, token[..., None], axis=-1)[..., 0]
