"""The boards that come with the package: an answer and a mask of given cells each, packed."""

import pathlib

import numpy as np

from gidd_jax.data.sudoku.board import Box
from gidd_jax.data.sudoku.boards import Boards

FOLDER = pathlib.Path(__file__).parent.parent / "boards"
NAMES = {"4x4": Box(2, 2), "6x6": Box(2, 3), "9x9": Box(3, 3)}


def read(name: str) -> Boards:
    """The bundled boards of one size, all of them, in file order; their source is their tier."""
    box = NAMES[name]
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        stored = dict(file)
    # Two digits a byte, and eight given cells a byte.
    answer = np.stack([stored["answer"] >> 4, stored["answer"] & 15], axis=-1).reshape(len(stored["answer"]), -1)
    answer = answer[:, : box.cells]
    given = np.unpackbits(stored["given"], axis=1, count=box.cells)
    return Boards(
        question=answer * given,
        answer=answer,
        rating=stored["rating"].astype(np.int32),
        code=stored["source"].astype(np.int16),
        sources=tuple(stored["sources"].tolist()),
        box=box,
        name=name,
    )


def write(path: pathlib.Path, boards: Boards) -> None:
    """Pack boards into a file that ``read`` reads; the last half byte of an odd board is 0."""
    answer = np.pad(boards.answer, ((0, 0), (0, boards.box.cells % 2))).reshape(len(boards), -1, 2)
    np.savez_compressed(
        path,
        answer=answer[..., 0] << 4 | answer[..., 1],
        given=np.packbits(boards.question > 0, axis=1),
        rating=boards.rating.astype(np.uint16),
        source=boards.code.astype(np.uint8),
        sources=np.array(boards.sources),
    )
