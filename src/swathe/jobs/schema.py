"""The tables of the job store. Times are ISO 8601 text in UTC of one width, so that they sort on every database."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Table, Text

SCHEMA_VERSION = 1

metadata = MetaData()

schema_version = Table("schema_version", metadata, Column("version", Integer, primary_key=True))

clients = Table(
    "clients",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", Text, nullable=False),
    Column("secret_salt", LargeBinary, nullable=False),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("project_id", String(36), nullable=False),
    Column("created", String(27), nullable=False),
)

# The key that signs tokens; in the store, so that several servers accept one another's.
signing_keys = Table(
    "signing_keys",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("pem", Text, nullable=False),
    Column("created", String(27), nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("client_id", String(36), nullable=False),
    Column("project_id", String(36), nullable=False),
    Column("request", Text, nullable=False),
    Column("secrets", Text),
    Column("description", Text),
    Column("created", String(27), nullable=False),
    Column("last_updated", String(27), nullable=False),
    # What `states` decides about
    Column("status", String(16), nullable=False),
    Column("user_action", String(16), nullable=False),
    Column("user_action_updated", String(27)),
    Column("stopped_reason", String(16)),
    Column("error", Text),
    # What the analysis found
    Column("analysis", LargeBinary),
    Column("scenes", Integer, nullable=False, default=0),
    Column("notes", Text),
    Column("estimated_pu", Float, nullable=False, default=0.0),
    # Progress; kept beside the units so that reading a job never sums over them
    Column("features_total", BigInteger, nullable=False, default=0),
    Column("features_done", BigInteger, nullable=False, default=0),
    Column("features_failed", BigInteger, nullable=False, default=0),
    Column("cells_total", BigInteger, nullable=False, default=0),
    Column("cells_done", BigInteger, nullable=False, default=0),
    Column("cells_seen", BigInteger, nullable=False, default=0),  # with what units under way have told; only grows
    Column("cost_pu", Float, nullable=False, default=0.0),
    # Features finished and failed before the last START: whoever starts an unhealthy job again means it
    Column("forgiven_finished", BigInteger, nullable=False, default=0),
    Column("forgiven_failed", BigInteger, nullable=False, default=0),
    # Which server drives the job
    Column("lease_owner", Text),
    Column("lease_until", Float, nullable=False, default=0.0),
    Index("jobs_of_project", "project_id", "created", "id"),
    Index("jobs_by_status", "status"),
)

units = Table(
    "units",
    metadata,
    Column("job_id", String(36), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("index", Integer, primary_key=True, autoincrement=False),
    Column("feature_ids", LargeBinary, nullable=False),
    Column("features", Integer, nullable=False),
    Column("cells", BigInteger, nullable=False),
    Column("state", String(8), nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("done", Integer, nullable=False, default=0),
    Column("failed", Integer, nullable=False, default=0),
    Column("cost_pu", Float, nullable=False, default=0.0),
    Column("counters", Text),
    Column("failures", Text),
    Column("error", Text),
    Index("units_by_state", "job_id", "state", "index"),
)
