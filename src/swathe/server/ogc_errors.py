"""Faults of map services, in the XML that their standards want, and values out of their addresses' parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from xml.etree import ElementTree as Xml

from starlette.responses import Response

from swathe.jobs.workshop import TooManyRequests
from swathe.model.errors import NotFound, RequestInvalid, SwatheError
from swathe.server import errors

OGC, OWS = "http://www.opengis.net/ogc", "http://www.opengis.net/ows/1.1"
_RETRY_AFTER_MS = "1000"
_FLAGS = {"true": True, "1": True, "on": True, "false": False, "0": False, "off": False}


class MapFault(RequestInvalid):
    """A parameter of a map service cannot be used; `exception` is the standard's code for it."""

    def __init__(self, message: str, parameter: str = "", exception: str = "InvalidParameterValue") -> None:
        super().__init__(message, parameter)
        self.exception = exception


class Parameters:
    """The parameters of an address; letter case of their names does not matter, and an empty one is as good as none."""

    def __init__(self, items: Iterable[tuple[str, str]]) -> None:
        self._values: Mapping[str, str] = {name.upper(): value.strip() for name, value in items if value.strip()}

    def with_defaults(self, values: Mapping[str, str]) -> Parameters:
        """These, and others where they say nothing."""
        return Parameters([*values.items(), *self._values.items()])

    def text(self, *names: str) -> str:
        """The first of some parameters that is there; empty where none is."""
        return next((self._values[name] for name in names if name in self._values), "")

    def needed(self, *names: str) -> str:
        """As `text`.

        Raises:
            MapFault: none of them is there.
        """
        value = self.text(*names)
        if not value:
            raise MapFault(f"{names[0]} is missing", names[0], "MissingParameterValue")
        return value

    def number(self, name: str, least: float = -math.inf, most: float = math.inf) -> float | None:
        """A finite number within bounds; None where there is none.

        Raises:
            MapFault: it is none.
        """
        text = self.text(name)
        if not text:
            return None
        value = _number(text)
        if value is None or not least <= value <= most:
            bounds = (
                "" if math.isinf(least) else f" from {least:g}" + (f" to {most:g}" if math.isfinite(most) else " on")
            )
            raise MapFault(f"{name} must be a number{bounds}, not '{text[:40]}'", name)
        return value

    def count(self, name: str, least: int = 1) -> int | None:
        """A whole number; None where there is none.

        Raises:
            MapFault: it is none, or too small.
        """
        value = self.number(name)
        if value is None:
            return None
        if not value.is_integer() or value < least:
            raise MapFault(f"{name} must be a whole number from {least} on, not '{self.text(name)[:40]}'", name)
        return int(value)

    def numbers(self, name: str, count: int) -> tuple[float, ...]:
        """So many finite numbers with commas between them.

        Raises:
            MapFault: they are missing or others.
        """
        text = self.needed(name)
        values = [_number(part) for part in text.split(",")]
        if len(values) != count or None in values:
            raise MapFault(f"{name} must be {count} numbers with commas between them, not '{text[:80]}'", name)
        return tuple(value for value in values if value is not None)

    def flag(self, name: str) -> bool:
        """TRUE or FALSE; FALSE where nothing is said.

        Raises:
            MapFault: it is neither.
        """
        text = self.text(name).lower()
        if text and text not in _FLAGS:
            raise MapFault(f"{name} must be TRUE or FALSE, not '{text[:40]}'", name)
        return _FLAGS.get(text, False)


def fault_answer(error: SwatheError, service: str, version: str) -> Response:
    """An error as the service's standard has it: a ServiceExceptionReport of WMS, else an ows:ExceptionReport."""
    usual = errors.answer_to(error)
    status = usual.status_code
    headers = {name: usual.headers[name] for name in ("WWW-Authenticate", "Retry-After") if name in usual.headers}
    if isinstance(error, TooManyRequests):
        status, headers = 429, {"Retry-After": _RETRY_AFTER_MS}
    code = error.exception if isinstance(error, MapFault) else ""
    where = error.parameter if isinstance(error, MapFault) else ""
    if service == "wms":
        old = version.startswith("1.1")
        root = Xml.Element("ServiceExceptionReport", {"version": "1.1.1" if old else "1.3.0"})
        if not old:
            root.set("xmlns", OGC)
        told = Xml.SubElement(root, "ServiceException", {"code": code} if code else {})
        if where and not old:
            told.set("locator", where)
        media_type = "application/vnd.ogc.se_xml" if old else "text/xml"
    else:
        root = Xml.Element("ExceptionReport", {"xmlns": OWS, "version": "1.1.0"})
        name = code or ("NoApplicableCode" if not isinstance(error, NotFound) else "InvalidParameterValue")
        outer = Xml.SubElement(root, "Exception", {"exceptionCode": name})
        if where:
            outer.set("locator", where)
        told = Xml.SubElement(outer, "ExceptionText")
        media_type = "text/xml"
    told.text = "".join(
        mark if mark.isprintable() or mark == "\n" else "\N{REPLACEMENT CHARACTER}" for mark in error.message
    )
    return xml_answer(root, media_type=media_type, status=status, headers=headers)


def xml_answer(
    root: Xml.Element, *, media_type: str = "text/xml", status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """An XML document as an answer."""
    Xml.indent(root)
    content = Xml.tostring(root, encoding="utf-8", xml_declaration=True)
    return Response(content, status_code=status, media_type=f"{media_type}; charset=utf-8", headers=dict(headers or {}))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
