"""The bar over a sweep: presentations done, rate, time left."""

import contextlib
from collections.abc import Iterator
from typing import Protocol


class Progress(Protocol):
    """What a sweep tells a bar."""

    def update(self, amount: int) -> object: ...

    def note(self, text: str) -> None: ...


class _Quiet:
    def update(self, amount: int) -> None:
        """Says nothing."""

    def note(self, text: str) -> None:
        """Says nothing."""


class _Bar:
    def __init__(self, bar):
        self.bar, self.update = bar, bar.update

    def note(self, text: str) -> None:
        self.bar.set_postfix_str(text)


@contextlib.contextmanager
def quiet(total: int, unit: str) -> Iterator[Progress]:
    """No bar."""
    yield _Quiet()


@contextlib.contextmanager
def bar(total: int, unit: str) -> Iterator[Progress]:
    """A tqdm bar on stderr: share done, rate in ``unit``/s, time left, step."""
    from tqdm import tqdm

    with tqdm(total=total, unit=unit, unit_scale=True, dynamic_ncols=True, smoothing=0.1) as shown:
        yield _Bar(shown)
