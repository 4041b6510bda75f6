"""Saved layers in the job store, and those that an operator wrote into the settings.

An instance is a list of layers of one project. Its id is random and is what gives access to its layers, and to nothing
else, as with the provider.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from swathe.jobs.database import Database
from swathe.jobs.records import clean, from_text, to_text
from swathe.jobs.schema import layer_instances, layers
from swathe.model.errors import Conflict, LimitExceeded, NotFound, RequestInvalid, SettingsInvalid
from swathe.model.layers import DEFAULT_STYLE, InstanceBody, LayerBody, read_layer
from swathe.settings import LayerSettings, Settings

MOST_INSTANCES, MOST_LAYERS = 1000, 1000
OPERATOR = str(uuid.UUID(int=0))
"""The project of the layers that stand in the settings: no client has it."""


@dataclass(frozen=True)
class Instance:
    """A list of layers."""

    id: str
    project_id: str
    created: datetime
    body: InstanceBody = field(hash=False)


class Layers:
    """The instances and layers of a database, and those of the settings. For any thread.

    Raises (all methods):
        NotFound: there is no such instance in this project, or no such layer in it.
        DatabaseUnavailable: the store does not answer.
    """

    def __init__(
        self,
        database: Database,
        own: Mapping[str, Sequence[LayerBody]] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`own` are the layers of the settings by their instance."""
        self.database = database
        self._own = {name: tuple(found) for name, found in (own or {}).items()}
        self._started = now()
        self._now = now

    def create(self, project_id: str, body: InstanceBody) -> Instance:
        """A new instance without layers.

        Raises:
            LimitExceeded: the project has as many as may be.
        """
        made = Instance(str(uuid.uuid4()), project_id, from_text(to_text(self._now())), body)

        def work(connection: Connection) -> None:
            mine = select(func.count()).select_from(layer_instances).where(layer_instances.c.project_id == project_id)
            count = connection.scalar(mine) or 0
            if count >= MOST_INSTANCES:
                raise LimitExceeded(f"The project has {count:,} instances; at most {MOST_INSTANCES:,} are allowed")
            values = {"id": made.id, "project_id": project_id, "created": to_text(made.created)}
            connection.execute(insert(layer_instances).values(**values, **_instance_values(body)))

        self.database.transact(work)
        return made

    def instances(self, project_id: str) -> list[Instance]:
        """A project's instances, oldest first."""
        table = layer_instances.c
        query = select(layer_instances).where(table.project_id == project_id).order_by(table.created, table.id)
        with self.database.read() as connection:
            return [_to_instance(row) for row in connection.execute(query)]

    def every_instance(self) -> list[Instance]:
        """The instances of all projects, oldest first: for operators."""
        query = select(layer_instances).order_by(layer_instances.c.created, layer_instances.c.id)
        with self.database.read() as connection:
            return [_to_instance(row) for row in connection.execute(query)]

    def get(self, instance_id: str, *, project_id: str) -> Instance:
        """One of a project's instances, or one of the settings by its name."""
        if instance_id in self._own:
            return self._of_settings(instance_id)
        with self.database.read() as connection:
            return _read_instance(connection, instance_id, project_id)

    def update(self, instance_id: str, project_id: str, body: InstanceBody) -> Instance:
        """Changes an instance; its layers stay."""

        def work(connection: Connection) -> Instance:
            found = _read_instance(connection, instance_id, project_id)
            query = update(layer_instances).where(layer_instances.c.id == found.id)
            connection.execute(query.values(**_instance_values(body)))
            return replace(found, body=body)

        return self.database.transact(work)

    def delete(self, instance_id: str, project_id: str) -> None:
        """Deletes an instance and its layers; its address shows nothing any more."""

        def work(connection: Connection) -> None:
            found = _read_instance(connection, instance_id, project_id)
            connection.execute(delete(layers).where(layers.c.instance_id == found.id))
            connection.execute(delete(layer_instances).where(layer_instances.c.id == found.id))

        self.database.transact(work)

    def list_layers(self, instance_id: str, project_id: str) -> list[LayerBody]:
        """The layers of an instance in their order."""
        if instance_id in self._own:
            return list(self._own[instance_id])
        with self.database.read() as connection:
            return _read_layers(connection, _read_instance(connection, instance_id, project_id).id)

    def get_layer(self, instance_id: str, layer_id: str, project_id: str) -> LayerBody:
        """One layer."""
        for layer in self._own.get(instance_id, ()):
            if layer.id == layer_id:
                return layer
        with self.database.read() as connection:
            return _read_layer(connection, _read_instance(connection, instance_id, project_id).id, layer_id)

    def add_layer(self, instance_id: str, project_id: str, layer: LayerBody) -> None:
        """A new layer.

        Raises:
            Conflict: the instance has one of this id.
            LimitExceeded: it has as many as may be.
        """

        def work(connection: Connection) -> None:
            found = _read_instance(connection, instance_id, project_id, lock=True)
            if connection.execute(_one(found.id, layer.id)).first() is not None:
                raise _taken(layer.id)
            mine = select(func.count()).select_from(layers).where(layers.c.instance_id == found.id)
            count = connection.scalar(mine) or 0
            if count >= MOST_LAYERS:
                raise LimitExceeded(f"The instance has {count:,} layers; at most {MOST_LAYERS:,} are allowed")
            values = {"instance_id": found.id, "id": layer.id, "created": to_text(self._now())}
            connection.execute(insert(layers).values(**values, body=_dump(layer)))

        self.database.transact(work)

    def change_layer(self, instance_id: str, layer_id: str, project_id: str, layer: LayerBody) -> None:
        """Puts a layer in another's place; its id may change too.

        Raises:
            Conflict: the instance has another one of the new id.
        """

        def work(connection: Connection) -> None:
            found = _read_instance(connection, instance_id, project_id, lock=True)
            _read_layer(connection, found.id, layer_id)
            if layer.id != layer_id and connection.execute(_one(found.id, layer.id)).first() is not None:
                raise _taken(layer.id)
            query = update(layers).where(layers.c.instance_id == found.id, layers.c.id == layer_id)
            connection.execute(query.values(id=layer.id, body=_dump(layer)))

        self.database.transact(work)

    def delete_layer(self, instance_id: str, layer_id: str, project_id: str) -> None:
        """Deletes a layer."""

        def work(connection: Connection) -> None:
            found = _read_instance(connection, instance_id, project_id)
            _read_layer(connection, found.id, layer_id)
            connection.execute(delete(layers).where(layers.c.instance_id == found.id, layers.c.id == layer_id))

        self.database.transact(work)

    def open(self, name: str) -> tuple[Instance, tuple[LayerBody, ...]]:
        """An instance of any project and its layers, for who knows its id; or one of the settings by its name."""
        own = self._own.get(name)
        if own is not None:
            return self._of_settings(name), own
        with self.database.read() as connection:
            found = _read_instance(connection, name, None)
            return found, tuple(_read_layers(connection, found.id))

    def is_of_settings(self, name: str) -> bool:
        """Whether an instance stands in the settings: every project may look at it, and none may change it."""
        return name in self._own

    def _of_settings(self, name: str) -> Instance:
        return Instance(name, OPERATOR, self._started, InstanceBody(name=name))


