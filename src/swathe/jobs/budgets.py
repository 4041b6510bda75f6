"""What projects spend and may spend. Works within a transaction of the store's."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from swathe.jobs.records import Budget
from swathe.jobs.schema import projects


def read_budget(connection: Connection, project_id: str) -> Budget:
    """A project's budget; one that nothing is known of has no limit and has spent nothing."""
    row = connection.execute(select(projects).where(projects.c.id == project_id)).first()
    return Budget() if row is None else Budget(row.limit_pu, row.spent_pu)


def add_spent(connection: Connection, insert: Any, project_id: str, cost_pu: float) -> None:
    """Adds to what a project has spent. `insert` is an INSERT into `projects` that knows ON CONFLICT."""
    if cost_pu:
        change = {"spent_pu": projects.c.spent_pu + cost_pu}
        _put(connection, insert, {"id": project_id, "spent_pu": cost_pu}, change)


def write_limit(connection: Connection, insert: Any, project_id: str, limit_pu: float | None) -> None:
    """Sets or, with None, removes a project's limit."""
    _put(connection, insert, {"id": project_id, "limit_pu": limit_pu, "spent_pu": 0.0}, {"limit_pu": limit_pu})


def _put(connection: Connection, insert: Any, values: dict[str, Any], change: dict[str, Any]) -> None:
    connection.execute(insert.values(**values).on_conflict_do_update(index_elements=["id"], set_=change))
