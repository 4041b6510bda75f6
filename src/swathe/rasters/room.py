"""Memory that is used again: touching fresh megabytes for each batch costs a tenth of its decoding."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_KEPT_BYTES = 16 * 2**20

Bytes = npt.NDArray[np.uint8]


class Room:
    """Two pieces of memory for one reading at a time: bytes of a file, a block unpacked.

    Each call gives the same memory as the call before, longer where that was too short.
    """

    def __init__(self) -> None:
        self._pieces: dict[str, Bytes] = {}

    def stored(self, size: int) -> Bytes:
        """For bytes as they lie in a file."""
        return self._piece("stored", size)

    def unpacked(self, size: int) -> Bytes:
        """For a block that is not yet in its final order."""
        return self._piece("unpacked", size)

    def _piece(self, name: str, size: int) -> Bytes:
        piece = self._pieces.get(name)
        if piece is None or len(piece) < size:
            piece = self._pieces[name] = np.empty(size, np.uint8)
        return piece[:size]

    def shrink(self) -> None:
        """Lets go of pieces that only the largest blocks need."""
        self._pieces = {name: piece for name, piece in self._pieces.items() if len(piece) <= _KEPT_BYTES}


class Rooms:
    """The rooms that nobody uses at the moment. May be used by several threads."""

    def __init__(self) -> None:
        self._free: list[Room] = []

    def take(self) -> Room:
        """A room for the caller alone until it is given back."""
        try:
            return self._free.pop()
        except IndexError:
            return Room()

    def give_back(self, room: Room) -> None:
        """For the next one. Nothing handed out of it may be used from now on."""
        room.shrink()
        self._free.append(room)
