"""Every test runs strict: rank promotion raises, keys are typed and used once, four fake devices, compile cache."""

import gc
import os
import pathlib

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

CACHE = pathlib.Path(os.environ.get("GIDD_JAX_TEST_CACHE", pathlib.Path(__file__).parent.parent / ".cache" / "xla"))

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_legacy_prng_key", "error")
jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)

gc.set_threshold(100_000, 50, 50)  # collecting what traces leave behind at Python's pace takes a twentieth of the time


@pytest.fixture
def key():
    return jax.random.key(0)
