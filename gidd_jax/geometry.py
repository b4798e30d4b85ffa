"""How many directions concepts take: ranks, angles and spreads of z [N,C,D], and what can be read off them.

C concept vectors of each of N samples; slots [C] says which are in use, the others count nowhere. Ranks come from
singular values in float32, good to ``ROUNDING`` of the whole, and not from the eigenvalues of a Gram matrix, whose
roots are good to 1e-3 only: noise in hundreds of small ones would read as rank. All of it is diagnosis, in no loss.
Nothing here calls LAPACK: two host devices that decompose batches at once wait for one another without end (jaxlib
0.10.2: each blocks a thread of the pool that both need).
"""

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg
from jax.scipy.special import xlogy
from jaxtyping import Array, Bool, Float, Integer, Real

from gidd_jax.losses.concepts import directions
from gidd_jax.types import Scalar

ROUNDING = 1e-6
"""A spread below this share of the vectors themselves is float32's own and counts as none: collapse is not noise."""

SWEEPS = 9
"""Rounds in which every two rows meet; 128 x 512 are orthogonal to rounding after seven."""

Slots = Bool[Array, "C"]
Concepts = Float[Array, "N C D"]


def geometry(z: Concepts, slots: Slots) -> dict[str, Scalar]:
    """Every measure below of one set of samples, by name.

    Of the mean over samples [C,D]: effective_rank, effective_rank_centred, entropy_rank, dims_95. Of the pooled vectors
    [N,D]: rankme, anisotropy. Of each sample's [C,D], mean over samples: rankme_within, rankme_within_centred,
    slot_cosine; slot_cosine_max is the largest of all. Of all N*C rows: participation_ratio. slot_std: over samples.
    """
    mean, vectors = z.astype(jnp.float32).mean(axis=0), pooled(z, slots)
    typical, largest = slot_cosines(z, slots)
    everyone = jnp.broadcast_to(slots[None], z.shape[:2]).reshape(-1)
    return {
        "effective_rank": effective_rank(mean, slots, centred=False),
        "effective_rank_centred": effective_rank(mean, slots, centred=True),
        "entropy_rank": _entropy_rank(spectrum(mean, slots, centred=False)),
        "dims_95": dims(mean, slots),
        "rankme": rankme(vectors, jnp.ones(len(vectors), bool)),
        "rankme_within": rankme_within(z, slots, centred=False),
        "rankme_within_centred": rankme_within(z, slots, centred=True),
        "participation_ratio": participation_ratio(z.reshape(-1, z.shape[-1]), everyone),
        "slot_cosine": typical,
        "slot_cosine_max": largest,
        "anisotropy": anisotropy(vectors),
        "slot_std": slot_std(z, slots),
    }


def pooled(z: Concepts, slots: Slots) -> Float[Array, "N D"]:
    """Mean over the slots in use: one vector a sample."""
    total = jnp.where(slots[None, :, None], z.astype(jnp.float32), 0.0).sum(axis=1)
    return total / jnp.maximum(slots.sum(), 1)


def spectrum(rows: Float[Array, "*g N D"], counted: Bool[Array, "N"], centred: bool) -> Float[Array, "*g K"]:
    """Singular values, largest first, of the rows that count, less their mean where ``centred``; K = min(N, D)."""
    rows, least = _counted(rows, counted, centred)
    values = singular_values(rows)
    return jnp.where(values > least[..., None], values, 0.0)


def singular_values(matrix: Float[Array, "*g N D"]) -> Float[Array, "*g K"]:
    """Singular values, largest first, K = min(N, D), by one-sided Jacobi rotations in ``SWEEPS`` sweeps.

    The rows (or columns, if fewer) are paired, each pair turned until orthogonal, and paired anew as in a tournament;
    at the end their lengths are the values. Hestenes, J. SIAM 6, 1958; the order of Brent and Luk, SIAM J. Sci. Stat.
    Comput. 6, 1985.
    """
    rows = matrix if matrix.shape[-2] <= matrix.shape[-1] else jnp.swapaxes(matrix, -1, -2)
    count = rows.shape[-2]
    if count == 1:
        return jnp.sqrt(jnp.sum(rows**2, axis=-1))
    if count % 2:
        rows = jnp.concatenate([rows, jnp.zeros_like(rows[..., :1, :])], axis=-2)

    def rotate(_, pairs):
        one, two = pairs
        a, b, c = (jnp.sum(x * y, axis=-1) for x, y in ((one, one), (two, two), (one, two)))
        some = c != 0
        slope = (b - a) / (2 * jnp.where(some, c, 1.0))
        tangent = jnp.where(slope < 0, -1.0, 1.0) / (jnp.abs(slope) + jnp.sqrt(1 + slope**2))
        tangent = jnp.where(some, tangent, 0.0)[..., None]
        cosine = 1 / jnp.sqrt(1 + tangent**2)
        one, two = cosine * (one - tangent * two), cosine * (tangent * one + two)
        # The first stays; all others move on by one place round the table.
        first = jnp.concatenate([one[..., :1, :], two[..., :1, :], one[..., 1:-1, :]], axis=-2)
        second = jnp.concatenate([two[..., 1:, :], one[..., -1:, :]], axis=-2)
        return (one, two) if one.shape[-2] == 1 else (first, second)

    half = rows.shape[-2] // 2
    turns = SWEEPS * (rows.shape[-2] - 1)
    pairs = jax.lax.fori_loop(0, turns, rotate, (rows[..., :half, :], rows[..., half:, :]))
    lengths = jnp.sqrt(jnp.sum(jnp.concatenate(pairs, axis=-2) ** 2, axis=-1))
    return jnp.sort(lengths, axis=-1, descending=True)[..., :count]


