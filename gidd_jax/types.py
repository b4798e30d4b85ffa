"""Array aliases and axis letters; no logic.

Axis letters, used as name suffixes (``logits_BxSxV``) and in shape strings:
R replicas, B batch, S sequence (cells), D width, H heads, V vocabulary, K concepts or modes, T steps.
"""

from typing import Any, NamedTuple

from jaxtyping import Array, Bool, Float, Int, Key

Tree = Any
"""A pytree of arrays."""

PRNGKey = Key[Array, ""]
"""One typed key (``jax.random.key``). A function that takes one consumes it."""

Scalar = Float[Array, ""] | float
Tokens = Int[Array, "B S"]
Mask = Bool[Array, "B S"]
Times = Float[Array, "*batch"] | float


class Mean(NamedTuple):
    """A weighted mean that is still being gathered: ``total / weight``; an empty one (weight 0) reads as NaN."""

    total: Float[Array, "..."]
    weight: Float[Array, "..."]

    def value(self) -> Float[Array, "..."]:
        return self.total / self.weight


Metrics = dict[str, Any]
"""Name -> array or ``Mean``. A binned metric carries its axis in its name: ``"jump_accuracy/t"`` is [bins]."""
