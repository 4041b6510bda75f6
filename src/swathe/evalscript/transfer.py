"""How a batch gets into the memory that is shared with the child, step by step, and its outputs out of it."""

from __future__ import annotations

import mmap
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from swathe.evalscript import driver
from swathe.evalscript.columns import Batch
from swathe.evalscript.script import Evalscript

# What a step may take: a chunk of the engine, a million cells, of most scripts with one sample per cell.
_STEP_BYTES = 32 * 2**20
_ARENA_BYTES = _STEP_BYTES + 2**16
# Shared memory is mapped in whole pages, of 4, 16 or 64 KiB.
_GRAIN_BYTES = 2**16


def most_cells(layout: driver.Layout) -> int:
    """How many cells a step takes at most."""
    return max(1, _STEP_BYTES // max(1, layout.bytes_per_cell))


@dataclass(frozen=True, eq=False)
class Transfer:
    """A batch on its way: rows of `stride` cells at a time.

    Attributes:
        columns: `(samples, cells)` for every input of the layout, in its order.
        offsets: where each column and output begins in the arena, in bytes, and where the last ends.
    """

    script: Evalscript
    layout: driver.Layout
    columns: tuple[npt.NDArray[Any], ...]
    cells: int
    stride: int
    offsets: tuple[int, ...]

    @classmethod
    def of(cls, script: Evalscript, batch: Batch) -> Transfer:
        """Raises ValueError where the batch lacks a band."""
        layout = driver.layout_of(script, batch)
        stride = driver.stride_for(batch.cells, most_cells(layout))
        columns = tuple(
            source.data_mask if name == "dataMask" else source.bands[name].values
            for spec, source in zip(script.inputs, batch.sources, strict=True)
            for name in spec.bands
        )
        return cls(script, layout, columns, batch.cells, stride, tuple(layout.offsets(stride)))

    @classmethod
    def join(cls, parts: Sequence[Transfer], strides: Collection[int]) -> Transfer:
        """Batches of one layout after one another; of the rows that loops were already made for (`strides`) the shortest
        that have room for them."""
        (first, *_), cells = parts, sum(part.cells for part in parts)
        layout = first.layout
        stride = min((known for known in strides if known >= cells), default=None)
        stride = stride or driver.stride_for(cells, most_cells(layout))
        columns = tuple(
            np.concatenate([part.columns[number] for part in parts], axis=1) for number in range(len(first.columns))
        )
        return replace(first, columns=columns, cells=cells, stride=stride, offsets=tuple(layout.offsets(stride)))

    @property
    def steps(self) -> Iterator[tuple[int, int]]:
        """The first cell of each step and the one after its last; there is a step even where there are no cells."""
        for start in range(0, max(self.cells, 1), self.stride):
            yield start, min(start + self.stride, self.cells)

    @property
    def size(self) -> int:
        """Bytes of the arena that a step uses."""
        return self.offsets[-1]

    @property
    def arena(self) -> int:
        """Bytes of an arena in which this fits, and most others: one that grows costs the loops made for it."""
        return -(-max(self.size, _ARENA_BYTES) // _GRAIN_BYTES) * _GRAIN_BYTES

    @property
    def inputs(self) -> int:
        """Bytes of the arena before the outputs."""
        return self.offsets[len(self.columns)]

    def put(self, memory: mmap.mmap, start: int, stop: int) -> None:
        """Copies the columns of cells [start, stop) to where the loop reads them."""
        for column, offset in zip(self.columns, self.offsets, strict=False):
            view = np.ndarray((column.shape[0], self.stride), column.dtype, memory, offset)
            view[:, : stop - start] = column[:, start:stop]

    def empty(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays for the outputs of all cells, `(bands, cells)` each."""
        return {
            output.id: np.empty((len(output.bands), self.cells), driver.DTYPES[output.sample_type])
            for output in self.script.outputs
        }

    def outputs(self, memory: mmap.mmap, count: int) -> dict[str, npt.NDArray[Any]]:
        """The outputs of the first `count` cells of a step, `(bands, count)` each, where the loop wrote them."""
        found = {}
        for output, offset in zip(self.script.outputs, self.offsets[len(self.columns) :], strict=False):
            shape = (len(output.bands), self.stride)
            found[output.id] = np.ndarray(shape, driver.DTYPES[output.sample_type], memory, offset)[:, :count]
        return found


def alike(transfers: Sequence[Transfer]) -> Iterator[list[int]]:
    """The numbers of those that one step can take together."""
    gathered: dict[driver.Layout, list[int]] = {}
    room: dict[driver.Layout, int] = {}
    for number, transfer in enumerate(transfers):
        layout = transfer.layout
        room[layout] = room.get(layout, most_cells(layout)) - transfer.cells
        if room[layout] < 0 and layout in gathered:
            yield gathered.pop(layout)
            room[layout] = most_cells(layout) - transfer.cells
        gathered.setdefault(layout, []).append(number)
    yield from gathered.values()
