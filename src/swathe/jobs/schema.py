"""The tables of the job store. Times are ISO 8601 text in UTC of one width, so that they sort on every database.

`migrations` makes them; a change here needs a revision there.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Table, Text

# The revisions of `migrations`, oldest first. The number in `schema_version` is what versions of Swathe from before
# Alembic look at: they refuse a store that is newer than they are.
REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006")
SCHEMA_VERSION = len(REVISIONS)

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
    # What it may do besides using the services, set apart by spaces
    Column("scopes", Text, nullable=False, default="", server_default=""),
    # Counts its secrets: tokens that an earlier one got are refused
    Column("generation", Integer, nullable=False, default=0, server_default="0"),
)

# Access tokens that are refused although they have not expired, by their `jti`. `expires` is in seconds since 1970.
revoked_tokens = Table(
    "revoked_tokens",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("expires", BigInteger, nullable=False),
    Index("revoked_tokens_by_age", "expires"),
)

# The key that signs tokens; in the store, so that several servers accept one another's.
signing_keys = Table(
    "signing_keys",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("pem", Text, nullable=False),
    Column("created", String(27), nullable=False),
)

# A project has a row as soon as it has spent something or has a budget.
projects = Table(
    "projects",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("limit_pu", Float),
    Column("spent_pu", Float, nullable=False, default=0.0, server_default="0"),
)

byoc_collections = Table(
    "byoc_collections",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("project_id", String(36), nullable=False),
    Column("name", Text, nullable=False),
    Column("s3_bucket", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("created", String(27), nullable=False),
    Index("byoc_collections_of_project", "project_id", "created", "id"),
)

# `level`, `cell_x` and `cell_y` say about where an ingested tile lies, for the index that searches go by: see
# `byoc_places`. `sensed` is the sensing time; where there is none, when the tile was made.
byoc_tiles = Table(
    "byoc_tiles",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("collection_id", String(36), ForeignKey("byoc_collections.id", ondelete="CASCADE"), nullable=False),
    Column("path", Text, nullable=False),
    Column("status", String(12), nullable=False),
    Column("created", String(27), nullable=False),
    Column("sensing_time", String(27)),
    Column("sensed", String(27), nullable=False),
    Column("body", Text, nullable=False),
    # Degrees; an `east` beyond 180 is across the antimeridian
    Column("west", Float),
    Column("south", Float),
    Column("east", Float),
    Column("north", Float),
    Column("level", Integer),
    Column("cell_x", Integer),
    Column("cell_y", Integer),
    # Who ingests it, and until when nobody else does
    Column("attempts", Integer, nullable=False, default=0, server_default="0"),
    Column("lease_owner", String(36)),
    Column("lease_until", Float, nullable=False, default=0.0, server_default="0"),
    Index("byoc_tiles_by_path", "collection_id", "path", unique=True),
    Index("byoc_tiles_of_collection", "collection_id", "created", "id"),
    Index("byoc_tiles_by_place", "collection_id", "level", "cell_x", "cell_y", "sensed"),
    Index("byoc_tiles_by_time", "collection_id", "sensed", "id"),
    Index("byoc_tiles_by_sensing_time", "collection_id", "sensing_time"),
    Index("byoc_tiles_by_status", "status", "created"),
)

# What WMS and WMTS show: an instance is a list of layers, and its id is what gives access to them.
layer_instances = Table(
    "layer_instances",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("project_id", String(36), nullable=False),
    Column("name", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("created", String(27), nullable=False),
    Index("layer_instances_of_project", "project_id", "created", "id"),
)

layers = Table(
    "layers",
    metadata,
    Column("instance_id", String(36), ForeignKey("layer_instances.id", ondelete="CASCADE"), primary_key=True),
    Column("id", String(100), primary_key=True),
    Column("body", Text, nullable=False),
    Column("created", String(27), nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("kind", String(16), nullable=False, default="statistics", server_default="statistics"),
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
    Column("scenes", Integer, nullable=False, default=0),
    Column("notes", Text),
    Column("estimated_pu", Float, nullable=False, default=0.0),
    Column("plan_report", Text),
    # Progress; kept beside the units so that reading a job never sums over them
    Column("features_total", BigInteger, nullable=False, default=0),
    Column("features_done", BigInteger, nullable=False, default=0),
    Column("features_failed", BigInteger, nullable=False, default=0),
    Column("cells_total", BigInteger, nullable=False, default=0),
    Column("cells_done", BigInteger, nullable=False, default=0),
    Column("cells_seen", BigInteger, nullable=False, default=0),  # with what units under way have told; only grows
    Column("cost_pu", Float, nullable=False, default=0.0),
    # When PROCESSING began last, and what was done by then: how fast it goes is seen from there
    Column("started", String(27)),
    Column("cells_at_start", BigInteger, nullable=False, default=0, server_default="0"),
    # Features finished and failed before the last START: whoever starts an unhealthy job again means it
    Column("forgiven_finished", BigInteger, nullable=False, default=0),
    Column("forgiven_failed", BigInteger, nullable=False, default=0),
    # Which server drives the job
    Column("lease_owner", Text),
    Column("lease_until", Float, nullable=False, default=0.0),
    Column("last_event", BigInteger, nullable=False, default=0, server_default="0"),
    Index("jobs_of_project", "project_id", "created", "id"),
    Index("jobs_by_status", "status"),
)

# Megabytes for a job of many scenes. Apart from `jobs`, since SQLite writes a whole row for each small change in it.
plans = Table(
    "plans",
    metadata,
    Column("job_id", String(36), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("payload", LargeBinary, nullable=False),
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
    Column("lost", Integer, nullable=False, default=0, server_default="0"),
    Column("delivered", Integer, nullable=False, default=0, server_default="0"),  # documents of attempts that ended
    Column("done", Integer, nullable=False, default=0),
    Column("failed", Integer, nullable=False, default=0),
    Column("cost_pu", Float, nullable=False, default=0.0),
    Column("counters", Text),
    Column("error", Text),
    Index("units_by_state", "job_id", "state", "index"),
)

failed_features = Table(
    "failed_features",
    metadata,
    Column("job_id", String(36), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("feature_id", BigInteger, primary_key=True, autoincrement=False),
    Column("reason", Text, nullable=False),
)

# Numbered within the job by `jobs.last_event`, whose row lock makes the order of numbers that of commits: whoever
# reads on after the last number it saw misses none.
job_events = Table(
    "job_events",
    metadata,
    Column("job_id", String(36), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at", String(27), nullable=False),
    Column("level", String(8), nullable=False),
    Column("message", Text, nullable=False),
    Column("unit", Integer),
)
