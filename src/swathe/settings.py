"""A deployment's settings: TOML, then `SWATHE_<SECTION>__<KEY>` environment variables, which win.

Read once by the entry points and handed down; nothing looks at the environment later. Unknown keys are errors.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, model_validator

from swathe.model.errors import SettingsInvalid
from swathe.model.filters import Held
from swathe.model.validation import violation_of

_UNKNOWN_KEY = "is not a known key; `swathe init --config-only` writes a file with all of them"


class Section(BaseModel):
    """A table of the configuration file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _listed(value: Any) -> Any:
    """A list as an environment variable has it: with commas."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_listed)]


class ServerSettings(Section):
    """The HTTP service."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    public_url: str | None = None
    token_lifetime_s: int = Field(default=3600, ge=300)
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    log_format: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    metrics: bool = True


class SourceBucketSettings(Section):
    """A bucket with scenes that lies elsewhere than the deployment's own; without keys, requests are unsigned."""

    endpoint_url: str | None = None
    region: str = "eu-central-1"
    access_key: str | None = None
    secret_access_key: SecretStr | None = None
    requester_pays: bool = False

    @model_validator(mode="after")
    def _keys_together(self) -> SourceBucketSettings:
        if (self.access_key is None) != (self.secret_access_key is None):
            raise ValueError("access_key and secret_access_key belong together")
        return self


class StorageSettings(Section):
    """Object stores. With `local_root`, `s3://bucket/key` is the file `local_root/bucket/key`.

    `sources` are buckets of scenes elsewhere, by name: what catalogs name is read there, and requests cannot reach them.
    What `buckets` and `hosts` open, and what is open without them, `storage.doors` says.
    `sas_url` gives tokens for addresses whose host ends with one of `sas_hosts`.
    """

    endpoint_url: str | None = None
    region: str = "eu-central-1"
    access_key: str | None = None
    secret_access_key: SecretStr | None = None
    local_root: Path | None = None
    timeout_s: float = Field(default=30.0, gt=0)
    retries: int = Field(default=5, ge=0)
    patience_s: float = Field(default=20.0, ge=0)
    buckets: Names | None = None
    hosts: Names = Field(default_factory=tuple)
    requester_pays: bool = False
    sources: dict[str, SourceBucketSettings] = Field(default_factory=dict)
    sas_url: str | None = None
    sas_hosts: tuple[str, ...] = Field(default_factory=lambda: (".blob.core.windows.net",))

    @model_validator(mode="after")
    def _keys_together(self) -> StorageSettings:
        if (self.access_key is None) != (self.secret_access_key is None):
            raise ValueError("access_key and secret_access_key belong together")
        return self


SourceKind = Literal["static", "stac-api", "geoparquet", "files"]


class BandSettings(Section):
    """One band of a collection: where it lies in a STAC item, and what its numbers mean."""

    asset: str | list[str] | None = None
    index: int = Field(default=1, ge=1)
    unit: str | None = None
    scale: float | None = None
    offset: float | None = None
    nodata: float | str | None = None
    resolution_m: float | None = None
    mask: bool | None = None


class CollectionSettings(Section):
    """A collection a request may name, and where its scenes are found.

    `kind` says what `source` is where it cannot be told from the address. `stac_collections`, `query` and `filter` narrow
    the search of a STAC API, `headers` are sent to it; `alternate` is the alternative address of assets that is read;
    `pattern` tells the date and band of files that no STAC describes. `holds` is what cannot be seen in the items, and
    of a `timeless` collection scenes are used whatever time is asked for.
    """

    type: str = Field(min_length=1)
    source: str = Field(min_length=1)
    kind: SourceKind | None = None
    stac_collections: tuple[str, ...] = ()
    query: dict[str, Any] = Field(default_factory=dict)
    filter: str | None = None
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    alternate: str | None = None
    pattern: str | None = None
    title: str | None = None
    mask_asset: str | None = None
    nodata_is_nan: bool | None = None
    timeless: bool | None = None
    holds: Held = Held()
    bands: dict[str, BandSettings] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _goes_together(self) -> CollectionSettings:
        if self.kind == "stac-api" and not self.source.startswith(("http://", "https://")):
            raise ValueError("the source of kind 'stac-api' is an address on the web, http:// or https://")
        if self.kind not in (
            (None, "files") if self.pattern is not None else (None, "static", "stac-api", "geoparquet")
        ):
            raise ValueError("pattern and kind 'files', rasters without STAC, belong together")
        if self.pattern is not None:
            _check_pattern(self.pattern)
        return self


