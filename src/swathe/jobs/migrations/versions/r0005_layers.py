"""Saved layers, by instance: what WMS and WMTS show."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "layer_instances",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("project_id", sa.String(36), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created", sa.String(27), nullable=False),
    )
    op.create_index("layer_instances_of_project", "layer_instances", ["project_id", "created", "id"])
    op.create_table(
        "layers",
        sa.Column(
            "instance_id", sa.String(36), sa.ForeignKey("layer_instances.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("id", sa.String(100), primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created", sa.String(27), nullable=False),
    )
    op.execute("UPDATE schema_version SET version = 5")
