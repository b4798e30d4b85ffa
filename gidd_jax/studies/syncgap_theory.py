"""The linear theory's coefficients measured on a trained model: what each path of each block makes of each mode.

Source: synchronization_gap_paper (arXiv 2603.20987), equations 30-33 and 46-47, whose assumptions these numbers test.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gidd_jax import replica
from gidd_jax.models import dit, dit_image
from gidd_jax.types import Tree


class Terms(NamedTuple):
    """Of blocks 2 ... L and modes K, means over M states about which the pair is symmetric, [L-1, K]."""

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


def block_terms(
    params: Tree,
    shape: dit_image.DitImageConfig,
    x: Float[Array, "M C Y X"],
    t: Array | int,
    label: Array | int,
    g: Array | float,
    modes: Float[Array, "L K S D"],
) -> Terms:
    """The coefficients at step t about images x, under the coupling g, for unit modes of each layer's output.

    ``modes`` [L-1, K, S, D] are those of the outputs of layers 1 ... L-1, the inputs of the blocks measured.
    """
    _, states = dit_image.watched(params, shape, x, t, label, watch=lambda tokens, _: tokens)
    condition = dit_image.conditioned(params, shape, t, label, len(x))[None]
    blocks = jax.tree.map(lambda leaf: leaf[1:], params["blocks"])
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
        return jax.lax.scan(layer, None, (blocks, states[:-1], modes))[1]
