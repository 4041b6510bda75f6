"""Pages of jobs. A page token holds where the last page ended, so new jobs neither shift nor repeat others."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, or_, select, tuple_

from swathe.jobs.database import Database
from swathe.jobs.records import Job, clean, to_job
from swathe.jobs.schema import jobs
from swathe.model.errors import RequestInvalid

MAX_COUNT = 100
ASYNC = "async"
SORTS = {
    name: (columns, descending)
    for field, columns in (
        ("created", (jobs.c.created, jobs.c.id)),
        ("status", (jobs.c.status, jobs.c.created, jobs.c.id)),
    )
    for name, descending in ((field, False), (f"{field}:asc", False), (f"{field}:desc", True))
}
_COLUMNS = tuple(column for column in jobs.c if column.name != "secrets")


@dataclass(frozen=True)
class Page:
    """Some jobs, and the token of the page after them when there is one."""

    jobs: tuple[Job, ...]
    next_token: str | None


def list_jobs(
    database: Database,
    project_id: str | None = None,
    *,
    kind: str | None = None,
    count: int = MAX_COUNT,
    token: str | None = None,
    sort: str = "created",
    search: str | None = None,
    client_id: str | None = None,
) -> Page:
    """A page of a project's jobs; without `project_id`, which is for operators, of all projects'.

    Without `kind` they are batch requests of all kinds, not asynchronous requests, which are gone when they are done.

    `search` is a word, or words joined by `|` (or) and `&` (and, which binds closer), looked for in id, description
    and status. `count` beyond the maximum means the maximum.

    Raises:
        RequestInvalid: `sort` or `token` is none of ours.
    """
    if sort not in SORTS:
        raise RequestInvalid(f"cannot sort by '{sort}'; possible are {', '.join(SORTS)}", "sort")
    columns, descending = SORTS[sort]
    query = select(*_COLUMNS)
    if project_id is not None:
        query = query.where(jobs.c.project_id == project_id)
    query = query.where(jobs.c.kind == kind if kind is not None else jobs.c.kind != ASYNC)
    if client_id:
        query = query.where(jobs.c.client_id == clean(client_id))
    if search and search.strip("|& "):
        query = query.where(_matches(clean(search)))
    if token:
        place = tuple_(*_read_token(token, len(columns)))
        here = tuple_(*columns)
        query = query.where(here < place if descending else here > place)
    count = min(count, MAX_COUNT)
    order = [column.desc() if descending else column.asc() for column in columns]
    with database.read() as connection:
        rows = connection.execute(query.order_by(*order).limit(count + 1)).all()
    token = None
    if len(rows) > count:
        last = rows[count - 1]
        token = _write_token([getattr(last, column.name) for column in columns])
    return Page(tuple(to_job(row) for row in rows[:count]), token)


def _matches(search: str) -> ColumnElement[bool]:
    ways = []
    for group in search.split("|"):
        words = [word.strip() for word in group.split("&") if word.strip()]
        if words:
            ways.append(and_(*(_holds(word) for word in words)))
    return or_(*ways)


def _holds(word: str) -> ColumnElement[bool]:
    searched = (jobs.c.id, jobs.c.description, jobs.c.status)
    return or_(*(column.icontains(word, autoescape=True) for column in searched))


def _write_token(place: list[str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode("ascii")).decode("ascii").rstrip("=")


def _read_token(token: str, length: int) -> list[str]:
    try:
        place = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (ValueError, binascii.Error):
        place = None
    if not isinstance(place, list) or len(place) != length or not all(_is_text(part) for part in place):
        raise RequestInvalid(
            "is no token of a page of this list; take nextToken of an answer with the same sort", "viewtoken"
        )
    return place


def _is_text(part: object) -> bool:
    return isinstance(part, str) and clean(part) == part
