"""An index by which is told whether the tiles of a collection have sensing times."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_index("byoc_tiles_by_sensing_time", "byoc_tiles", ["collection_id", "sensing_time"])
    op.execute("UPDATE schema_version SET version = 6")
