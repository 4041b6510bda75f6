"""Settings from TOML and the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from swathe.model.errors import SettingsInvalid
from swathe.settings import Settings, load_settings


def write(folder: Path, text: str) -> Path:
    path = folder / "swathe.toml"
    path.write_text(text)
    return path


def refused(folder: Path, text: str, **environment: str) -> str:
    with pytest.raises(SettingsInvalid) as told:
        load_settings(write(folder, text), environment=environment)
    return told.value.message


def test_without_file_and_environment_there_are_defaults() -> None:
    settings = load_settings(environment={})
    assert settings.model_copy(update={"dask": Settings().dask}) == Settings()
    assert settings.storage.region == "eu-central-1"
    assert settings.collections == ()


def test_a_file_sets_what_it_names(tmp_path: Path) -> None:
    text = """
    [storage]
    endpoint_url = "http://localhost:9000"
    [limits]
    side_cells = 100
    [[collections]]
    type = "sentinel-2-l2a"
    source = "s3://bucket/stac"
    [[collections]]
    type = "byoc-mine"
    source = "https://example.org/stac"
    bands.B1 = { asset = "data", index = 2, scale = 0.1, nodata = "nan" }
    """
    settings = load_settings(write(tmp_path, text), environment={})
    assert settings.storage.endpoint_url == "http://localhost:9000"
    assert settings.limits.side_cells == 100
    assert settings.limits.features == 700_000
    assert [c.type for c in settings.collections] == ["sentinel-2-l2a", "byoc-mine"]
    assert settings.collections[1].bands["B1"].index == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[storage]\nendpoint = 'x'", "storage.endpoint: is not a known key"),
        ("[stroage]\nregion = 'x'", "stroage: is not a known key; `swathe init --config-only` writes a file with all"),
        ("[[collections]]\ntype = 'a'\nsource = 'b'\npattern = '('", ": the pattern is no regular expression"),
        ("[[collections]]\ntype = 'a'\nsource = 'b'\nfolder = 'c'", "collections.0.folder: is not a known key"),
        ("[limits]\nside_cells = 0", "limits.side_cells: must be greater than or equal to 1"),
        ("[[collections]]\ntype = 'a'", "collections.0.source: is required"),
        ("[storage]\naccess_key = 'a'", "access_key and secret_access_key belong together"),
        ("[server]\nport = 'http'", "server.port: must be a whole number"),
        ("storage = 3", "storage: must be an object"),
        ("collections = 3", "collections: must be a list"),
        ("[collections]\ntype = 'a'", "collections"),
        ("storage.local_root = 3", "storage.local_root"),
    ],
)
def test_a_key_that_cannot_be_used_is_named(tmp_path: Path, text: str, told: str) -> None:
    message = refused(tmp_path, text, SWATHE_STORAGE__REGION="here")
    assert told in message
    assert "swathe.toml" in message


def test_no_toml_and_no_file_are_told(tmp_path: Path) -> None:
    assert "is no TOML" in refused(tmp_path, "= nonsense")
    (tmp_path / "swathe.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsInvalid, match="is no TOML"):
        load_settings(tmp_path / "swathe.toml", environment={})
    with pytest.raises(SettingsInvalid, match="cannot be read: No such file"):
        load_settings(tmp_path / "other.toml", environment={})
    with pytest.raises(SettingsInvalid, match="cannot be read"):
        load_settings(tmp_path, environment={})


def test_the_environment_wins_in_both_spellings(tmp_path: Path) -> None:
    file = write(tmp_path, "[storage]\nregion = 'file'\n[dask]\nworkers = 7")
    environment = {"SWATHE_STORAGE__REGION": "two", "SWATHE_DASK_WORKERS": "3", "SWATHE_LIMITS_SIDE_CELLS": "50"}
    settings = load_settings(file, environment=environment)
    assert (settings.storage.region, settings.dask.workers, settings.limits.side_cells) == ("two", 3, 50)
    both = {"SWATHE_STORAGE__REGION": "two", "SWATHE_STORAGE_REGION": "one"}
    assert load_settings(file, environment=both).storage.region == "two"


def test_a_bad_value_in_the_environment_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match=r"the environment.*dask\.workers"):
        load_settings(environment={"SWATHE_DASK_WORKERS": "many"})


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    text = """
    [storage]
    local_root = "buckets"
    [[collections]]
    type = "sentinel-2-l2a"
    source = "scenes/catalog.json"
    [[collections]]
    type = "sentinel-2-l1c"
    source = "/absolute/scenes"
    [[collections]]
    type = "byoc-a"
    source = "s3://bucket/scenes"
    """
    (tmp_path / "deep").mkdir()
    settings = load_settings(write(tmp_path / "deep", text), environment={})
    assert settings.storage.local_root == tmp_path / "deep/buckets"
    assert [c.source for c in settings.collections] == [
        str(tmp_path / "deep/scenes/catalog.json"),
        "/absolute/scenes",
        "s3://bucket/scenes",
    ]


def test_a_relative_path_in_the_environment_stays_as_it_is(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, ""), environment={"SWATHE_STORAGE_LOCAL_ROOT": "here"})
    assert settings.storage.local_root == Path("here")


def test_secrets_are_not_shown() -> None:
    environment = {"SWATHE_STORAGE_ACCESS_KEY": "me", "SWATHE_STORAGE_SECRET_ACCESS_KEY": "hush"}
    settings = load_settings(environment=environment)
    assert settings.storage.secret_access_key is not None
    assert settings.storage.secret_access_key.get_secret_value() == "hush"
    assert "hush" not in repr(settings)