def _check_pattern(pattern: str) -> None:
    try:
        groups = set(re.compile(pattern).groupindex)
    except re.error as error:
        raise ValueError(f"the pattern is no regular expression: {error}") from None
    if "date" not in groups or not groups <= {"date", "band", "scene"}:
        raise ValueError(
            f"the pattern has the groups {', '.join(sorted(groups)) or 'none'}; it needs (?P<date>…) and may have"
            " (?P<band>…) and (?P<scene>…)"
        )


class CatalogSettings(Section):
    """How catalogs elsewhere are searched, and how long what they said is kept."""

    cache: Path | None = None
    cache_age_s: float = Field(default=3600.0, ge=0)
    cache_bytes: int = Field(default=2**30, ge=0)
    timeout_s: float = Field(default=30.0, gt=0)
    patience_s: float = Field(default=120.0, ge=0)
    search_s: float = Field(default=900.0, gt=0)
    page_items: int = Field(default=100, ge=1)
    items: int = Field(default=200_000, ge=1)
    searches: int = Field(default=16, ge=1, le=256)


class DaskSettings(Section):
    """Where work units run: an embedded cluster, or the scheduler at `scheduler`, with the files of its TLS if any."""

    scheduler: str | None = None
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    workers: int = Field(default_factory=lambda: max(1, os.cpu_count() or 1), ge=1)
    threads_per_worker: int = Field(default=1, ge=1)
    memory_limit: str = "2GiB"

    @model_validator(mode="after")
    def _tls_together(self) -> DaskSettings:
        if len({file is None for file in (self.tls_ca, self.tls_cert, self.tls_key)}) > 1:
            raise ValueError("tls_ca, tls_cert and tls_key belong together")
        return self


class DatabaseSettings(Section):
    """The job store; without a URL, SQLite in the server's home."""

    url: SecretStr | None = None


class ResultSettings(Section):
    """What the output folder of a server's job gets beside the documents."""

    parquet: bool = True
    execution_database: bool = True


class ServiceSettings(Section):
    """The services that answer at once, and Async Process: how many processes compute, with how many threads each."""

    processes: int = Field(default_factory=lambda: max(1, min(4, os.cpu_count() or 1)), ge=1)
    threads: int = Field(default_factory=lambda: max(1, min(4, os.cpu_count() or 1)), ge=1)
    async_processes: int = Field(default=1, ge=1)
    map_access: Literal["address", "token", "off"] = "address"


