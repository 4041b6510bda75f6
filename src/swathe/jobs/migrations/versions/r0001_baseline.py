"""The tables of the first version, which made them without Alembic."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    version = op.create_table("schema_version", sa.Column("version", sa.Integer, primary_key=True))
    op.bulk_insert(version, [{"version": 1}])
    op.create_table(
        "clients",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("secret_salt", sa.LargeBinary, nullable=False),
        sa.Column("secret_hash", sa.LargeBinary, nullable=False),
        sa.Column("project_id", sa.String(36), nullable=False),
        sa.Column("created", sa.String(27), nullable=False),
    )
    op.create_table(
        "signing_keys",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("pem", sa.Text, nullable=False),
        sa.Column("created", sa.String(27), nullable=False),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("client_id", sa.String(36), nullable=False),
        sa.Column("project_id", sa.String(36), nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("secrets", sa.Text),
        sa.Column("description", sa.Text),
        sa.Column("created", sa.String(27), nullable=False),
        sa.Column("last_updated", sa.String(27), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("user_action", sa.String(16), nullable=False),
        sa.Column("user_action_updated", sa.String(27)),
        sa.Column("stopped_reason", sa.String(16)),
        sa.Column("error", sa.Text),
        sa.Column("analysis", sa.LargeBinary),
        sa.Column("scenes", sa.Integer, nullable=False),
        sa.Column("notes", sa.Text),
        sa.Column("estimated_pu", sa.Float, nullable=False),
        sa.Column("features_total", sa.BigInteger, nullable=False),
        sa.Column("features_done", sa.BigInteger, nullable=False),
        sa.Column("features_failed", sa.BigInteger, nullable=False),
        sa.Column("cells_total", sa.BigInteger, nullable=False),
        sa.Column("cells_done", sa.BigInteger, nullable=False),
        sa.Column("cells_seen", sa.BigInteger, nullable=False),
        sa.Column("cost_pu", sa.Float, nullable=False),
        sa.Column("forgiven_finished", sa.BigInteger, nullable=False),
        sa.Column("forgiven_failed", sa.BigInteger, nullable=False),
        sa.Column("lease_owner", sa.Text),
        sa.Column("lease_until", sa.Float, nullable=False),
    )
    op.create_index("jobs_of_project", "jobs", ["project_id", "created", "id"])
    op.create_index("jobs_by_status", "jobs", ["status"])
    op.create_table(
        "units",
        sa.Column("job_id", sa.String(36), sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("index", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("feature_ids", sa.LargeBinary, nullable=False),
        sa.Column("features", sa.Integer, nullable=False),
        sa.Column("cells", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("done", sa.Integer, nullable=False),
        sa.Column("failed", sa.Integer, nullable=False),
        sa.Column("cost_pu", sa.Float, nullable=False),
        sa.Column("counters", sa.Text),
        sa.Column("failures", sa.Text),
        sa.Column("error", sa.Text),
    )
    op.create_index("units_by_state", "units", ["job_id", "state", "index"])
