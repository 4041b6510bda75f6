"""The query for ingested tiles by place and time, made so that planners take the right index."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Select, select, union_all

from swathe.jobs.byoc_places import Bbox, is_wide, meets, ranges
from swathe.jobs.records import to_text
from swathe.jobs.schema import byoc_tiles


def search_tiles(collection_id: str, bbox: Bbox | None, start: datetime | None, end: datetime | None) -> Select[Any]:
    """The ingested tiles of `[start, end)` whose box meets `bbox`, by time and id."""
    table = byoc_tiles.c
    by_place = bbox is not None and not is_wide(bbox)
    # Without statistics a planner takes the index by time for any range of it; of an expression it cannot.
    sensed = table.sensed.concat("") if by_place else table.sensed
    wanted = [table.collection_id == collection_id, table.level.is_not(None)]
    if start is not None:
        wanted.append(sensed >= to_text(start))
    if end is not None:
        wanted.append(sensed < to_text(end))
    query = select(byoc_tiles)
    if bbox is None:
        query = query.where(*wanted)
    elif by_place:
        ids = union_all(*(select(table.id).where(*wanted, condition) for condition in ranges(bbox)))
        query = query.where(table.id.in_(ids))
    else:
        query = query.where(*wanted, meets(bbox))
    return query.order_by(table.sensed, table.id)
