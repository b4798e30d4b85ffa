"""Tiny studies with known answers, for tests of the engine."""

import dataclasses
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from gidd_jax import train
from gidd_jax.config import Dial, setting
from gidd_jax.optim import OptimConfig
from gidd_jax.types import Mean


class Hyper(NamedTuple):
    seed: Annotated[int, Dial("", 0, 2**31 - 1, "seed")] = 0
    coupling: Annotated[float, Dial("", 0, 10, "pull of y on x")] = 0.0
    learning_rate: Annotated[float, Dial("1/step", 0, 1, "rate")] = 0.05
    weight_decay: Annotated[float, Dial("", 0, 1, "decay")] = 0.0
    b2: Annotated[float, Dial("", 0, 1, "second moment")] = 0.99
    poison_at: Annotated[int, Dial("steps", -1, 10**6, "step whose loss is NaN; -1: none")] = -1


@dataclasses.dataclass(frozen=True)
class Config(OptimConfig):
    size: int = setting(8, "width of the regression")
    batch: int = setting(16, "examples a step")
    data_seed: int = setting(0, "the data")


class Regression:
    """Noisy linear regression: the weights' known optimum is (1, ..., 1) scaled by 1 + coupling."""

    name = "regression"
    unit = "examples"
    splits = ("validation", "test")
    Hyper = Hyper
    Config = Config
    traces = 0

    def per_step(self, config: Config) -> int:
        return config.batch

    def load(self, config: Config) -> tuple[Any, str]:
        data = jax.random.normal(jax.random.key(config.data_seed), (64, config.size))
        return {"x": data}, f"data{config.data_seed}"

    def init(self, key, hyper, config, data):
        params = {"w": jax.random.normal(key, (config.size,)), "b": jnp.zeros(())}
        return train.start(params, config)

    @property
    def step(self):
        inner = train.gradient_step(self.batch, self.loss)

        def step(*args):
            type(self).traces += 1
            return inner(*args)

        return step

    def batch(self, key, hyper, config, data, i):
        pick, noise = jax.random.split(key)
        x = data["x"][jax.random.randint(pick, (config.batch,), 0, len(data["x"]))]
        target = (1 + hyper.coupling) * x.sum(axis=1) + 0.01 * jax.random.normal(noise, (config.batch,))
        return x, target

    def loss(self, params, batch, key, hyper, config, data, i):
        x, target = batch
        error = jnp.matmul(x, params["w"]) + params["b"] - target
        loss = jnp.mean(error**2)
        loss = jnp.where(i == hyper.poison_at, jnp.nan, loss)
        return loss, {"loss": loss, "error/sign": Mean(jnp.stack([error.sum(), -error.sum()]), jnp.ones(2))}

    def evaluate(self, state, key, hyper, config, data, split):
        weights = train.evaluated(state, config)["w"]
        return {"distance": jnp.abs(weights - 1 - hyper.coupling).max()}, {"weights": weights}
