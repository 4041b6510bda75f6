"""What a batch request asks of its evalscript's outputs; to be asked when the script's `setup()` is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from swathe.model.errors import RequestInvalid
from swathe.model.process_output import RESPONSES, RasterOutput, Response
from swathe.model.process_zarr import DTYPES_OF_SAMPLES, ZarrOutput


def check_script_outputs(
    output: RasterOutput | ZarrOutput, responses: Sequence[Response], outputs: Mapping[str, tuple[int, str]]
) -> None:
    """What responses, COG, collections and Zarr ask of the evalscript.

    Args:
        output: of the request.
        responses: of the request.
        outputs: bands and sampleType of each output of the script's `setup()`.

    Raises:
        RequestInvalid: an output is missing or is not as it must be.
    """
    for response in responses:
        if response.is_userdata:
            continue
        name = response.identifier
        if name not in outputs:
            listed = ", ".join(outputs)
            raise RequestInvalid(f"'{name}' is no output of the evalscript; its setup() has {listed}", RESPONSES)
        bands, sample = outputs[name]
        if isinstance(output, ZarrOutput):
            if bands != 1:
                raise RequestInvalid(
                    f"output '{name}' has {bands} bands; with Zarr every output has one: make several", RESPONSES
                )
            dtype = output.layout(name).dtype
            if dtype not in DTYPES_OF_SAMPLES[sample]:
                listed = ", ".join(DTYPES_OF_SAMPLES[sample])
                raise RequestInvalid(
                    f"array '{name}' cannot hold {sample} as {dtype}; use one of {listed}", "output->arrayParameters"
                )
        elif output.cog_output and sample == "INT8":
            raise RequestInvalid(
                f"output '{name}' is INT8, which cogOutput does not support; use INT16 or UINT8", "output->cogOutput"
            )
    if isinstance(output, RasterOutput) and output.makes_tiles_of_a_collection:
        _check_band_names(responses, outputs)


def band_names(response: Response, bands: int) -> tuple[str, ...]:
    """What the bands of an output are called in a collection: `result`, `result2`, `result3`."""
    name = response.identifier
    return (name, *(f"{name}{number}" for number in range(2, bands + 1)))


def _check_band_names(responses: Sequence[Response], outputs: Mapping[str, tuple[int, str]]) -> None:
    seen: dict[str, str] = {}
    for response in responses:
        if response.is_userdata:
            continue
        for name in band_names(response, outputs[response.identifier][0]):
            if name in seen:
                raise RequestInvalid(
                    f"the bands of '{seen[name]}' and '{response.identifier}' would both be called '{name}' in the"
                    " collection; rename one output",
                    "output->createCollection",
                )
            seen[name] = response.identifier


def check_chunks(output: ZarrOutput, responses: Sequence[Response], width: int, height: int) -> None:
    """That chunks divide a tile of `width` x `height` pixels evenly, so that no two tiles share one.

    Raises:
        RequestInvalid: they do not; the message has sizes that do.
    """
    for response in responses:
        _, rows, columns = output.layout(response.identifier).chunks
        for what, size, chunk in (("rows", height, rows), ("columns", width, columns)):
            if size % chunk:
                fitting = ", ".join([str(size // n) for n in range(1, size + 1) if size % n == 0][:6])
                raise RequestInvalid(
                    f"chunks of {chunk} {what} of array '{response.identifier}' do not divide tiles of {size} evenly;"
                    f" use {fitting} …",
                    "output->arrayParameters->chunks",
                )
