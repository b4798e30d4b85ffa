"""Terms that keep concept slots apart, and how they are weighed against a task. Float32 inside.

z is [B,C,D]: the C concept vectors of each of B samples; slots [C] says which are in use. A slot out of use counts
nowhere, in no sum and no divisor, whatever stands in it. A term that has nothing to compare (one slot, one row) is 0.
Gradients are finite everywhere: where two slots coincide or a vector is 0 the direction that does not exist is 0.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Integer

from gidd_jax.types import Scalar

SHORTEST = 1e-6
"""A vector shorter than this has no direction."""

KOLEO_FLOOR = 1e-8
"""Added to squared distances before the logarithm: a pair of slots is pushed with at most 1 / (2 sqrt(floor))."""

Slots = Bool[Array, "C"]
Concepts = Float[Array, "B C D"]


def orthogonality(z: Concepts, slots: Slots) -> Scalar:
    """Mean of cos_ij^2 over samples and pairs of slots i != j, in [0, 1]; 0 for an orthogonal set."""
    return _over_pairs(_cosines(_units(z, slots)) ** 2, slots)


def soft_orthogonality(z: Concepts, slots: Slots, threshold: Scalar = 0.1) -> Scalar:
    """Mean of max(|cos_ij| - threshold, 0)^2 over samples and pairs of slots i != j: small angles are let be."""
    excess = jax.nn.relu(jnp.abs(_cosines(_units(z, slots))) - threshold)
    return _over_pairs(excess**2, slots)


def uniformity(z: Concepts, slots: Slots, temperature: Scalar = 2.0) -> Scalar:
    """Mean of exp(-temperature |u_i - u_j|^2) over samples and pairs of slots i != j, u = z / |z|, in (0, 1].

    Wang and Isola, arXiv 2005.10242, section 4.1.2; but within a sample and without the logarithm, as MrCogito has it.
    """
    square = 2 - 2 * _cosines(_units(z, slots))
    return _over_pairs(jnp.exp(-temperature * square), slots)


def variance(z: Concepts, slots: Slots) -> Scalar:
    """Mean over features of max(1 - sqrt(Var + 1e-4), 0), the unbiased variance over the rows of all samples and slots.

    VICReg, arXiv 2105.04906, eq. 1 and 2, whose rows are samples.
    """
    return _spread(*_rows(z, slots), 1e-4)[0]


def covariance(z: Concepts, slots: Slots) -> Scalar:
    """Sum of Cov_hk^2 over features h != k, divided by D, over the rows of all samples and slots.

    VICReg, arXiv 2105.04906, eq. 3 and 4, whose rows are samples.
    """
    return _spread(*_rows(z, slots), 1e-4)[1]


def vicreg(z: Concepts, slots: Slots) -> Scalar:
    """``variance`` + ``covariance``, weights 1 and 1: VICReg without the term that needs a second view."""
    return sum(_spread(*_rows(z, slots), 1e-4))


def nearest(z: Concepts, slots: Slots) -> Scalar:
    """-(mean over samples and slots of the distance to the nearest other slot), u = z / |z|, in [-2, 0].

    What MrCogito calls "t_regs_mst": there is no tree in it (that is ``tree``). Two slots that coincide have distance 0
    and gradient 0: once duplicated they are never pushed apart, and ``koleo`` moves them only once they differ.
    """
    return -_over_slots(_length(_to_nearest(z, slots)), slots & (slots.sum() > 1))


def koleo(z: Concepts, slots: Slots) -> Scalar:
    """-(mean over samples and slots of log distance to the nearest other slot), u = z / |z|, nats.

    The Kozachenko-Leonenko estimate of entropy without its constants: Sablayrolles et al., arXiv 1806.03198; DINOv2,
    arXiv 2304.07193, section 4. Slots are pushed apart as 1 / distance, down to distance sqrt(KOLEO_FLOOR) = 1e-4.
    """
    square = jnp.sum(_to_nearest(z, slots) ** 2, axis=-1)
    return -_over_slots(0.5 * jnp.log(square + KOLEO_FLOOR), slots & (slots.sum() > 1))


def tree(z: Concepts, slots: Slots) -> Scalar:
    """-(length of the minimum spanning tree of a sample's n slots) / n, u = z / |z|, mean over samples, in (-2, 0].

    T-REGS, arXiv 2510.23484, eq. 4, held on the sphere by normalisation instead of by its soft term (``sphere``). The
    tree is Prim's, O(C^2) a sample; each of its edges pulls on its two ends.
    """
    unit = _units(z, slots)
    parent, root = _spanning_tree(-jax.lax.stop_gradient(_cosines(unit)), slots)
    edges = unit - jnp.take_along_axis(unit, parent[..., None], axis=1)
    # A mean over the n slots of which the root has no edge: the paper divides n - 1 edges by n.
    return -_over_slots(jnp.where((jnp.arange(slots.size) == root)[None], 0.0, _length(edges)), slots)


def sphere(z: Concepts, slots: Slots) -> Scalar:
    """Mean of (|z_i| - 1)^2 over samples and slots: the soft sphere of T-REGS, arXiv 2510.23484, eq. 5."""
    return _over_slots((_length(_used(z, slots)) - 1) ** 2, slots)


REGULARISERS = {
    "orthogonality": orthogonality,
    "soft_orthogonality": soft_orthogonality,
    "uniformity": uniformity,
    "variance": variance,
    "covariance": covariance,
    "vicreg": vicreg,
    "nearest": nearest,
    "koleo": koleo,
    "tree": tree,
    "sphere": sphere,
}
"""Name -> function of (z, slots) -> scalar. The source's "combined" is variance + uniformity."""


def seq_vcr(
    states: Float[Array, "L B C D"],
    on: Float[Array, "L"],
    slots: Slots,
    variance_weight: Scalar = 1.0,
    covariance_weight: Scalar = 0.004,
) -> Scalar:
    """Variance and covariance of every layer's every slot over the batch; mean over slots, then over layers by ``on``.

    A slot's: (1/D) sum_k [variance_weight max(1 - sqrt(Cov_kk + 1e-3), 0) + covariance_weight sum_{h != k} Cov_hk^2],
    Cov unbiased over the B samples. ``on`` weighs the layers; its sum is divided out, and where it is 0 so is the term.
    Seq-VCR, arXiv 2411.02344, with its weights: there slots are positions of a sequence, seen through a linear map.
    """
    rows = jnp.swapaxes(_used(states, slots), 1, 2)
    rows, freedom = rows - rows.mean(axis=2, keepdims=True), max(rows.shape[2] - 1, 1)
    spread, shared = _spread(rows, freedom, 1e-3)
    each = jnp.where(slots[None], variance_weight * spread + covariance_weight * shared, 0.0)
    layers = each.sum(axis=1) / jnp.maximum(slots.sum(), 1)
    total = on.sum()
    return jnp.sum(on * layers) / jnp.where(total > 0, total, 1.0)


def warm(step: ArrayLike, warmup: ArrayLike) -> Scalar:
    """min(1, step / warmup), both in steps; 1 where warmup is 0."""
    some = jnp.asarray(warmup) > 0
    return jnp.where(some, jnp.minimum(1.0, step / jnp.where(some, warmup, 1)), 1.0)


def weighted(task: Scalar, terms: Mapping[str, Scalar], weights: Mapping[str, Scalar]) -> Scalar:
    """task + sum_k w_k L_k, a weight for every term. MrCogito gives each of K terms 1/K of its one weight."""
    return task + sum(weights[name] * term for name, term in terms.items())


def uncertain(task: Scalar, terms: Mapping[str, Scalar], log_variances: Mapping[str, Scalar]) -> Scalar:
    """sum_i [exp(-s_i) L_i + s_i] / 2 over the terms and the task itself, whose s is ``log_variances["task"]``.

    At s = 0, where it starts, it is half the plain sum. The best s is log L, which leaves (1 + log L) / 2: negative
    below L = 1/e, and without end where a term can fall to 0 or below.
    Kendall, Gal and Cipolla, arXiv 1705.07115, section 3.2, in MrCogito's form: regression's 1/2 for every term.
    """
    losses = {"task": task, **terms}
    return sum(0.5 * (jnp.exp(-log_variances[name]) * loss + log_variances[name]) for name, loss in losses.items())


def directions(z: Float[Array, "*n D"]) -> Float[Array, "*n D"]:
    """z / |z|; 0, with gradient 0, for a vector shorter than ``SHORTEST``."""
    square = jnp.sum(z * z, axis=-1, keepdims=True)
    some = square > SHORTEST**2
    return jnp.where(some, z / jnp.sqrt(jnp.where(some, square, 1.0)), 0.0)


def _used(z: Float[Array, "*n C D"], slots: Slots) -> Float[Array, "*n C D"]:
    return jnp.where(slots.reshape(*(1,) * (z.ndim - 2), -1, 1), z.astype(jnp.float32), 0.0)


def _units(z: Concepts, slots: Slots) -> Concepts:
    return directions(_used(z, slots))


def _length(vectors: Float[Array, "*n D"]) -> Float[Array, "*n"]:
    square = jnp.sum(vectors * vectors, axis=-1)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)