def read_own_layers(settings: Settings) -> dict[str, list[LayerBody]]:
    """The layers of the settings by their instance. Reads their evalscripts.

    Raises:
        SettingsInvalid: a layer or its file cannot be used.
    """
    found: dict[str, list[LayerBody]] = {}
    for entry in settings.layers:
        where = f"The layer '{entry.name}' of the configuration"
        try:
            layer = read_layer(_to_body(entry, where))
        except RequestInvalid as error:
            raise SettingsInvalid(f"{where} cannot be used: {error.message}") from None
        beside = found.setdefault(entry.instance, [])
        if any(other.id == layer.id for other in beside):
            raise SettingsInvalid(f"{where}: there are two of this name in the instance '{entry.instance}'")
        beside.append(layer)
    return found


def _to_body(entry: LayerSettings, where: str) -> dict[str, Any]:
    script = entry.evalscript
    if script is None and entry.evalscript_file is not None:
        try:
            script = entry.evalscript_file.read_text("utf-8")
        except OSError as error:
            raise SettingsInvalid(f"{where}: {entry.evalscript_file} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise SettingsInvalid(f"{where}: {entry.evalscript_file} is not in UTF-8") from None
    defaults = {
        "type": entry.collection,
        "time": entry.time,
        "maxCloudCoverage": entry.maxcc,
        "mosaickingOrder": entry.mosaicking_order,
    }
    return {
        "id": entry.name,
        "title": entry.title,
        "description": entry.description,
        "datasourceDefaults": {name: value for name, value in defaults.items() if value is not None},
        "styles": [{"name": DEFAULT_STYLE, "evalScript": script}],
    }


def _read_instance(connection: Connection, instance_id: str, project_id: str | None, *, lock: bool = False) -> Instance:
    query = select(layer_instances).where(layer_instances.c.id == clean(instance_id).lower())
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None or (project_id is not None and row.project_id != project_id):
        raise NotFound(f"There is no instance {instance_id[:64]}")
    return _to_instance(row)


def _read_layers(connection: Connection, instance_id: str) -> list[LayerBody]:
    query = select(layers.c.body).where(layers.c.instance_id == instance_id).order_by(layers.c.created, layers.c.id)
    found = [_load(body) for body in connection.scalars(query)]
    return sorted(found, key=lambda layer: layer.order_hint)


def _read_layer(connection: Connection, instance_id: str, layer_id: str) -> LayerBody:
    row = connection.execute(_one(instance_id, layer_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no layer {layer_id[:100]!r} in the instance")
    return _load(row.body)


def _one(instance_id: str, layer_id: str) -> Any:
    return select(layers).where(layers.c.instance_id == instance_id, layers.c.id == clean(layer_id))


def _taken(layer_id: str) -> Conflict:
    return Conflict(f"The instance has a layer '{layer_id}' already; change that one, or choose another id")


def _instance_values(body: InstanceBody) -> dict[str, str]:
    return {"name": clean(body.name), "body": _dump(body)}


def _to_instance(row: Row[Any]) -> Instance:
    return Instance(row.id, row.project_id, from_text(row.created), InstanceBody.model_validate_json(row.body))


def _dump(body: InstanceBody | LayerBody) -> str:
    return json.dumps(body.model_dump(mode="json", by_alias=True, exclude_unset=True))


def _load(body: str) -> LayerBody:
    return LayerBody.model_validate_json(body)
