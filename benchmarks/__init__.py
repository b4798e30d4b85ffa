"""Benchmarks: `gidd-jax bench`, from a checkout. README.md says how to run and read them."""
