"""A sweep as one HTML file that needs no network: what was run, what came out, with its controls beside it."""

from gidd_jax.report.gather import Known, Sweep, dial_of, sweeps
from gidd_jax.report.page import build

__all__ = ["Known", "Sweep", "build", "dial_of", "sweeps"]
