"""Instances and layers in the job store, on both databases, and those of the settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from swathe.jobs.layers import OPERATOR, Layers, read_own_layers
from swathe.model.errors import Conflict, NotFound, SettingsInvalid
from swathe.model.layers import read_instance, read_layer
from swathe.settings import LayerSettings, Settings

BODY = {"id": "NDVI", "collectionType": "S2L2A", "styles": [{"name": "default", "evalScript": "x"}], "more": {"a": [1]}}


@pytest.fixture
def store(database):
    return Layers(database)


def test_what_was_posted_is_kept_whole_and_in_its_order(store):
    made = store.create("p1", read_instance({"name": "mine", "additionalData": {"showLogo": False}}))
    first = read_layer(BODY)
    for number, hint in ((2, 5), (3, -1)):
        store.add_layer(made.id, "p1", read_layer({**BODY, "id": f"L{number}", "orderHint": hint}))
    store.add_layer(made.id, "p1", first)
    assert store.get(made.id, project_id="p1") == made
    assert store.instances("p1") == [made]
    assert [layer.id for layer in store.list_layers(made.id, "p1")] == ["L3", "NDVI", "L2"]
    kept = store.get_layer(made.id, "NDVI", "p1")
    assert kept == first
    assert kept.model_extra == {"more": {"a": [1]}}


def test_another_project_sees_nothing_but_whoever_has_the_id_sees_the_layers(store):
    made = store.create("p1", read_instance({"name": "mine"}))
    store.add_layer(made.id, "p1", read_layer(BODY))
    assert store.instances("p2") == []
    for look in (
        lambda: store.get(made.id, project_id="p2"),
        lambda: store.list_layers(made.id, "p2"),
        lambda: store.get_layer(made.id, "NDVI", "p2"),
        lambda: store.add_layer(made.id, "p2", read_layer(BODY)),
        lambda: store.delete_layer(made.id, "NDVI", "p2"),
        lambda: store.delete(made.id, "p2"),
    ):
        with pytest.raises(NotFound):
            look()
    found, layers = store.open(made.id.upper())
    assert (found.id, found.project_id, [layer.id for layer in layers]) == (made.id, "p1", ["NDVI"])
    with pytest.raises(NotFound):
        store.open("not\x00there")


def test_an_id_may_occur_once_in_an_instance(store):
    one, other = (store.create("p1", read_instance({"name": name})) for name in "ab")
    store.add_layer(one.id, "p1", read_layer(BODY))
    store.add_layer(other.id, "p1", read_layer(BODY))
    store.add_layer(one.id, "p1", read_layer({**BODY, "id": "X"}))
    with pytest.raises(Conflict):
        store.add_layer(one.id, "p1", read_layer(BODY))
    with pytest.raises(Conflict):
        store.change_layer(one.id, "X", "p1", read_layer(BODY))
    store.change_layer(one.id, "X", "p1", read_layer({**BODY, "id": "Y", "title": "new"}))
    assert store.get_layer(one.id, "Y", "p1").title == "new"
    with pytest.raises(NotFound):
        store.get_layer(one.id, "X", "p1")


def test_an_instance_goes_with_its_layers(store):
    made = store.create("p1", read_instance({"name": "mine"}))
    store.add_layer(made.id, "p1", read_layer(BODY))
    store.delete_layer(made.id, "NDVI", "p1")
    assert store.list_layers(made.id, "p1") == []
    store.add_layer(made.id, "p1", read_layer(BODY))
    store.delete(made.id, "p1")
    with pytest.raises(NotFound):
        store.open(made.id)


def settings(*layers: LayerSettings) -> Settings:
    return Settings(layers=layers)


def test_layers_of_the_settings_are_found_by_the_name_of_their_instance(database, tmp_path: Path):
    script = tmp_path / "script.js"
    script.write_text("// from a file", "utf-8")
    own = read_own_layers(
        settings(
            LayerSettings(name="A", collection="c", evalscript="x", time="2020-06", maxcc=20),
            LayerSettings(name="A", collection="c", evalscript_file=script, instance="other"),
        )
    )
    store = Layers(database, own)
    instance, (layer,) = store.open("public")
    assert (instance.project_id, layer.id, layer.collection) == (OPERATOR, "A", "c")
    assert (layer.datasource_defaults.time, layer.datasource_defaults.max_cloud_coverage) == ("2020-06", 20)
    assert store.open("other")[1][0].styles[0].eval_script == "// from a file"


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ([{"evalscript_file": "/nowhere.js"}], "cannot be read: No such file"),
        ([{"evalscript": "x", "name": "a b"}], "'a b' of the configuration cannot be used: id"),
        ([{"evalscript": "x", "time": "soon"}], "is no time"),
        ([{"evalscript": "x"}, {"evalscript": "y"}], "two of this name"),
    ],
)
def test_layers_of_the_settings_that_cannot_be_used_are_named(entries, told):
    layers = [LayerSettings(**{"name": "A", "collection": "c", **entry}) for entry in entries]
    with pytest.raises(SettingsInvalid, match=told):
        read_own_layers(settings(*layers))
