"""Images with classes: bundled digits, a source of known coarse and fine labels, any `datasets` repository."""

from gidd_jax.data.images.load import Images, load
from gidd_jax.data.images.synthetic import Scales, read_scales, synthetic

__all__ = ["Images", "Scales", "load", "read_scales", "synthetic"]
