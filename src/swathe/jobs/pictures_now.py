"""Pictures for maps, in a process of the workshop: the image of the Process API, and what alpha and background do to it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from swathe.engine.compute import Engine
from swathe.engine.raster import RasterOutputSpec, Strip
from swathe.engine.values import Stopped
from swathe.jobs.images_now import Watch
from swathe.jobs.pictures import Colour, Look
from swathe.jobs.request_area import make_grid
from swathe.jobs.workshop import Deadline
from swathe.model.errors import RequestInvalid
from swathe.model.process import ProcessRequest
from swathe.model.process_answer import check_outputs, check_types
from swathe.model.process_output import EXTENSIONS, JPEG, PNG
from swathe.rasters.encode import EncodeOptions, check_image, open_writer

_WHITE: Colour = (255, 255, 255)


def render(engine: Engine, deadline: Deadline, request: ProcessRequest, look: Look, folder: Path) -> tuple[Path, float]:
    """The file of the request's only response, and what it cost.

    Raises:
        LimitExceeded: it would have too many pixels a side; nothing was computed.
        TookTooLong: there was no time to end it.
        SwatheError: whatever makes it impossible.
    """
    (response,) = request.output.responses
    check_types((response,))
    media_type = response.format.type
    grid, clip = make_grid(request.input.bounds, request.output, engine.settings.limits.image_px)
    path = folder / f"picture.{EXTENSIONS[media_type]}"
    watch = Watch(deadline)
    try:
        raster = engine.process_strips(request, grid, clip=clip, should_stop=watch)
        strips: Any = raster.strips
        with closing(strips):
            specs = {spec.id: spec for spec in raster.outputs}
            check_outputs((response,), specs)
            painter = Painter(specs[response.identifier], media_type, look)
            options = EncodeOptions(quality=response.format.quality)
            check_image(media_type, painter.spec, options)
            with open_writer(media_type, path, grid, painter.spec, options) as writer:
                for strip in strips:
                    writer.write(painter.paint(strip), strip.first_row)
                    if deadline():
                        raise deadline.error()
    except Stopped:
        raise deadline.error() from None
    finally:
        watch.is_on = False
    return path, raster.cost_pu


class Painter:
    """Turns an output's strips into those of a picture; `spec` is what the picture holds.

    A PNG gets alpha where the script made none, from where there is data. A JPEG loses the script's own alpha: the
    background comes through.
    """

    def __init__(self, made: RasterOutputSpec, media_type: str, look: Look) -> None:
        self._made = made
        self._full = np.iinfo(made.dtype).max if made.dtype.kind == "u" else 1
        has_alpha = made.bands in (2, 4)
        self._adds_alpha = look.transparent and media_type == PNG and made.bands in (1, 3)
        self._drops_alpha = media_type == JPEG and has_alpha and made.dtype.name == "uint8"
        self._background = None if look.transparent and media_type == PNG else look.background
        if self._drops_alpha and self._background is None:
            self._background = _WHITE
        if self._background is not None and made.dtype.name != "uint8":
            if look.background is not None:
                raise RequestInvalid(
                    f"goes with layers of 8 bits; this one is {made.dtype.name.upper()}. Leave it out", "BGCOLOR"
                )
            self._background = None
        change = int(self._adds_alpha) - int(self._drops_alpha)
        bands = made.bands + change
        self.spec = replace(made, bands=bands, band_names=(*made.band_names, "alpha")[:bands])

    def paint(self, strip: Strip) -> npt.NDArray[Any]:
        """(bands, rows, columns) of the picture."""
        values, seen = strip.arrays[self._made.id], strip.data_mask != 0
        if self._adds_alpha:
            alpha = np.where(seen, self._full, 0).astype(values.dtype)
            return np.concatenate([values, alpha[None]])
        if self._drops_alpha:
            return _over(values[:-1], np.where(seen, values[-1], 0), self._background or _WHITE)
        if self._background is not None:
            values = values.copy()
            has_alpha = len(values) in (2, 4)
            count = len(values) - int(has_alpha)
            for band, level in zip(range(count), _levels(self._background, count), strict=True):
                values[band][~seen] = level
            if has_alpha:
                values[-1][~seen] = self._full
        return values


def _over(colours: npt.NDArray[Any], alpha: npt.NDArray[Any], background: Colour) -> npt.NDArray[Any]:
    """Colours (bands, rows, columns; 8 bits) laid over a background by their alpha, rounded."""
    share = alpha.astype(np.uint32)
    below = np.array(_levels(background, len(colours)), np.uint32)[:, None, None]
    mixed = (colours.astype(np.uint32) * share + below * (255 - share) + 127) // 255
    return mixed.astype(np.uint8)


def _levels(colour: Colour, bands: int) -> tuple[int, ...]:
    """The colour in so many bands; in one it is grey (ITU-R BT.601)."""
    if bands == 3:
        return colour
    red, green, blue = colour
    return (round(0.299 * red + 0.587 * green + 0.114 * blue),) * bands
