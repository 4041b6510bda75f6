"""Which jobs are stale: nothing has happened to them for so long that they are deleted.

The provider deletes requests that were never started, those that failed and all others after different numbers of days
without activity; results stay. Jobs at work are never stale.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, or_

from swathe.jobs.records import to_text
from swathe.jobs.schema import jobs
from swathe.jobs.states import ACTIVE, Status
from swathe.settings import RetentionSettings


def is_stale(days_kept: RetentionSettings, now: datetime) -> ColumnElement[bool]:
    """The condition on a row of `jobs`."""

    def quiet(days: float) -> ColumnElement[bool]:
        return jobs.c.last_updated < to_text(now - timedelta(days=days))

    own = {Status.CREATED: days_kept.created_days, Status.FAILED: days_kept.failed_days}
    others = [status.value for status in Status if status not in own and status not in ACTIVE]
    return or_(
        *(and_(jobs.c.status == status.value, quiet(days)) for status, days in own.items()),
        and_(jobs.c.status.in_(others), quiet(days_kept.other_days)),
    )