def effective_rank(matrix: Float[Array, "C D"], slots: Slots, centred: bool) -> Scalar:
    """Nuclear over spectral norm, sum(S) / max(S), of [C,D]: 0 for nothing, 1 for one direction, at most min(C, D).

    MrCogito's measure, uncentred and of the mean over samples. A Gaussian 128 x 512 has 83.3 (a draw: +- .7); a vector
    that all slots share takes it to 22.5, 11.9, 6.5 at mean cosine .2, .5, .8, while the centred value stays 82.7.
    """
    values = spectrum(matrix, slots, centred)
    return _ratio(values.sum(), values[0])


def dims(matrix: Float[Array, "C D"], slots: Slots, share: Scalar = 0.95) -> Scalar:
    """How many leading directions hold ``share`` of sum(S^2), uncentred."""
    energy = spectrum(matrix, slots, centred=False) ** 2
    return 1.0 + jnp.sum(jnp.cumsum(energy) < share * energy.sum())


def rankme(rows: Float[Array, "N D"], counted: Bool[Array, "N"]) -> Scalar:
    """exp(entropy of S / sum S) of the centred rows that count, from 1 to min(N - 1, D); 0 where there is no spread.

    RankMe, Garrido et al., arXiv 2210.02885, which does not centre; centred as MrCogito has it.
    """
    return _entropy_rank(spectrum(rows, counted, centred=True))


def rankme_within(z: Concepts, slots: Slots, centred: bool) -> Scalar:
    """Mean over samples of exp(entropy of S / sum S) of a sample's slots [C,D]: has one input many concepts."""
    return _entropy_rank(spectrum(z, slots, centred)).mean()


def participation_ratio(rows: Float[Array, "N D"], counted: Bool[Array, "N"]) -> Scalar:
    """(tr Cov)^2 / tr Cov^2 of the rows that count: how many directions hold their variance, from 1 to D; 0 if none.

    Traces need no eigenvalues, so this one is exact from the smaller Gram matrix.
    """
    rows, least = _counted(rows, counted, centred=True)
    gram = _product(rows, rows.T) if rows.shape[0] < rows.shape[1] else _product(rows.T, rows)
    total = jnp.trace(gram)
    return _ratio(jnp.where(total > least**2, total, 0.0) ** 2, jnp.sum(gram**2))


def slot_cosines(z: Concepts, slots: Slots) -> tuple[Scalar, Scalar]:
    """Mean of |cos| over samples and pairs of slots, and the largest cosine of any two slots of one sample."""
    unit = directions(z.astype(jnp.float32))
    cosines = jnp.einsum("nid,njd->nij", unit, unit, precision="highest")
    pairs = (slots[:, None] & slots[None, :] & ~jnp.eye(slots.size, dtype=bool))[None]
    typical = _ratio(jnp.where(pairs, jnp.abs(cosines), 0.0).sum(), len(z) * pairs.sum().astype(jnp.float32))
    return typical, jnp.where(pairs, cosines, -1.0).max()


def anisotropy(rows: Float[Array, "N D"]) -> Scalar:
    """Mean cosine of two different rows, over all pairs: near 0 in a ball, near 1 in a narrow cone.

    Ethayarajh, arXiv 1909.00512, who draws pairs at random. sum_{i != j} u_i u_j = |sum u|^2 - sum |u|^2.
    """
    unit = directions(rows.astype(jnp.float32))
    total = jnp.sum(unit.sum(axis=0) ** 2) - jnp.sum(unit**2)
    return _ratio(total, jnp.float32(len(rows) * (len(rows) - 1)))


def slot_std(z: Concepts, slots: Slots) -> Scalar:
    """Unbiased standard deviation over samples, mean over features and slots: 0 if no slot depends on its input."""
    of_slot = jnp.swapaxes(z.astype(jnp.float32), 0, 1)
    square = (of_slot - _mean(of_slot, jnp.ones((len(z), 1), bool))) ** 2
    spread = jnp.sqrt(square.sum(axis=1) / max(len(z) - 1, 1)).mean(axis=-1)
    return _ratio(jnp.where(slots, spread, 0.0).sum(), slots.sum().astype(jnp.float32))


