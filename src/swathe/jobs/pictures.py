"""What map services ask of the workshop: pictures, which are see-through, or of one colour, where there is no data.

The heavy part is `pictures_now`, which a process of the workshop imports.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from swathe.jobs.services import ImageAnswer
from swathe.jobs.workshop import Deadline
from swathe.model.process import ProcessRequest

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
