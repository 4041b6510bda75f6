"""Every code block of README.md and docs/ is run, or stands in a table with who runs it or why nobody does."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import swathe
from builders import make_request
from doc_pages import ROOT, Block, all_blocks, find_blocks
from doc_tables import DATA, NOT_RUN_HERE, NOTHING_TO_RUN, PROGRAMS, RUN_BY_ANOTHER, reason_not_to_run
from swathe.catalog.registry import Catalog
from swathe.client import to_dataframe
from swathe.model.byoc import ByocCollectionBody
from swathe.model.layers import InstanceBody, LayerBody
from swathe.model.process import read_batch_process
from swathe.model.process_async import AsyncOutput
from swathe.model.statistical import Sampling, StatisticsRequest
from swathe.settings import CollectionSettings, Settings, StorageSettings, load_settings
from swathe.storage import ObjectStores

pytestmark = pytest.mark.xdist_group("docs")


def test_no_block_is_left_out() -> None:
    known = {*PROGRAMS, *DATA, *NOTHING_TO_RUN}
    left = [block for block in all_blocks() if not reason_not_to_run(block)]
    lost = [f"{block.page}: ```{block.language} {block.first_line}" for block in left if block.language not in known]
    assert not lost, "neither run nor in the table NOT_RUN_HERE"


def test_the_table_has_nothing_that_is_gone() -> None:
    for page, beginning in NOT_RUN_HERE:
        assert any(b.first_line.startswith(beginning) for b in find_blocks(ROOT / page)), (page, beginning)
    for reason in NOT_RUN_HERE.values():
        assert all((ROOT / path).exists() for path in re.findall(r"tests/[\w/]+\.py", reason)), reason
    for page, test in RUN_BY_ANOTHER.items():
        assert page in (ROOT / test).read_text("utf-8")


def test_every_program_of_a_page_that_another_test_runs_is_picked_there() -> None:
    for page, test in RUN_BY_ANOTHER.items():
        tree = ast.parse((ROOT / test).read_text("utf-8"))
        words = {
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        programs = [block for block in find_blocks(ROOT / page) if block.language == "python"]
        places = [[block for block in programs if word in block.text] for word in words]
        picked = {found[0] for found in places if len(found) == 1}
        assert [block.first_line for block in programs if block not in picked] == []


def test_fenced_blocks_say_their_language() -> None:
    bare = [f"{b.page}: {b.first_line}" for b in all_blocks() if not b.language]
    assert not bare


# --- data


def of(*languages: str) -> list[Any]:
    return [pytest.param(b, id=str(b)) for b in all_blocks() if b.language in languages and not reason_not_to_run(b)]


def check_items(body: dict[str, Any]) -> None:
    """A catalog of the items finds them all."""
    folder = Path(body.pop("folder"))
    (folder / "items.geojson").write_text(json.dumps(body))
    settings = [CollectionSettings(type="byoc-page", source=str(folder))]
    catalog = Catalog(settings, ObjectStores(StorageSettings()))
    start, end = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
    assert len(list(catalog.newest_scenes("byoc-page", start=start, end=end))) == len(body["features"])
    assert set(catalog.collection("byoc-page").bands) == {key for f in body["features"] for key in f["assets"]}


def check_calculations(body: dict[str, Any]) -> None:
    request = make_request()
    StatisticsRequest.model_validate({**request, "calculations": body})


def check_document(body: dict[str, Any]) -> None:
    frame = to_dataframe([body])
    assert len(frame) == max(1, len(body["response"]["data"] or ()))


JSON_KINDS: dict[tuple[str, ...], Callable[[dict[str, Any]], object]] = {
    ("input", "aggregation"): StatisticsRequest.model_validate,
    ("processRequest",): read_batch_process,
    ("type", "features"): check_items,
    ("sampling",): lambda body: Sampling.model_validate(body["sampling"]),
    ("default",): check_calculations,
    ("id", "response"): check_document,
    ("output",): lambda body: AsyncOutput.model_validate(body["output"]),
    ("name", "s3Bucket"): ByocCollectionBody.model_validate,
    ("id", "styles"): LayerBody.model_validate,
    ("name",): InstanceBody.model_validate,
}


@pytest.mark.parametrize("block", of("json"))
def test_json_is_what_the_server_takes_or_gives(block: Block, tmp_path: Path) -> None:
    body = json.loads(block.text)
    kind = next((check for keys, check in JSON_KINDS.items() if all(key in body for key in keys)), None)
    assert kind is not None, "say in JSON_KINDS what it is"
    kind({**body, "folder": tmp_path} if kind is check_items else body)


@pytest.mark.parametrize("block", of("toml"))
def test_toml_is_a_configuration_that_can_be_used(block: Block, tmp_path: Path) -> None:
    tables = tomllib.loads(block.text)
    if not tables.keys() & Settings.model_fields.keys():
        pytest.skip("not a configuration of Swathe's")
    file = tmp_path / "swathe.toml"
    file.write_text(block.text, "utf-8")
    settings = load_settings(file, environment={})
    catalog = Catalog(settings.collections, ObjectStores(StorageSettings()))
    assert len(catalog.types) == len({entry.type for entry in settings.collections})


@pytest.mark.parametrize("block", of("yaml"))
def test_yaml_parses_and_its_commands_are_real(block: Block) -> None:
    body = yaml.safe_load(block.text)
    if "scrape_configs" in body:
        assert [set(job) for job in body["scrape_configs"]] == [{"job_name", "static_configs"}]
    else:  # Kubernetes: the operator is not here, but the worker's command is
        (container,) = body["spec"]["worker"]["spec"]["containers"]
        import typer.main

        from swathe.cli.main import make_app

        command = typer.main.get_command(make_app()).commands[container["args"][1]]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in container["args"] if word.startswith("--")} <= options


@pytest.mark.parametrize("block", of("js"))
def test_scripts_compute_what_statistics_need(block: Block) -> None:
    """Each is run over two dates in one interval, the second in cloud, of every source that it names."""
    reflectance = {f"B{number:02}": 0.02 * number for number in range(1, 13)} | {"VV": 0.2, "VH": 0.05}
    scenes = [
        swathe.SceneArrays(
            f"2020-06-{day:02}T10:00:00Z",
            {name: np.full((2, 3), value) for name, value in reflectance.items()} | {"SCL": np.full((2, 3), scl)},
        )
        for day, scl in ((9, 4), (11, 9))
    ]
    names = re.findall(r'datasource: "(\w+)"', block.text) or ["only"]
    result = swathe.evaluate(block.text, [swathe.SourceArrays(name, scenes) for name in names])
    numbers = [array for name, array in result.outputs.items() if name != "dataMask"]
    assert numbers
    assert all(np.isfinite(array).all() for array in numbers)
    cloudy = "SCL" in block.text  # the newest scene is on top
    assert ((result.outputs["dataMask"] > 0) == (not cloudy)).all()
