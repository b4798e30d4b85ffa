"""Many small discrete-diffusion models, trained in one jitted call."""

__version__ = "0.1.0"
