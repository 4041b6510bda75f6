"""Numbers, times and plans as the command line shows them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def bytes_text(count: float) -> str:
    """`1.5 GB`."""
    power = 0
    while abs(count) >= 999.5 and power < len(_UNITS) - 1:
        count, power = count / 1000, power + 1
    return f"{count:,.0f} {_UNITS[power]}" if power == 0 or count >= 99.5 else f"{count:,.1f} {_UNITS[power]}"


def seconds_text(seconds: float) -> str:
    """`12 s`, `3 min 20 s`, `2 h 05 min`, `3 d 4 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"


def moment_text(moment: datetime) -> str:
    """A time in UTC to the second, `2026-05-01 10:00:00Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def to_numbers(report: Mapping[str, float]) -> dict[str, float | int]:
    """The same figures, whole ones as whole numbers."""
    return {name: int(value) if float(value).is_integer() else value for name, value in report.items()}


def plan_table(report: Mapping[str, float]) -> Table:
    """A plan's figures, a line each."""
    from rich.table import Table

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, text in plan_lines(report):
        table.add_row(name, text)
    return table


def plan_lines(report: Mapping[str, float]) -> list[tuple[str, str]]:
    """A plan's figures as names and texts; those that are not known are left out."""
    lines = [(name, f"{report[name]:,.0f}") for name in ("features", "scenes", "units") if name in report]
    if "blocks" in report:
        size = f", {bytes_text(report['bytesToRead'])} in files" if "bytesToRead" in report else ""
        lines.append(("blocks to read", f"about {report['blocks']:,.0f}{size}"))
    if "estimatedSeconds" in report:
        lines.append(("time", f"about {seconds_text(report['estimatedSeconds'])}"))
    if "estimatedPU" in report:
        lines.append(("processing units", f"at most {report['estimatedPU']:,.2f}"))
    return lines
