"""The theory measured on a trained model: what each path of each block makes of each mode, and when a mode should part.

Source: synchronization_gap_paper (arXiv 2603.20987), equations 30-36 and 46-58, whose assumptions these numbers test.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gidd_jax import replica
from gidd_jax.models import dit, dit_image
from gidd_jax.sampling.replicas import difference
from gidd_jax.types import Tree


class Terms(NamedTuple):
    """Of L blocks and K modes of what each reads, means over M states about which the pair is symmetric, [L, K]."""

    chi: Float[Array, "L K"]
    """r^T R r: values routed by fixed weights, without coupling."""
    pi: Float[Array, "L K"]
    """r^T P_g r: by weights that change; R and P enter as rho R + xi P_g."""
    feed: Float[Array, "L K"]
    """r^T J r of the MLP (lambda)."""
    cross: Float[Array, "L K"]
    """|J (rho R + xi P) r| / |(rho R + xi P + J) r|: what eq. 33 drops, over what it keeps beside the identity."""
    error: Float[Array, "L K"]
    """|sum of the paths - exact derivative of the block| / |exact derivative|: rounding, if the theory is right."""


class Amplitudes(NamedTuple):
    """Differences of M pairs along K modes of what each of L blocks reads, as they come and as they leave it."""

    before: Float[Array, "T L K M"]
    after: Float[Array, "T L K M"]


class Local(NamedTuple):
    """What the theory asks for at every step and block."""

    branching: replica.Branching
    """m, c and their evidence, one Gaussian (m = 0) where there is none for two; [T, L, K]."""
    gain: replica.ScoreGain
    """gamma, one for all modes, and what it explains [T, L]."""
    kappa: Float[Array, "T L K"]
    """Above 1 a mode has parted (50-51); NaN where gamma <= 0, or eta is above the bound (55)."""


def projected(tokens: Float[Array, "2 M S D"], beside: Float[Array, "2 K S D"]) -> Float[Array, "2 K M"]:
    """After a block, the difference along the modes of what it read and along those of what the next one reads."""
    return jnp.einsum("msd,xksd->xkm", difference(tokens), beside, precision="highest")


def beside(modes: Float[Array, "L K S D"]) -> Float[Array, "L 2 K S D"]:
    """What ``projected`` needs at each layer."""
    return jnp.stack([modes, jnp.roll(modes, -1, axis=0)], axis=1)


def amplitudes(seen: Float[Array, "T L 2 K M"], entered: Float[Array, "T K M"]) -> Amplitudes:
    """From what ``projected`` saw, and the embedded images' differences along the modes of the first block."""
    return Amplitudes(jnp.concatenate([entered[:, None], seen[:, :-1, 1]], axis=1), seen[:, :, 0])


def local(found: Amplitudes, eta: Float[Array, "T L K"]) -> Local:
    """m, c and gamma as measured, and kappa (50) of them and eta (``replica.mode_gain`` of ``block_terms``)."""
    two = replica.branching(found.before).evident
    gain = replica.score_gain(found.before, found.after, eta, two)
    gamma = jnp.where(gain.gamma > 0, gain.gamma, jnp.nan)[..., None]
    return Local(two, gain, replica.speciation(two.m, two.c, gamma, eta).kappa)


def closure_error(found: Amplitudes, eta: Float[Array, "T L K"]) -> Float[Array, "T L K"]:
    """log2 of the measured spread of a mode at each block over the product of eta since the step's first block (56).

    Of the root mean square sqrt(m^2 + c), which is there whether or not a mode has branches.
    """
    spread = jnp.sqrt(jnp.square(found.before).mean(-1))
    product = replica.carried(spread[:, 0], jnp.moveaxis(eta, 1, 0))
    return jnp.log2(spread / jnp.moveaxis(product, 0, 1))


def block_terms(
    params: Tree,
    shape: dit_image.DitImageConfig,
    x: Float[Array, "M C Y X"],
    t: Array | int,
    label: Array | int,
    g: Array | float,
    modes: Float[Array, "L K S D"],
) -> Terms:
    """The coefficients at step t about images x, under the coupling g, for unit modes of what each block reads."""
    _, states = dit_image.watched(params, shape, x, t, label, watch=lambda tokens, _: tokens)
    states = jnp.concatenate([dit_image.embedded(params, shape, x)[None], states[:-1]])
    condition = dit_image.conditioned(params, shape, t, label, len(x))[None]
    g = jnp.asarray(g, jnp.float32)

    def frozen(q: Array, k: Array, v: Array, g: Array) -> Array:
        return replica.paired_attention(*map(jax.lax.stop_gradient, (q, k)), v, g)

    def layer(_: None, of_layer: tuple) -> tuple[None, Terms]:
        block, h0, r_KxSxD = of_layer

        def run(attend, own, pair, g):
            made = dit.Block(shape.heads, attend=attend, norm=dit_image.norm, bias=True)
            return made.apply({"params": own}, pair, condition, g)

        only_mix, only_feed = dit_image.shut(1, block), dit_image.shut(0, block)

        def mix(pair):
            return run(replica.paired_attention, only_mix, pair, g) - pair

        def routed(pair):
            return run(frozen, only_mix, pair, jnp.float32(0)) - pair

        def feed(h):
            return (run(replica.paired_attention, only_feed, jnp.stack([h, h]), g) - h[None])[0]

        def whole(pair):
            return run(replica.paired_attention, block, pair, g)

        def of_mode(_: None, r: Array) -> tuple[None, Terms]:
            v = jnp.broadcast_to(r, h0.shape)
            parts = replica.propagated(mix, feed, h0, v)
            exact = replica.difference_jvp(whole, h0, v)
            rho, xi = replica.gains(g)
            along = lambda change: jnp.einsum("msd,sd->m", change, r).mean()  # noqa: E731
            chi = along(replica.difference_jvp(routed, h0, v))
            size = lambda change: jnp.sqrt(jnp.square(change).sum((1, 2)))  # noqa: E731
            return None, Terms(
                chi,
                (along(parts.attention) - rho * chi) / xi,
                along(parts.feed),
                (size(parts.cross) / size(parts.attention + parts.feed)).mean(),
                (size(v + parts.attention + parts.feed + parts.cross - exact) / size(exact)).max(),
            )

        return None, jax.lax.scan(of_mode, None, r_KxSxD)[1]

    with jax.default_matmul_precision("highest"):
        return jax.lax.scan(layer, None, (params["blocks"], states, modes))[1]
