"""Filters and compressors of Zarr's chunks: which a request may ask for, and a chunk's bytes.

The same values give the same bytes every time, so that a chunk written twice is the same object: Blosc works in one
thread (several would lay its blocks down in the order in which they finish), and gzip's header has no time.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from typing import Any

import numcodecs
import numcodecs.blosc
import numpy as np
import numpy.typing as npt
from numcodecs.compat import ensure_bytes

from swathe.model.errors import RequestInvalid

PARAMETER = "output->arrayParameters"

# By name, the settings that may be given. LZMA's own `filters` are not among them: they set how much memory it takes.
_COMPRESSORS: dict[str, frozenset[str]] = {
    "blosc": frozenset({"cname", "clevel", "shuffle", "blocksize"}),
    "zlib": frozenset({"level"}),
    "gzip": frozenset({"level"}),
    "bz2": frozenset({"level"}),
    "lzma": frozenset({"format", "check", "preset"}),
    "lz4": frozenset({"acceleration"}),
    "zstd": frozenset({"level", "checksum"}),
}
# In the order in which they may stand: those that take numbers, then those that take bytes.
_NUMBER_FILTERS: dict[str, frozenset[str]] = {
    "delta": frozenset({"dtype", "astype"}),
    "fixedscaleoffset": frozenset({"offset", "scale", "dtype", "astype"}),
    "quantize": frozenset({"digits", "dtype", "astype"}),
    "bitround": frozenset({"keepbits"}),
}
_BYTE_FILTERS: dict[str, frozenset[str]] = {
    "shuffle": frozenset({"elementsize"}),
    "crc32": frozenset(),
    "adler32": frozenset(),
}
_FILTERS = {**_NUMBER_FILTERS, **_BYTE_FILTERS}

Config = Mapping[str, Any]
Array = npt.NDArray[Any]


def check_codecs(name: str, dtype: str, filters: Sequence[Config], compressor: Config | None) -> None:
    """Finds out whether an array of a dtype can be stored with filters and a compressor, by storing a small one.

    Raises:
        RequestInvalid: it cannot, or one of their settings is not known.
    """
    for config in filters:
        _check_settings(name, "filter", config, _FILTERS)
        if "dtype" in config and not _is_dtype(config["dtype"], dtype):
            raise RequestInvalid(
                f"filter '{config['id']}' of array '{name}' has the dtype {config['dtype']}, but the array is {dtype}",
                PARAMETER,
            )
    numbers = [config["id"] in _NUMBER_FILTERS for config in filters]
    if numbers != sorted(numbers, reverse=True):
        raise RequestInvalid(
            f"the filters of array '{name}' are in no usable order: {', '.join(_BYTE_FILTERS)} take bytes and come"
            f" after {', '.join(_NUMBER_FILTERS)}",
            PARAMETER,
        )
    if compressor is not None:
        _check_settings(name, "compressor", compressor, _COMPRESSORS)
    probe = np.arange(32, dtype=dtype).reshape(1, 4, 8)
    try:
        back = decode(encode(probe, filters, compressor), dtype, filters, compressor)
    except Exception as error:  # each codec refuses in its own way
        raise RequestInvalid(
            f"array '{name}' cannot be stored as {dtype} with these filters and this compressor: {error}", PARAMETER
        ) from None
    if back.size != probe.size:
        raise RequestInvalid(f"the filters of array '{name}' do not give back values of {dtype}", PARAMETER)


def takes_numbers(config: Config) -> bool:
    """Whether a filter works on the numbers and not on their bytes."""
    return config["id"] in _NUMBER_FILTERS


def encode(values: Array, filters: Sequence[Config], compressor: Config | None) -> bytes:
    """A chunk's bytes: its values in row-major order through the filters, then the compressor.

    Args:
        values: of the array's dtype, byte order included.
    """
    encoded: Any = np.ascontiguousarray(values)
    for config in filters:
        encoded = numcodecs.get_codec(dict(config)).encode(encoded)
    if compressor is None:
        return bytes(ensure_bytes(encoded))
    if compressor["id"] == "gzip":
        return gzip.compress(ensure_bytes(encoded), compressor.get("level", 1), mtime=0)
    numcodecs.blosc.use_threads = False
    return bytes(ensure_bytes(numcodecs.get_codec(dict(compressor)).encode(encoded)))


def decode(data: bytes, dtype: str, filters: Sequence[Config], compressor: Config | None) -> Array:
    """The values of a chunk, in one row."""
    decoded: Any = data
    for config in ([] if compressor is None else [compressor]) + list(reversed(filters)):
        decoded = numcodecs.get_codec(dict(config)).decode(decoded)
    return np.frombuffer(ensure_bytes(decoded), dtype)


def _check_settings(name: str, what: str, config: Config, known: Mapping[str, frozenset[str]]) -> None:
    kind = config.get("id")
    if not isinstance(kind, str) or kind not in known:
        raise RequestInvalid(f"the {what} of array '{name}' needs an id, one of {', '.join(known)}", PARAMETER)
    for key in config:
        if key != "id" and key not in known[kind]:
            listed = ", ".join(sorted(known[kind])) or "none"
            raise RequestInvalid(
                f"{what} '{kind}' of array '{name}' has no setting '{key}'; it has {listed}", PARAMETER
            )


def _is_dtype(value: object, dtype: str) -> bool:
    try:
        return isinstance(value, str) and np.dtype(value) == np.dtype(dtype)
    except TypeError:
        return False
