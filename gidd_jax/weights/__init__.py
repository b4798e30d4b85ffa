"""Published weights: files of tensors -> {name: array} -> checked against an architecture -> our parameters."""

from gidd_jax.weights.dit import from_gidd, from_mdlm
from gidd_jax.weights.dit_image import from_dit
from gidd_jax.weights.posts import from_posts
from gidd_jax.weights.tensors import agreed, read, settings, stripped, take

__all__ = ["agreed", "from_dit", "from_gidd", "from_mdlm", "from_posts", "read", "settings", "stripped", "take"]
