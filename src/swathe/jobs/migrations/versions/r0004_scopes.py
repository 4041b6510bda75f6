"""What clients may do besides using the services, a count of their secrets, and access tokens that were revoked."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("clients", sa.Column("scopes", sa.Text, nullable=False, server_default=""))
    op.add_column("clients", sa.Column("generation", sa.Integer, nullable=False, server_default="0"))
    op.create_table(
        "revoked_tokens",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("expires", sa.BigInteger, nullable=False),
    )
    op.create_index("revoked_tokens_by_age", "revoked_tokens", ["expires"])
    op.execute("UPDATE schema_version SET version = 4")
