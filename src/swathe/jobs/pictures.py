"""What map services ask of the workshop: pictures of a layer or of several, and the values of one pixel.

The heavy parts are `pictures_now`, `pictures_stack` and `pixels_now`, which a process of the workshop imports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from swathe.jobs.services import ImageAnswer
from swathe.jobs.workshop import Deadline
from swathe.model.process import ProcessInput, ProcessRequest

if TYPE_CHECKING:
    from swathe.engine.compute import Engine

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Look:
    """What becomes of cells without data: see-through with `transparent`, else `background` where one is named.

    Without either they are what the script makes of them. A format that knows no alpha has the background, or white, where
    the script's own alpha lets it through.
    """

    transparent: bool = False
    background: Colour | None = None


def render_picture(
    engine: Engine, deadline: Deadline, request: ProcessRequest, look: Look, folder: Path
) -> ImageAnswer:
    """The picture of a request with one response, as a file in a folder; see `pictures_now`."""
    from swathe.jobs.pictures_now import render

    return ImageAnswer(*render(engine, deadline, request, look, folder))


@dataclass(frozen=True)
class Stack:
    """Pictures of one place, the lowest first, and what people call them. `input` is that place and all that they read."""

    requests: tuple[ProcessRequest, ...]
    names: tuple[str, ...]
    input: ProcessInput

    @classmethod
    def of(cls, requests: Sequence[ProcessRequest], names: Sequence[str]) -> Stack:
        """A stack of requests for one place."""
        data = tuple(source for request in requests for source in request.input.data)
        return cls(tuple(requests), tuple(names), ProcessInput(bounds=requests[0].input.bounds, data=data))


@dataclass(frozen=True)
class SeenScene:
    """A scene that lies over a pixel; `cloud_cover` in percent."""

    id: str
    datetime: datetime
    cloud_cover: float | None


@dataclass(frozen=True)
class PixelAnswer:
    """The values of a pixel by output and band, None where one is no finite number; `has_data` as a dataMask has it.

    `scenes` are those over the pixel, the one on top first.
    """

    values: Mapping[str, Mapping[str, float | None]]
    has_data: bool
    scenes: tuple[SeenScene, ...]
    cost_pu: float


def render_stack(engine: Engine, deadline: Deadline, stack: Stack, look: Look, folder: Path) -> ImageAnswer:
    """Pictures laid over one another, as a file in a folder; see `pictures_stack`."""
    from swathe.jobs.pictures_stack import render

    return ImageAnswer(*render(engine, deadline, stack, look, folder))


def read_pixel(
    engine: Engine, deadline: Deadline, request: ProcessRequest, column: int, row: int, most_scenes: int
) -> PixelAnswer:
    """The values of a request's image at one of its pixels; see `pixels_now`."""
    from swathe.jobs.pixels_now import read

    return read(engine, deadline, request, column, row, most_scenes)
