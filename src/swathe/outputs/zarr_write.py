"""Writes a planned Zarr group: its metadata once, then chunks, each of them one object that appears whole or not at all.

Rows and columns are counted from the group's north-western corner whatever way the arrays run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from swathe.grids.raster_grid import RasterGrid
from swathe.model.errors import ObjectNotFound, RequestInvalid
from swathe.model.process_output import DELIVERY
from swathe.outputs.zarr_codecs import encode
from swathe.outputs.zarr_metadata import chunk_key, describe
from swathe.outputs.zarr_plan import ArrayPlan, ZarrPlan
from swathe.storage import Credentials, ObjectStores

_ROOTS = (".zgroup", ".zattrs", ".zmetadata", "zarr.json")
_MEMBERS = (".zarray", ".zgroup", "zarr.json")

Array = npt.NDArray[Any]


def check_place(
    store: ObjectStores, url: str, own: Collection[str] = (), *, credentials: Credentials | None = None
) -> None:
    """Makes sure, before a job begins, that there is nothing where its group is to go.

    Args:
        own: names of files that the job itself has put there, such as its manifest.

    Raises:
        RequestInvalid: there is something.
        StorageError: the place cannot be looked at.
    """
    folder = url.rstrip("/")
    for found in store.list_keys(folder, credentials=credentials):
        if found.removeprefix(f"{folder}/") not in own:
            raise RequestInvalid(
                f"{folder} already holds {found}; Zarr output needs an empty folder, such as one named <requestId>",
                DELIVERY,
            )


def create_group(
    plan: ZarrPlan, store: ObjectStores, *, credentials: Credentials | None = None, overwrite: bool = False
) -> bool:
    """Writes metadata and coordinates, and says whether there was anything to write.

    A group that has them already is left as it is, chunks included, so a job that goes on after a break may ask again.
    The object that readers open the group by comes last: who finds it finds the rest.

    Args:
        overwrite: removes another group at the address, chunks and all, but no other files.

    Raises:
        RequestInvalid: there is another group at the address.
        StorageError: the place cannot be read or written.
    """
    objects = describe(plan)
    *others, last = objects
    if _read(plan, store, last, credentials) == objects[last]:
        return False
    occupied = next(
        (key for key in {**objects, **dict.fromkeys(_ROOTS)} if _differs(plan, store, key, objects, credentials)), None
    )
    if occupied is not None:
        if not overwrite:
            raise RequestInvalid(
                f"{plan.url} already holds a Zarr group of other content ({occupied}); choose another folder", DELIVERY
            )
        _remove_group(plan, store, credentials)
    store.write_many(((f"{plan.url}/{key}", objects[key]) for key in others), credentials=credentials)
    store.write(f"{plan.url}/{last}", objects[last], credentials=credentials)
    return True


def write_region(
    plan: ZarrPlan,
    store: ObjectStores,
    name: str,
    values: Array,
    *,
    first_row: int,
    first_column: int,
    time: int = 0,
    credentials: Credentials | None = None,
) -> int:
    """Puts the chunks of a region of an array and returns how many; those of nothing but the fill value are left out.

    Args:
        values: (rows, columns), north up; their edges lie on edges of chunks.

    Raises:
        StorageError: a chunk cannot be written; those before it stay.
    """
    chunks = encode_region(plan, name, values, first_row=first_row, first_column=first_column, time=time)
    return store.write_many(((f"{plan.url}/{key}", data) for key, data in chunks), credentials=credentials)


def encode_region(
    plan: ZarrPlan, name: str, values: Array, *, first_row: int, first_column: int, time: int = 0
) -> Iterator[tuple[str, bytes]]:
    """The chunks of a region by their keys below the group, as `write_region` puts them."""
    array = plan.array(name)
    height, width = array.chunk_height, array.chunk_width
    rows, columns = values.shape
    if any(
        number % side for number, side in ((first_row, height), (rows, height), (first_column, width), (columns, width))
    ):
        raise ValueError(f"rows {first_row}+{rows} and columns {first_column}+{columns} are no whole chunks of {name}")
    _, all_rows, all_columns = plan.shape
    if not (0 <= first_row <= all_rows - rows and 0 <= first_column <= all_columns - columns):
        raise ValueError(f"rows {first_row}+{rows} and columns {first_column}+{columns} lie outside of {name}")
    if not 0 <= time < len(plan.times):
        raise ValueError(f"there is no time {time} in {name}")
    for row in range(0, rows, height):
        number = (first_row + row) // height
        if plan.bottom_up:
            number = all_rows // height - 1 - number
        for column in range(0, columns, width):
            chunk = values[row : row + height, column : column + width]
            chunk = (chunk[::-1] if plan.bottom_up else chunk).astype(array.dtype)
            if not _is_fill(chunk, array):
                key = chunk_key(plan.zarr_format, (time, number, (first_column + column) // width))
                yield f"{name}/{key}", encode(chunk[None], array.filters, array.compressor)


class TileWriter:
    """Takes the strips of a tile from top to bottom and writes chunks as they fill.

    Holds a row of chunks of each array. After a break the tile is written from the top again, to the same bytes.
    """

    def __init__(
        self,
        plan: ZarrPlan,
        store: ObjectStores,
        tile: RasterGrid,
        *,
        time: int = 0,
        credentials: Credentials | None = None,
    ) -> None:
        self._plan, self._store, self._tile = plan, store, tile
        self._time, self._credentials = time, credentials
        self._row, self._column = plan.place(tile)
        self._taken = 0
        self._held = {array.name: np.empty((array.chunk_height, tile.width), array.dtype) for array in plan.arrays}
        self.chunks = 0

    def write(self, first_row: int, arrays: Mapping[str, Array]) -> None:
        """Takes the next rows of the tile: for each array (1, rows, width), from `first_row` of the tile on.

        Raises:
            StorageError: a chunk cannot be written.
        """
        rows = {arrays[name].shape for name in self._held}
        if first_row != self._taken or len(rows) != 1:
            raise ValueError(
                f"row {self._taken} of the tile is next, the same rows of all arrays; got {first_row}, {rows}"
            )
        for array in self._plan.arrays:
            self._take(array, arrays[array.name][0])
        self._taken += arrays[self._plan.arrays[0].name].shape[1]

    def _take(self, array: ArrayPlan, values: Array) -> None:
        held, height, done = self._held[array.name], array.chunk_height, 0
        while done < len(values):
            at = (self._taken + done) % height
            count = min(height - at, len(values) - done)
            held[at : at + count] = values[done : done + count]
            done += count
            if at + count == height:
                self.chunks += write_region(
                    self._plan,
                    self._store,
                    array.name,
                    held,
                    first_row=self._row + self._taken + done - height,
                    first_column=self._column,
                    time=self._time,
                    credentials=self._credentials,
                )

    def close(self) -> None:
        """Makes sure that the tile came whole."""
        if self._taken != self._tile.height:
            raise ValueError(f"{self._taken} of {self._tile.height} rows of the tile came")


def _is_fill(chunk: Array, array: ArrayPlan) -> bool:
    if array.fill_value != array.fill_value:
        return bool(np.isnan(chunk).all())
    return bool((chunk == chunk.dtype.type(array.fill_value)).all())


def _read(plan: ZarrPlan, store: ObjectStores, key: str, credentials: Credentials | None) -> bytes | None:
    try:
        return store.read(f"{plan.url}/{key}", credentials=credentials)
    except ObjectNotFound:
        return None


def _differs(
    plan: ZarrPlan, store: ObjectStores, key: str, objects: Mapping[str, bytes], credentials: Credentials | None
) -> bool:
    found = _read(plan, store, key, credentials)
    return found is not None and found != objects.get(key)


def _remove_group(plan: ZarrPlan, store: ObjectStores, credentials: Credentials | None) -> None:
    """Removes the group's own metadata first, so that nobody opens what is half gone, then its members."""
    for key in reversed(_ROOTS):
        store.delete(f"{plan.url}/{key}", credentials=credentials)
    below = f"{plan.url}/"

    def keys() -> Iterator[list[str]]:
        for url in store.list_keys(plan.url, credentials=credentials):
            yield url.removeprefix(below).split("/")

    members = {parts[0] for parts in keys() if len(parts) == 2 and parts[1] in _MEMBERS}
    for parts in keys():
        if len(parts) > 1 and parts[0] in members:
            store.delete(below + "/".join(parts), credentials=credentials)
