"""Numbers of many features side by side, and their texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

Bytes = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]

_COMMA = ord(",")


class NumberList:
    """Arrays put side by side into one; `add` says where an array begins there."""

    def __init__(self, kind: type[np.float64] | type[np.int64]) -> None:
        self._kind = kind
        self._parts: list[npt.NDArray[Any]] = []
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def is_integer(self) -> bool:
        """Whether these are integers."""
        return self._kind is np.int64

    def add(self, parts: Sequence[npt.NDArray[Any]]) -> int:
        """Puts some arrays (any) at the end and returns the place of their first number."""
        begin = self._length
        self._parts.extend(parts)
        self._length += sum(map(len, parts))
        return begin

    def joined(self) -> npt.NDArray[Any]:
        """All numbers, contiguous."""
        if not self._parts:
            return np.zeros(0, self._kind)
        return np.concatenate(self._parts, dtype=self._kind, casting="same_kind")


def number_texts(values: npt.NDArray[np.float64]) -> tuple[Bytes, Integers]:
    """The shortest text of each number that reads back as the same float64, `null` where it is not finite.

    Returns:
        The texts with one byte between them, and where each begins (values + 1): text i is `[starts[i], starts[i + 1] - 1)`.
    """
    text = np.frombuffer(orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY), np.uint8)
    starts = np.empty(len(values) + 1, np.int64)
    starts[0] = 1
    starts[-1] = len(text)
    if len(values) > 1:
        np.add(np.flatnonzero(text == _COMMA), 1, out=starts[1:-1])
    return text, starts


def joined_bytes(pieces: Sequence[bytes]) -> tuple[Bytes, Integers]:
    """Pieces side by side and where each begins (pieces + 1)."""
    starts = np.zeros(len(pieces) + 1, np.int64)
    np.cumsum([len(piece) for piece in pieces], out=starts[1:])
    return np.frombuffer(b"".join(pieces), np.uint8), starts
