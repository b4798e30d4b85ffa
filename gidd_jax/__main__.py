"""``python -m gidd_jax``: the command ``gidd-jax``, where it is not on the path."""

import sys

from gidd_jax.cli import main

sys.exit(main())
