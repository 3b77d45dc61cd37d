"""Shared statistics board.

Guarantees: one writer a row; a reader never blocks a writer; a cell is never read half written.
Assumes: an aligned 8-byte store is atomic (it is on x86-64 and arm64), and CPython stores a cell
of a "Q" memoryview with one of them. Cells of a row are read one after another, so two of them may
be a moment apart.
"""

from __future__ import annotations

import mmap
import os
from typing import Final, Self

from .segments import anonymous_file

CELL_BYTES: Final = 8


class Board:
    """Rows of unsigned 64-bit cells that every process with the descriptor sees.

    Args:
        fd: A descriptor from `Board.create`, in whichever process. The board owns it.
        columns: How many cells a row has; the same in every process.
    """

    def __init__(self, fd: int, columns: int) -> None:
        self.fd = fd
        self.columns = columns
        self._map = mmap.mmap(fd, 0)
        self._cells = memoryview(self._map).cast("Q")

    @classmethod
    def create(cls, rows: int, columns: int) -> Board:
        """Makes a board of zeros.

        Example:
            >>> with Board.create(rows=2, columns=3) as board:
            ...     row = board.row(1)
            ...     row[2] += 7
            ...     list(row)
            [0, 0, 7]
        """
        fd = anonymous_file("board")
        os.truncate(fd, rows * columns * CELL_BYTES)
        return cls(fd, columns)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self._cells) // self.columns

    def row(self, index: int) -> memoryview:
        """Gives the cells of one row, to read or, for its one writer, to write."""
        start = index * self.columns
        return self._cells[start : start + self.columns]

    def cells(self, first: int, last: int) -> list[int]:
        """Copies the cells of the rows from one up to, and without, another: row after row.

        Example:
            >>> with Board.create(rows=3, columns=2) as board:
            ...     board.row(1)[1] = 7
            ...     board.cells(1, 3)
            [0, 7, 0, 0]
        """
        return self._cells[first * self.columns : last * self.columns].tolist()

    def close(self) -> None:
        """Lets go of the memory here; other processes keep theirs. Rows handed out stay usable."""
        try:
            self._cells.release()
            self._map.close()
        except BufferError:
            pass  # a row is still held: the map goes with its last row
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