def cosine_similarity(rows: Float[Array, "N D"]) -> Float[Array, "N N"]:
    """Cosine of every two rows; 0 with a row that is 0."""
    unit = directions(rows.astype(jnp.float32))
    return _product(unit, unit.T)


def ranks(x: Real[Array, "N"]) -> Float[Array, "N"]:
    """Ranks from 1, equal values sharing the mean of theirs."""
    ordered = jnp.sort(x)
    below, upto = (jnp.searchsorted(ordered, x, side=side) for side in ("left", "right"))
    return (below + upto + 1) / 2


def pearson(x: Real[Array, "N"], y: Real[Array, "N"]) -> Scalar:
    """Pearson's correlation, in [-1, 1]; NaN where one of them is constant."""
    everyone = jnp.ones(len(x), bool)
    (x, least_x), (y, least_y) = (_counted(jnp.asarray(v, jnp.float32)[:, None], everyone, True) for v in (x, y))
    length_x, length_y = jnp.sqrt(jnp.sum(x**2)), jnp.sqrt(jnp.sum(y**2))
    varies = (length_x > least_x) & (length_y > least_y)
    return jnp.where(varies, jnp.sum(x * y) / (length_x * length_y), jnp.nan)


def spearman(x: Real[Array, "N"], ranks_of_y: Real[Array, "N"]) -> Scalar:
    """Spearman's correlation of x with a y whose ``ranks`` are given: a judgement that never changes is ranked once."""
    return pearson(ranks(x), ranks_of_y)


def ridge_accuracy(
    train_x: Float[Array, "N D"],
    train_y: Integer[Array, "N"],
    test_x: Float[Array, "M D"],
    test_y: Integer[Array, "M"],
    classes: int,
    penalty: Scalar,
) -> Scalar:
    """Share of the test rows whose class a linear probe in closed form names: ridge regression on one-hot classes.

    W minimises |X W - Y|^2 / N + penalty |W|^2, X standardised by the training rows (a constant feature is 0 there), Y
    one-hot less its mean. X^T X / N has diagonal 1: .01 is little, 1 is much; 0 needs N > D.
    """
    train_x, test_x = train_x.astype(jnp.float32), test_x.astype(jnp.float32)
    mean = _mean(train_x, jnp.ones((len(train_x), 1), bool))
    std = jnp.sqrt(jnp.mean((train_x - mean) ** 2, axis=0, keepdims=True))
    varies = std > ROUNDING * jnp.abs(mean)
    scaled = [jnp.where(varies, (x - mean) / jnp.where(varies, std, 1.0), 0.0) for x in (train_x, test_x)]
    labels = jax.nn.one_hot(train_y, classes)
    base = labels.mean(axis=0, keepdims=True)
    gram = _product(scaled[0].T, scaled[0]) / len(train_x) + penalty * jnp.eye(train_x.shape[1])
    wanted = _product(scaled[0].T, labels - base) / len(train_x)
    weight, _ = cg(lambda w: _product(gram, w), wanted, tol=1e-6, maxiter=10 * len(gram))
    return jnp.mean(jnp.argmax(_product(scaled[1], weight) + base, axis=-1) == test_y)


def _counted(
    rows: Float[Array, "*g N D"], counted: Bool[Array, "N"], centred: bool
) -> tuple[Float[Array, "*g N D"], Float[Array, "*g"]]:
    """The rows that count, 0 elsewhere, less their mean where ``centred``; and the norm that is but rounding."""
    keep = counted.reshape(*(1,) * (rows.ndim - 2), -1, 1)
    rows = jnp.where(keep, rows.astype(jnp.float32), 0.0)
    least = ROUNDING * jnp.sqrt(jnp.sum(rows**2, axis=(-2, -1)))
    return jnp.where(keep, rows - _mean(rows, keep), 0.0) if centred else rows, least


def _mean(rows: Float[Array, "*g N D"], keep: Bool[Array, "*k N 1"]) -> Float[Array, "*g 1 D"]:
    count = jnp.maximum(keep.sum(), 1)
    first = jnp.where(keep, rows, 0.0).sum(axis=-2, keepdims=True) / count
    # Once more over what is left: a sum of thousands errs by more than the rounding of one.
    return first + jnp.where(keep, rows - first, 0.0).sum(axis=-2, keepdims=True) / count


def _entropy_rank(values: Float[Array, "*g K"]) -> Float[Array, "*g"]:
    total = values.sum(axis=-1)
    shares = values / jnp.where(total > 0, total, 1.0)[..., None]
    return jnp.where(total > 0, jnp.exp(-xlogy(shares, shares).sum(axis=-1)), 0.0)


def _product(a: Float[Array, "N K"], b: Float[Array, "K M"]) -> Float[Array, "N M"]:
    # In full float32: accelerators round products to 10 bits unless told.
    return jnp.matmul(a, b, precision="highest")


def _ratio(numerator: Scalar, denominator: Scalar) -> Scalar:
    return jnp.where(denominator > 0, numerator / jnp.where(denominator > 0, denominator, 1.0), 0.0)
