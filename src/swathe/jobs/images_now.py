"""The Process API's work: an image as files, in a process of the workshop."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import IO, Any

from swathe.engine.compute import Engine
from swathe.engine.raster import RenderedRaster
from swathe.engine.values import Stopped
from swathe.jobs.request_area import make_grid
from swathe.jobs.workshop import Deadline
from swathe.model.process import ProcessRequest
from swathe.model.process_answer import BOUNDARY, MIXED, TAR, X_TAR, AnswerForm, check_outputs, check_types
from swathe.model.process_output import EXTENSIONS, Response
from swathe.rasters.encode import EncodeOptions, Writer, check_image, open_writer

_COPIED_BYTES = 2**20


def render(
    engine: Engine, deadline: Deadline, request: ProcessRequest, form: AnswerForm, folder: Path
) -> tuple[Path, float]:
    """The image of a request as one file in a folder, that of its only response or a container, and what it cost.

    Raises:
        LimitExceeded: it would have too many pixels a side; nothing was computed.
        TookTooLong: there was no time to end it.
        SwatheError: whatever makes it impossible.
    """
    files, raster = render_files(engine, deadline, request, form.responses, folder, engine.settings.limits.image_px)
    if form.container is None:
        return next(iter(files.values())), raster.cost_pu
    path = folder / "answer"
    CONTAINERS[form.container](path, [(file_name(response), files[response.identifier]) for response in form.responses])
    return path, raster.cost_pu


def render_files(
    engine: Engine,
    deadline: Deadline,
    request: ProcessRequest,
    responses: Sequence[Response],
    folder: Path,
    most_px: int,
) -> tuple[Mapping[str, Path], RenderedRaster]:
    """The files of all responses by their identifiers, in a folder that exists; as `render`."""
    check_types(responses)
    grid, clip = make_grid(request.input.bounds, request.output, most_px)
    files = {
        response.identifier: folder / f"{number}.{EXTENSIONS[response.format.type]}"
        for number, response in enumerate(responses)
    }
    watch = Watch(deadline)
    try:
        raster = engine.process_strips(request, grid, clip=clip, should_stop=watch)
        _write(raster, responses, files, deadline)
    except Stopped:
        raise deadline.error() from None
    finally:
        watch.is_on = False
    return files, raster


class Watch:
    """The deadline as long as this image is under way: the engine may ask it beyond."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self.is_on = True

    def __call__(self) -> bool:
        return self.is_on and self._deadline()


def file_name(response: Response) -> str:
    """What a response is called beside others."""
    return f"{response.identifier}.{EXTENSIONS[response.format.type]}"


def _write(
    raster: RenderedRaster, responses: Sequence[Response], files: Mapping[str, Path], deadline: Deadline
) -> None:
    images = [response for response in responses if not response.is_userdata]
    specs = {spec.id: spec for spec in raster.outputs}
    strips: Any = raster.strips
    writers: dict[str, Writer] = {}
    with closing(strips):
        try:
            check_outputs(responses, specs)
            for response in images:  # all of them before the first file
                check_image(response.format.type, specs[response.identifier], _options(response))
            for response in images:
                name = response.identifier
                writers[name] = open_writer(
                    response.format.type, files[name], raster.grid, specs[name], _options(response)
                )
            for strip in strips:
                for name, writer in writers.items():
                    writer.write(strip.arrays[name], strip.first_row)
                if deadline():
                    raise deadline.error()
            for writer in writers.values():
                writer.close()
        except BaseException:
            for writer in writers.values():
                writer.abort()
            raise
    for response in responses:
        if response.is_userdata:
            data = {} if raster.user_data is None else raster.user_data
            files[response.identifier].write_text(json.dumps(data, ensure_ascii=False), "utf-8", "replace")


def _options(response: Response) -> EncodeOptions:
    return EncodeOptions(quality=response.format.quality)


def _write_tar(path: Path, members: Sequence[tuple[str, Path]]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, file in members:
            archive.add(file, name, filter=_plain)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Nothing of this machine goes out with a file."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member


def _write_mixed(path: Path, members: Sequence[tuple[str, Path]]) -> None:
    """RFC 2046, section 5.1."""
    types = {".tif": "image/tiff", ".png": "image/png", ".jpg": "image/jpeg", ".json": "application/json"}
    with path.open("wb") as out:
        for name, file in members:
            shown = name.replace("\\", "_").replace('"', "_")
            head = (
                f'--{BOUNDARY}\r\nContent-Type: {types[file.suffix]}\r\nContent-Disposition: attachment; filename="{shown}"'
                f"\r\nContent-Length: {file.stat().st_size}\r\n\r\n"
            )
            out.write(head.encode("utf-8"))
            with file.open("rb") as source:
                _copy(source, out)
            out.write(b"\r\n")
        out.write(f"--{BOUNDARY}--\r\n".encode("ascii"))


def _copy(source: IO[bytes], out: IO[bytes]) -> None:
    while piece := source.read(_COPIED_BYTES):
        out.write(piece)


CONTAINERS: dict[str, Callable[[Path, Sequence[tuple[str, Path]]], None]] = {
    TAR: _write_tar,
    X_TAR: _write_tar,
    MIXED: _write_mixed,
}