class LayerSettings(Section):
    """A layer that WMS and WMTS show as it stands here: a collection, an evalscript or the file that holds it, a filter.

    `instance` is the last part of the service's address.
    """

    name: str = Field(min_length=1)
    collection: str = Field(min_length=1)
    instance: str = Field(default="public", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    title: str | None = None
    description: str | None = None
    evalscript: str | None = None
    evalscript_file: Path | None = None
    time: str | None = None
    maxcc: float | None = Field(default=None, ge=0, le=100)
    mosaicking_order: Literal["mostRecent", "leastRecent", "leastCC"] | None = None

    @model_validator(mode="after")
    def _one_script(self) -> LayerSettings:
        if (self.evalscript is None) == (self.evalscript_file is None):
            raise ValueError("give either evalscript or evalscript_file")
        return self


class ConsoleSettings(Section):
    """The console in the browser. `style_url` is a MapLibre style to draw under the features; none by default.

    `keep_bytes` is how much of a job's data set is put aside when its keys go with its end; 0 is nothing.
    """

    enabled: bool = True
    style_url: str | None = None
    keep_bytes: int = Field(default=4 * 2**30, ge=0)


class RetentionSettings(Section):
    """After how many days without activity a request is deleted; its results stay. The provider's numbers."""

    created_days: float = Field(default=7.0, gt=0, le=36_500)
    failed_days: float = Field(default=15.0, gt=0, le=36_500)
    other_days: float = Field(default=30.0, gt=0, le=36_500)


class RateLimitSettings(Section):
    """What each client may do in a minute, counted by each server for itself; none is no limit."""

    requests_per_minute: int | None = Field(default=None, ge=1)
    processing_units_per_minute: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    failed_tokens_per_minute: int = Field(default=30, ge=1)


class LimitSettings(Section):
    """Bounds on whatever a user can make long. Checked before the work."""

    features: int = Field(default=700_000, ge=1)
    geopackage_bytes: int = Field(default=4 * 2**30, ge=1)
    side_cells: int = Field(default=12_000, ge=1)
    intervals: int = Field(default=20_000, ge=1)
    histogram_bins: int = Field(default=10_000, ge=1)
    percentiles: int = Field(default=1_000, ge=1)
    request_bytes: int = Field(default=8 * 2**20, ge=1)
    script_chars: int = Field(default=500_000, ge=1)
    script_setup_s: float = Field(default=5.0, gt=0)
    script_evaluate_s: float = Field(default=2.0, gt=0)
    script_s_per_million_cells: float = Field(default=30.0, gt=0)
    script_heap_bytes: int = Field(default=512 * 2**20, ge=2**26)
    script_process_bytes: int = Field(default=2 * 2**30, ge=2**30)
    image_px: int = Field(default=2_500, ge=1)
    async_image_px: int = Field(default=10_000, ge=1)
    answer_s: float = Field(default=120.0, gt=0)
    async_answer_s: float = Field(default=6 * 3600.0, gt=0)
    requests_waiting: int = Field(default=50, ge=0)
    async_requests: int = Field(default=100, ge=1)
    async_requests_per_project: int = Field(default=50, ge=1)
    unit_cells: int = Field(default=8_000_000, ge=1)
    unit_bytes: int = Field(default=320 * 2**20, ge=2**20)
    unit_rows: int = Field(default=1_500_000, ge=1)


class Settings(Section):
    """Everything a deployment can set."""

    server: ServerSettings = ServerSettings()
    storage: StorageSettings = StorageSettings()
    database: DatabaseSettings = DatabaseSettings()
    retention: RetentionSettings = RetentionSettings()
    dask: DaskSettings = Field(default_factory=DaskSettings)
    services: ServiceSettings = Field(default_factory=ServiceSettings)
    console: ConsoleSettings = ConsoleSettings()
    limits: LimitSettings = LimitSettings()
    rate_limits: RateLimitSettings = RateLimitSettings()
    results: ResultSettings = ResultSettings()
    catalog: CatalogSettings = CatalogSettings()
    collections: tuple[CollectionSettings, ...] = ()
    layers: tuple[LayerSettings, ...] = ()


def load_settings(file: Path | None = None, *, environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from a TOML file and the environment.

    Relative paths in the file (`local_root`, `catalog.cache`, a collection's `source`, the TLS files) are relative to the
    file's folder.

    Raises:
        SettingsInvalid: the file is missing or no TOML, or a key is unknown or has an unusable value.
    """
    values: dict[str, Any] = {}
    if file is not None:
        try:
            values = tomllib.loads(file.read_text("utf-8"))
        except OSError as error:
            raise SettingsInvalid(f"The configuration {file} cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsInvalid(f"The configuration {file} is no TOML: {error}") from None
        _resolve_paths(values, file.parent)
    _add_environment(values, os.environ if environment is None else environment)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsInvalid(_explain(error, str(file) if file else "the environment")) from None


def _resolve_paths(values: dict[str, Any], folder: Path) -> None:
    storage = values.get("storage")
    if isinstance(storage, dict) and isinstance(storage.get("local_root"), str):
        storage["local_root"] = str(folder / Path(storage["local_root"]).expanduser())
    catalog = values.get("catalog")
    if isinstance(catalog, dict) and isinstance(catalog.get("cache"), str):
        catalog["cache"] = str(folder / Path(catalog["cache"]).expanduser())
    for section, keys in (("server", ("tls_certificate", "tls_key")), ("dask", ("tls_ca", "tls_cert", "tls_key"))):
        table = values.get(section)
        for key in keys:
            if isinstance(table, dict) and isinstance(table.get(key), str):
                table[key] = str(folder / Path(table[key]).expanduser())
    layers = values.get("layers")
    for layer in layers if isinstance(layers, list) else []:
        if isinstance(layer, dict) and isinstance(layer.get("evalscript_file"), str):
            layer["evalscript_file"] = str(folder / Path(layer["evalscript_file"]).expanduser())
    collections = values.get("collections")
    for collection in collections if isinstance(collections, list) else []:
        if (
            isinstance(collection, dict)
            and isinstance(collection.get("source"), str)
            and "://" not in collection["source"]
        ):
            collection["source"] = str(folder / Path(collection["source"]).expanduser())


def _add_environment(values: dict[str, Any], environment: Mapping[str, str]) -> None:
    """Takes `SWATHE_STORAGE__ENDPOINT_URL` and, since no two names can be confused, `SWATHE_STORAGE_ENDPOINT_URL`."""
    for section, field in Settings.model_fields.items():
        annotation = field.annotation
        if not (isinstance(annotation, type) and issubclass(annotation, Section)):
            continue
        for key in annotation.model_fields:
            name = f"SWATHE_{section}_{key}".upper()
            text = environment.get(f"SWATHE_{section}__{key}".upper(), environment.get(name))
            if text is not None and isinstance(table := values.setdefault(section, {}), dict):
                table[key] = text


def _explain(error: ValidationError, where: str) -> str:
    lines = []
    for problem in error.errors(include_input=False, include_url=False):
        name = ".".join(str(part) for part in problem["loc"])
        message = _UNKNOWN_KEY if problem["type"] == "extra_forbidden" else violation_of(problem)
        lines.append(f"{name}: {message}")
    return f"The configuration ({where}) cannot be used: " + "; ".join(lines)
