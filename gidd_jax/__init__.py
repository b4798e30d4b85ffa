"""Many small discrete-diffusion models, trained in one jitted call.

Rooms are imported when they are first named: ``gidd_jax.sweep``, ``gidd_jax.losses``, ``gidd_jax.data.sudoku`` ...
"""

import importlib
import pkgutil
from types import ModuleType

__version__ = "0.1.0"


def __getattr__(name: str) -> ModuleType:
    if name in __dir__():
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))
