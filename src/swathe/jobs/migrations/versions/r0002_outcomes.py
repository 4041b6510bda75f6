"""Every failed feature, events, budgets, the plan's figures, units cut in half; plans in a table of their own."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_ROWS = 1000


def upgrade() -> None:
    op.add_column("jobs", sa.Column("kind", sa.String(16), nullable=False, server_default="statistics"))
    op.add_column("jobs", sa.Column("plan_report", sa.Text))
    op.add_column("jobs", sa.Column("started", sa.String(27)))
    op.add_column("jobs", sa.Column("cells_at_start", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("last_event", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("units", sa.Column("lost", sa.Integer, nullable=False, server_default="0"))
    op.add_column("units", sa.Column("delivered", sa.Integer, nullable=False, server_default="0"))
    op.create_table(
        "plans",
        sa.Column("job_id", sa.String(36), sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("payload", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "failed_features",
        sa.Column("job_id", sa.String(36), sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("feature_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_table(
        "job_events",
        sa.Column("job_id", sa.String(36), sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", sa.String(27), nullable=False),
        sa.Column("level", sa.String(8), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("unit", sa.Integer),
    )
    op.create_table(
        "projects",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("limit_pu", sa.Float),
        sa.Column("spent_pu", sa.Float, nullable=False, server_default="0"),
    )
    op.create_table(
        "byoc_collections",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("project_id", sa.String(36), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("s3_bucket", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created", sa.String(27), nullable=False),
    )
    op.create_index("byoc_collections_of_project", "byoc_collections", ["project_id", "created", "id"])

    op.execute("INSERT INTO projects (id, spent_pu) SELECT project_id, SUM(cost_pu) FROM jobs GROUP BY project_id")
    op.execute("INSERT INTO plans (job_id, payload) SELECT id, analysis FROM jobs WHERE analysis IS NOT NULL")
    op.drop_column("jobs", "analysis")
    _move_failures()
    op.drop_column("units", "failures")
    op.execute("UPDATE schema_version SET version = 2")


def _move_failures() -> None:
    """From a JSON object with each unit to a row for each feature."""
    connection = op.get_bind()
    units = sa.table("units", sa.column("job_id"), sa.column("index"), sa.column("failures"))
    failed = sa.table("failed_features", sa.column("job_id"), sa.column("feature_id"), sa.column("reason"))
    rows: dict[tuple[str, int], str] = {}
    query = sa.select(units.c.job_id, units.c.failures).where(units.c.failures.not_in(["{}", ""]))
    for job_id, text in connection.execute(query.order_by(units.c.job_id, units.c.index)):
        rows |= {(job_id, int(feature_id)): reason for feature_id, reason in json.loads(text).items()}
    values = [{"job_id": job, "feature_id": feature, "reason": reason} for (job, feature), reason in rows.items()]
    for start in range(0, len(values), _ROWS):
        connection.execute(sa.insert(failed), values[start : start + _ROWS])
