"""Several layers in one picture, in a process of the workshop: each is rendered and laid over those below it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from swathe.engine.compute import Engine
from swathe.engine.raster import RasterOutputSpec
from swathe.engine.values import Stopped
from swathe.jobs.images_now import Watch
from swathe.jobs.pictures import Colour, Look, Stack
from swathe.jobs.request_area import make_grid
from swathe.jobs.workshop import Deadline
from swathe.model.errors import RequestInvalid
from swathe.model.process import ProcessRequest
from swathe.model.process_answer import check_outputs, check_types
from swathe.model.process_output import EXTENSIONS, JPEG, Response
from swathe.rasters.encode import EncodeOptions, check_image, open_writer

Pixels = npt.NDArray[np.uint8]
_WHITE: Colour = (255, 255, 255)
_OPAQUE = 255
_MOST_BANDS = 4
_ROWS_AT_ONCE = 128


def render(engine: Engine, deadline: Deadline, stack: Stack, look: Look, folder: Path) -> tuple[Path, float]:
    """The file of a stack, and what it cost: the sum of its pictures.

    A picture's cells without data let those below through. With `transparent` there is alpha in the end, if the format
    knows it; else all of it lies on the background, white where none is named (OGC 06-042, 7.3.3.10).

    Raises:
        LimitExceeded: it would have too many pixels a side; nothing was computed.
        RequestInvalid: a picture has more than 8 bits, or more than four bands.
        TookTooLong: there was no time to end it.
        SwatheError: whatever makes it impossible.
    """
    (response,) = stack.requests[0].output.responses
    check_types((response,))
    media_type = response.format.type
    has_alpha = look.transparent and media_type != JPEG
    grid, clip = make_grid(stack.input.bounds, stack.requests[0].output, engine.settings.limits.image_px)
    names = ("red", "green", "blue", "alpha")[: 4 if has_alpha else 3]
    spec = RasterOutputSpec(response.identifier, len(names), names, "uint8", None)
    options = EncodeOptions(quality=response.format.quality)
    check_image(media_type, spec, options)
    canvas = np.zeros((4, grid.height, grid.width), np.uint8)
    if not has_alpha:
        canvas[:] = np.array([*(look.background or _WHITE), _OPAQUE], np.uint8)[:, None, None]
    watch = Watch(deadline)
    cost_pu = 0.0
    try:
        for request, name in zip(stack.requests, stack.names, strict=True):
            raster = engine.process_strips(request, grid, clip=clip, should_stop=watch)
            strips: Any = raster.strips
            with closing(strips):
                made = _checked(request, {each.id: each for each in raster.outputs}, response, name)
                for strip in strips:
                    below = canvas[:, strip.first_row : strip.first_row + len(strip.data_mask)]
                    for first in range(0, len(strip.data_mask), _ROWS_AT_ONCE):
                        rows = slice(first, first + _ROWS_AT_ONCE)
                        part = with_alpha(strip.arrays[made.id][:, rows], strip.data_mask[rows])
                        below[:, rows] = lay_over(below[:, rows], *part)
                    if deadline():
                        raise deadline.error()
            cost_pu += raster.cost_pu
    except Stopped:
        raise deadline.error() from None
    finally:
        watch.is_on = False
    path = folder / f"picture.{EXTENSIONS[media_type]}"
    with open_writer(media_type, path, grid, spec, options) as writer:
        writer.write(canvas[: spec.bands], 0)
    return path, cost_pu


def with_alpha(values: npt.NDArray[Any], data_mask: Pixels) -> tuple[Pixels, Pixels]:
    """Colours (3, rows, columns) and alpha (rows, columns) of an output with 1 to 4 bands; 2 and 4 have alpha of their own."""
    count = len(values)
    alpha = values[-1] if count in (2, 4) else np.full_like(data_mask, _OPAQUE)
    colours = values[:3] if count > 2 else np.repeat(values[:1], 3, axis=0)
    return colours, np.where(data_mask != 0, alpha, 0).astype(np.uint8)


def lay_over(below: Pixels, colours: Pixels, alpha: Pixels) -> Pixels:
    """Colours with their alpha over what is below (4, rows, columns), rounded: "over" of Porter and Duff (1984)."""
    share = alpha.astype(np.float32) / _OPAQUE
    left = below[3].astype(np.float32) / _OPAQUE * (1 - share)
    both = share + left
    mixed = (colours * share + below[:3] * left) / np.where(both > 0, both, 1)
    laid: Pixels = np.rint(np.concatenate([mixed, both[None] * _OPAQUE])).astype(np.uint8)
    return laid


def _checked(
    request: ProcessRequest, specs: dict[str, RasterOutputSpec], response: Response, name: str
) -> RasterOutputSpec:
    """The output that is the picture."""
    check_outputs(request.output.responses, specs)
    made = specs[response.identifier]
    if made.dtype.name != "uint8" or made.bands > _MOST_BANDS:
        raise RequestInvalid(
            f"LAYERS can lie over one another that have 8 bits and up to four bands; '{name}' has {made.bands} of"
            f" {made.dtype.name.upper()}. Ask for it alone, or save a style for it whose sampleType is UINT8 or AUTO",
            "LAYERS",
        )
    return made
