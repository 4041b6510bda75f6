"""Live STAC APIs as sources of scenes: pages, patience, what is kept of their answers, and tokens for their files."""

from __future__ import annotations

import json
import os
import threading
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from builders import make_request, make_scene
from engines import World, box, flat, run, value_script
from stac_server import Api, stac_server
from swathe.catalog.areas import Bbox
from swathe.catalog.registry import Catalog
from swathe.engine.compute import Engine
from swathe.model.errors import SourceError
from swathe.model.statistical import StatisticsRequest
from swathe.settings import CatalogSettings, CollectionSettings, DaskSettings, Settings, StorageSettings
from swathe.storage import ObjectStores

JUNE = {"start": datetime(2020, 6, 1, tzinfo=UTC), "end": datetime(2020, 7, 1, tzinfo=UTC)}
HERE: Bbox = (15.0, 46.04, 15.002, 46.06)
DAYS = 12


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Twelve scenes, one a day, whose files want tokens, and one far away."""
    folder = tmp_path_factory.mktemp("api")
    items = []
    for day in range(1, DAYS + 1):
        item = make_scene(folder / "tiles", f"S{day:02}", f"2020-06-{day:02}T10:00:00Z", {"B04": flat(100 * day)})
        item["assets"]["B04"]["href"] = f"{{server}}/tiles/S{day:02}/B04.tif"
        item["properties"]["platform"] = "sentinel-2a" if day % 2 else "sentinel-2b"
        items.append(item | {"collection": "sentinel-2-l2a"})
    far = json.loads(json.dumps(items[0]))
    far |= {"id": "far", "bbox": [50.0, 0.0, 51.0, 1.0]}
    far["geometry"] = {"type": "Point", "coordinates": [50.5, 0.5]}
    with stac_server(folder, [*items, far]) as server:
        yield server


@pytest.fixture(autouse=True)
def _behave(api: Api) -> None:
    api.behave()


def catalog(api: Api, cache: Path | None = None, *, source: str | None = None, **more: Any) -> Catalog:
    told = {name: more.pop(name) for name in tuple(more) if name in CollectionSettings.model_fields}
    entry = CollectionSettings(**{"type": "sentinel-2-l2a", "source": source or api.stac, **told})
    searching = CatalogSettings(**{"cache": cache, "page_items": 5, "patience_s": 20.0, **more})
    return Catalog([entry], ObjectStores(StorageSettings()), searching)


def found(catalog: Catalog, **where: Any) -> list[str]:
    return [scene.id for scene in catalog.find_scenes("S2L2A", **{**JUNE, "bbox": HERE, **where})]


ALL = [f"S{day:02}" for day in range(1, DAYS + 1)]


@pytest.mark.parametrize("paging", ["merge", "body", "get"])
@pytest.mark.parametrize("at", ["", "/collections/sentinel-2-l2a"])
def test_every_page_of_a_search_is_asked_for_once(api: Api, paging: str, at: str) -> None:
    api.behave(paging=paging)
    assert found(catalog(api, source=api.stac + at)) == ALL
    searches = api.asked("/search")
    assert [one["method"] for one in searches] == ["POST"] + ["GET" if paging == "get" else "POST"] * 2
    assert searches[0]["body"]["collections"] == ["sentinel-2-l2a"]
    assert searches[0]["body"]["datetime"] == "2020-06-01T00:00:00Z/2020-07-01T00:00:00Z"
    west, south, east, north = searches[0]["body"]["bbox"]
    assert west <= HERE[0] <= HERE[2] <= east <= 15.25
    assert south <= HERE[1] <= HERE[3] <= north


def test_an_api_that_only_knows_get_is_asked_so(api: Api) -> None:
    api.behave(only_get=True, paging="get")
    assert found(catalog(api)) == ALL
    assert {one["method"] for one in api.asked()} == {"GET"}


def test_busy_and_failing_answers_are_waited_out_as_they_say(api: Api) -> None:
    api.behave(refusals=[[429, 0], [503, "Wed, 01 Jan 2020 00:00:00 GMT"], [502, None]])
    assert found(catalog(api)) == ALL
    assert len(api.asked("/search")) == 3 + 3


def test_one_that_stays_busy_is_named_and_may_be_tried_later(api: Api, tmp_path: Path) -> None:
    one = catalog(api, tmp_path, patience_s=0.0)
    api.behave(refusals=[[503, None]])
    with pytest.raises(
        SourceError, match=r"catalog of collection 'sentinel-2-l2a'.*/search cannot be asked now.*503"
    ) as hit:
        found(one)
    assert hit.value.retryable
    assert found(one) == ALL  # failures are not kept
    api.behave(refusals=[[429, 3600]])
    with pytest.raises(SourceError, match="429") as hit:  # an hour is longer than the patience, so nobody waits for it
        found(catalog(api, source=f"{api.stac}?key=confidential"))
    assert "confidential" not in str(hit.value)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"refusals": [[400, None]]}, "answers 400: slow down"),
        ({"paging": "elsewhere"}, "another host and is not asked"),
        ({"paging": "circle"}, "from one page of items to the same again"),
    ],
)
def test_what_cannot_be_used_is_an_error_that_says_why(api: Api, told: dict[str, Any], message: str) -> None:
    api.behave(**told)
    with pytest.raises(SourceError, match=message) as hit:
        found(catalog(api))
    assert not hit.value.retryable


def test_a_collection_that_is_not_there_is_named_with_the_remedy(api: Api) -> None:
    for told in ({"stac_collections": ("nothing",)}, {"type": "modis"}):
        with pytest.raises(SourceError, match=r"has no collection (nothing|modis).*set stac_collections"):
            catalog(api, **told).find_scenes(told.get("type", "S2L2A"), **JUNE, bbox=HERE)
    with pytest.raises(SourceError, match="more than 7 items"):
        found(catalog(api, items=7))


def test_a_query_and_headers_are_sent_and_kept_secret(api: Api) -> None:
    api.behave(header="key-4711")
    with pytest.raises(SourceError, match=r"refuses to answer .401.*set `headers`") as hit:
        found(catalog(api, headers={"X-Key": SecretStr("wrong-key")}))
    assert "wrong-key" not in str(hit.value)
    told = {"headers": {"X-Key": SecretStr("key-4711")}, "query": {"platform": {"eq": "sentinel-2a"}}}
    assert found(catalog(api, **told)) == ALL[::2]


def test_what_was_searched_lately_is_not_asked_again(api: Api, tmp_path: Path) -> None:
    assert found(catalog(api, tmp_path)) == ALL
    assert api.asked()
    api.behave()
    again = catalog(api, tmp_path)  # as another process has it
    assert found(again) == ALL
    assert found(again, bbox=(15.0005, 46.045, 15.001, 46.055)) == ALL
    first, last = datetime(2020, 6, 3, tzinfo=UTC), datetime(2020, 6, 5, tzinfo=UTC)
    assert found(catalog(api, tmp_path), start=first, end=last) == ["S03", "S04"]
    assert not api.asked()
    assert found(again, bbox=(50.2, 0.2, 50.4, 0.4)) == ["far"]  # elsewhere: asked
    assert len(api.asked("/search")) == 1
    assert found(catalog(api, tmp_path, query={"platform": {"eq": "sentinel-2b"}})) == ALL[1::2]  # another search
    assert found(catalog(api, tmp_path, cache_age_s=0)) == ALL
    assert len(api.asked("/search")) == 1 + 2 + 3


def test_what_is_older_than_its_age_is_asked_again(api: Api, tmp_path: Path) -> None:
    assert found(catalog(api, tmp_path)) == ALL
    api.behave()
    for file in tmp_path.rglob("*.items"):
        os.utime(file, (1e9, 1e9))
    assert found(catalog(api, tmp_path)) == ALL
    assert len(api.asked("/search")) == 3


def test_a_broken_entry_is_asked_for_again(api: Api, tmp_path: Path) -> None:
    assert found(catalog(api, tmp_path)) == ALL
    for file in tmp_path.rglob("*.items"):
        file.write_bytes(file.read_bytes()[:-3])
    assert found(catalog(api, tmp_path)) == ALL
    assert not list(tmp_path.rglob("*.part"))


def test_the_cache_is_bounded(api: Api, tmp_path: Path) -> None:
    one = catalog(api, tmp_path, cache_bytes=6_000)
    for shift in range(6):
        found(one, bbox=(15.0 + shift, 40.0, 15.1 + shift, 47.0))
    assert 0 < sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) <= 6_000


def test_threads_that_want_the_same_search_make_it_once(api: Api) -> None:
    one = catalog(api)
    results: list[list[str]] = []
    threads = [threading.Thread(target=lambda: results.append(found(one))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [ALL] * 8
    assert len(api.asked("/search")) == 3


def test_processes_may_share_what_is_kept(api: Api, tmp_path: Path) -> None:
    ready = threading.Barrier(6)

    def search() -> None:
        own = catalog(api, tmp_path)  # its own memory, as a process has it
        ready.wait(30)
        results.append(found(own))

    results: list[list[str]] = []
    threads = [threading.Thread(target=search) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [ALL] * 6
    assert {file.suffix for file in tmp_path.rglob("*") if file.is_file()} == {".items"}
    api.behave()
    assert found(catalog(api, tmp_path)) == ALL
    assert not api.asked()


def test_clouds_are_judged_here_so_that_one_search_serves_all(api: Api) -> None:
    one = catalog(api)
    assert found(one, max_cloud_cover=0.0) == ALL  # they have none
    assert found(one) == ALL
    assert len(api.asked("/search")) == 3


def test_the_newest_are_asked_for_page_by_page(api: Api) -> None:
    def first(count: int, **told: Any) -> list[str]:
        taken = iter(one.newest_scenes("S2L2A", **JUNE, **told))
        return [next(taken).id for _ in range(count)]

    one = catalog(api)
    assert first(3, bbox=HERE) == ["S12", "S11", "S10"]
    assert len(api.asked("/search")) == 1
    assert first(6, bbox=HERE) == ALL[:-7:-1]
    assert len(api.asked("/search")) == 2  # what was asked before is known
    assert first(1, ids=frozenset({"S04"})) == ["S04"]
    assert api.asked("/search")[-1]["body"]["ids"] == ["S04"]
    api.behave(sorts=False)
    one = catalog(api)
    assert first(3, bbox=HERE) == ["S12", "S11", "S10"]  # one that has an order of its own is asked for all
    box_, start, end = one.extent("S2L2A")
    assert (box_, start, end) == ((0.0, 0.0, 60.0, 60.0), datetime(2015, 6, 27, tzinfo=UTC), None)


def test_statistics_over_an_api_whose_files_want_tokens(api: Api, tmp_path: Path) -> None:
    world = World(tmp_path)
    world.parcels(box(1, 1), box(5, 5))
    storage = StorageSettings(sas_url=f"{api.url}/sas", sas_hosts=("127.0.0.1",), hosts=("127.0.0.1",))
    settings = Settings(
        collections=(CollectionSettings(type="sentinel-2-l2a", source=api.stac),),
        dask=DaskSettings(workers=1),
        storage=storage,
        catalog=CatalogSettings(cache=tmp_path / "cache"),
    )
    request = make_request(value_script(), start="2020-06-01T00:00:00Z", end="2020-06-04T00:00:00Z")
    first = run(settings, world.geopackage, request)
    assert first.means() == [100.0, 200.0, 300.0]
    assert len(api.asked("/sas/")) == 1  # one account and container, one token
    assert b"B04.tif" in zlib.decompress(first.analysis.payload)
    assert b"sig=" not in zlib.decompress(first.analysis.payload)
    assert not any(b"sig=" in zlib.decompress(file.read_bytes()[8:]) for file in tmp_path.rglob("*.items"))
    api.behave()
    second = run(settings, world.geopackage, request)
    assert second.data == first.data
    assert not api.asked("/stac")  # a second analysis asks the catalog nothing

    api.behave(expiry_s=30.0)  # too near its end to be begun: asked for each time
    with Engine(settings) as engine:
        run(settings, world.geopackage, request, engine=engine)
        assert len(api.asked("/sas/")) > 1
    api.behave()
    with Engine(settings) as engine:
        run(settings, world.geopackage, request, engine=engine)
        api.behave(key="two")  # all tokens are taken back
        assert run(settings, world.geopackage, request, engine=engine).data == first.data
        assert len(api.asked("/sas/")) == 1


def test_features_far_from_each_other_are_searched_apart(api: Api, tmp_path: Path) -> None:
    world = World(tmp_path)
    world.parcels(box(1, 1), box(5, 5), box(200_000, 1), box(200_001, 300_000))
    entry = CollectionSettings(type="sentinel-2-l2a", source=api.stac)
    settings = Settings(collections=(entry,), dask=DaskSettings(workers=1))
    request = StatisticsRequest.model_validate(make_request(value_script()))
    with Engine(settings) as engine:
        analysis = engine.analyse(request, world.geopackage)
    boxes = [one["body"]["bbox"] for one in api.asked("/search") if "token" not in one["body"]]
    assert len(boxes) == 3
    assert sum((east - west) * (north - south) for west, south, east, north in boxes) < 1
    assert analysis.scenes == DAYS