def _cosines(unit: Concepts) -> Float[Array, "B C C"]:
    # In full float32: accelerators round products to 10 bits unless told, and near neighbours would be confused.
    return jnp.einsum("bid,bjd->bij", unit, unit, precision="highest")


def _pairs(slots: Slots) -> Bool[Array, "C C"]:
    return slots[:, None] & slots[None, :] & ~jnp.eye(slots.size, dtype=bool)


def _over_pairs(value: Float[Array, "B C C"], slots: Slots) -> Scalar:
    pairs = _pairs(slots)
    return jnp.where(pairs[None], value, 0.0).sum() / (value.shape[0] * jnp.maximum(pairs.sum(), 1))


def _over_slots(value: Float[Array, "B C"], slots: Slots) -> Scalar:
    return jnp.where(slots[None], value, 0.0).sum() / (value.shape[0] * jnp.maximum(slots.sum(), 1))


def _to_nearest(z: Concepts, slots: Slots) -> Concepts:
    """u_i less its nearest other slot: the difference itself, since 2 - 2 cos loses small distances to rounding."""
    unit = _units(z, slots)
    alike = jnp.where(_pairs(slots)[None], jax.lax.stop_gradient(_cosines(unit)), -jnp.inf)
    return unit - jnp.take_along_axis(unit, jnp.argmax(alike, axis=-1)[..., None], axis=1)


