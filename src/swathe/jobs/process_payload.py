"""What the plan of a batch request says beside its manifest, as bytes in the job store: JSON, compressed."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from swathe.outputs.zarr_plan import ZarrPlan


@dataclass(frozen=True)
class ProcessPlan:
    """`sources` are the engine's: collections and scenes. `skipped` are the places, from 0, of tiles that were there.

    `digest` is the manifest's; the same request, planned again, has the same.
    """

    sources: bytes
    digest: str
    skipped: tuple[int, ...] = ()
    zarr: ZarrPlan | None = None

    def to_bytes(self) -> bytes:
        """As the job store keeps it."""
        values: dict[str, Any] = {
            "sources": base64.b85encode(self.sources).decode("ascii"),
            "digest": self.digest,
            "skipped": _steps(self.skipped),
            "zarr": None if self.zarr is None else _ZARR.dump_python(self.zarr, mode="json"),
        }
        return zlib.compress(json.dumps(values).encode(), 1)

    @classmethod
    def from_bytes(cls, data: bytes) -> ProcessPlan:
        """The inverse of `to_bytes`."""
        values = json.loads(zlib.decompress(data))
        zarr = values["zarr"]
        return cls(
            base64.b85decode(values["sources"]),
            values["digest"],
            tuple(_sums(values["skipped"])),
            None if zarr is None else _ZARR.validate_python(zarr),
        )


_ZARR = TypeAdapter(ZarrPlan)


def _steps(places: tuple[int, ...]) -> list[int]:
    """Growing numbers by their distances, which pack well."""
    return [place - before for before, place in zip((0, *places), places, strict=False)]


def _sums(steps: list[int]) -> list[int]:
    total, places = 0, []
    for step in steps:
        total += step
        places.append(total)
    return places
