"""Tiles of users' own collections, with indices by path, age, place and time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "byoc_tiles",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column(
            "collection_id", sa.String(36), sa.ForeignKey("byoc_collections.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("status", sa.String(12), nullable=False),
        sa.Column("created", sa.String(27), nullable=False),
        sa.Column("sensing_time", sa.String(27)),
        sa.Column("sensed", sa.String(27), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("west", sa.Float),
        sa.Column("south", sa.Float),
        sa.Column("east", sa.Float),
        sa.Column("north", sa.Float),
        sa.Column("level", sa.Integer),
        sa.Column("cell_x", sa.Integer),
        sa.Column("cell_y", sa.Integer),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("lease_owner", sa.String(36)),
        sa.Column("lease_until", sa.Float, nullable=False, server_default="0"),
    )
    op.create_index("byoc_tiles_by_path", "byoc_tiles", ["collection_id", "path"], unique=True)
    op.create_index("byoc_tiles_of_collection", "byoc_tiles", ["collection_id", "created", "id"])
    op.create_index("byoc_tiles_by_place", "byoc_tiles", ["collection_id", "level", "cell_x", "cell_y", "sensed"])
    op.create_index("byoc_tiles_by_time", "byoc_tiles", ["collection_id", "sensed", "id"])
    op.create_index("byoc_tiles_by_status", "byoc_tiles", ["status", "created"])
    op.execute("UPDATE schema_version SET version = 3")