def _spanning_tree(cost: Float[Array, "B C C"], slots: Slots) -> tuple[Integer[Array, "B C"], Integer[Array, ""]]:
    """Prim's algorithm: for every slot the one it hangs from, and the root, which hangs from itself."""
    batch, count, _ = cost.shape
    here, root = jnp.arange(count)[None], jnp.argmax(slots)

    def grow(_, state):
        inside, best, parent = state
        # Once every slot is in, slot 0 is taken again and again: nothing changes.
        chosen = jnp.argmin(jnp.where(inside | ~slots[None], jnp.inf, best), axis=-1)
        row = jnp.take_along_axis(cost, chosen[:, None, None], axis=1)[:, 0]
        inside = inside | (here == chosen[:, None])
        closer = ~inside & (row < best)
        return inside, jnp.where(closer, row, best), jnp.where(closer, chosen[:, None], parent)

    inside = jnp.broadcast_to(here == root, (batch, count))
    start = inside, jnp.take(cost, root, axis=1), jnp.full((batch, count), root)
    return jax.lax.fori_loop(0, count - 1, grow, start)[2], root


def _rows(z: Concepts, slots: Slots) -> tuple[Float[Array, "N D"], Float[Array, ""]]:
    """The rows of all samples and slots less their mean, 0 for slots out of use, and how many count, less 1."""
    used, count = _used(z, slots), z.shape[0] * slots.sum()
    mean = used.sum(axis=(0, 1), keepdims=True) / jnp.maximum(count, 1)
    return _used(used - mean, slots).reshape(-1, z.shape[-1]), jnp.maximum(count - 1.0, 1.0)


def _spread(
    rows: Float[Array, "*g N D"], freedom: ArrayLike, floor: float
) -> tuple[Float[Array, "*g"], Float[Array, "*g"]]:
    """Variance and covariance term of centred rows, ``freedom`` the divisor of their covariance."""
    width = rows.shape[-1]
    variances = jnp.sum(rows**2, axis=-2) / freedom
    # |X^T X| = |X X^T|: the smaller of the two is made.
    gram = "...nd,...md->...nm" if rows.shape[-2] < width else "...nd,...ne->...de"
    square = jnp.sum((jnp.einsum(gram, rows, rows, precision="highest") / freedom) ** 2, axis=(-2, -1))
    short = jax.nn.relu(1 - jnp.sqrt(variances + floor))
    return short.mean(axis=-1), (square - jnp.sum(variances**2, axis=-1)) / width
