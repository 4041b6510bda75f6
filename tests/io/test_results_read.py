"""Tables, pictures and files of a real job's results: from its data set and its documents, in a folder and on S3."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import geopandas
import numpy as np
import pandas
import pytest
import shapely
from typer.testing import CliRunner

from builders import make_catalog, make_request
from engines import World, box, value_script
from servers import S3Server, moto_server, rclone_server
from serving import ENV, command
from swathe.cli.main import make_app
from swathe.cli.result_views import FeaturesTable, make_console
from swathe.client import BatchStatisticalResults
from swathe.client.exceptions import ClientError, WrongArgument
from swathe.client.selection import Selection
from swathe.model.errors import AccessDenied, ObjectNotFound, SwatheError

pytestmark = pytest.mark.filterwarnings("error")

_CALCULATIONS = {
    "v": {
        "statistics": {"default": {"percentiles": {"k": [10, 50]}}},
        "histograms": {"default": {"nBins": 2, "lowEdge": 0, "highEdge": 1000}},
    }
}


def make_job(folder: Path) -> None:
    """`swathe statistics` over three days: 100 per day and row of pixels, the second day empty for the first feature."""
    world = World(folder)
    rows = np.repeat(np.arange(1, 13) * 10, 12).reshape(12, 12)
    for day, value in ((1, 100), (2, 200), (3, 300)):
        band = rows + value
        if day == 2:
            band[:2, :2] = 0
        world.scene(str(day), f"2020-06-0{day}", {"B04": band})
    bowtie = shapely.Polygon([(500_000, 5_100_000), (500_020, 5_099_980), (500_020, 5_100_000), (500_000, 5_099_980)])
    world.parcels(box(0, 0), box(4, 4), box(6, 8, 3, 1), bowtie, identifiers=["north", "middle", "7", "crossed"])
    make_catalog(world.files, world.items)
    (folder / "swathe.toml").write_text('[[collections]]\ntype = "sentinel-2-l2a"\nsource = "scenes"\n')
    script = value_script(body="return {v: [s.B04], dataMask: [s.B04 > 0 ? s.dataMask : 0]}")
    (folder / "request.json").write_text(json.dumps(make_request(script, calculations=_CALCULATIONS)))
    start = ["statistics", "request.json", "--features", "parcels.gpkg", "--output", "out", "--config", "swathe.toml"]
    subprocess.run(command(*start, "--workers", "1"), cwd=folder, env=ENV, check=True, capture_output=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("job")
    make_job(folder)
    return folder


@pytest.fixture
def results(place: Path) -> BatchStatisticalResults:
    return BatchStatisticalResults.from_address(place / "out")


@pytest.fixture(scope="module")
def documents(place: Path, tmp_path_factory: pytest.TempPathFactory) -> BatchStatisticalResults:
    """The same job as a service leaves it that writes documents alone."""
    folder = tmp_path_factory.mktemp("documents")
    for file in (place / "out").glob("*.json"):
        (folder / file.name).write_bytes(file.read_bytes())
    return BatchStatisticalResults.from_folder(folder)


def swathe(place: Path, *arguments: str) -> str:
    """What `swathe results` prints, run in the folder of the job."""
    with contextlib.chdir(place):
        done = CliRunner().invoke(make_app(), ["results", *arguments])
    if isinstance(done.exception, SwatheError):
        raise done.exception
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def test_data_set_and_documents_give_the_same_frame(
    results: BatchStatisticalResults, documents: BatchStatisticalResults
) -> None:
    ours, theirs = results.to_dataframe(), documents.to_dataframe()
    assert ours["mean"].tolist()[:4] == pytest.approx([115, np.nan, 315, 155], nan_ok=True)
    assert "Self-intersection" in ours["error"].tolist()[-1]
    pandas.testing.assert_frame_equal(ours, theirs)
    one = ours["histogram"][0]
    assert [each["count"] for each in one["bins"]] == [4, 0]


@pytest.mark.parametrize("from_tables", [True, False])
def test_only_what_is_asked_for(
    results: BatchStatisticalResults, documents: BatchStatisticalResults, from_tables: bool
) -> None:
    read = results if from_tables else documents
    frame = read.to_dataframe(["north", 3], ("2020-06-02", "2020-06-03"), ["identifier", "p50.0", "interval_from"])
    assert list(frame.columns) == ["identifier", "p50.0", "interval_from"]
    assert frame["identifier"].tolist() == ["north", "north", "7", "7"]
    assert frame["p50.0"].tolist()[1:] == [310.0, 290.0, 390.0]
    # A text of digits is an identifier or an id.
    assert read.to_dataframe("7")["feature_id"].unique().tolist() == [3] if from_tables else True
    assert len(read.to_dataframe(2, output="v", band="B0")) == 3
    assert len(read.to_dataframe(2, output="no")) == 0
    with pytest.raises(ObjectNotFound, match="99"):
        read.to_dataframe([1, 99])
    with pytest.raises(WrongArgument, match=r"no results have a column maen; there are feature_id, .*mean"):
        read.to_dataframe(columns=["maen"])


def test_frames_have_whole_features_and_no_other_columns(documents: BatchStatisticalResults) -> None:
    frames = list(documents.frames(Selection.of(intervals=("2020-06-03", None)), ["feature_id", "mean"]))
    assert [frame.to_dict("list") for frame in frames] == [{"feature_id": [1, 2, 3], "mean": [315.0, 355.0, 390.0]}]


def test_polygons_come_along(results: BatchStatisticalResults, documents: BatchStatisticalResults, place: Path) -> None:
    frame = results.to_geodataframe(columns=["identifier", "mean"], intervals="2020-06-01")
    assert list(frame.columns) == ["identifier", "mean", "geometry"]
    assert frame.crs == "EPSG:32633"
    assert frame.geometry[1].equals(box(4, 4))
    degrees = results.to_geodataframe(4326, features="middle")
    assert degrees.total_bounds == pytest.approx([15.0, 46.05, 15.0, 46.05], abs=0.01)
    with pytest.raises(ObjectNotFound, match=r"geometry\.parquet.*polygons="):
        documents.to_geodataframe()
    from_file = documents.to_geodataframe(polygons=place / "parcels.gpkg")
    assert from_file.geometry[3].equals(box(4, 4))
    own = geopandas.GeoDataFrame(geometry=[box(1, 1)], index=[2], crs=32633)
    assert documents.to_geodataframe(features=[2], polygons=own).geometry[0].equals(box(1, 1))


def test_a_dataset_ready_for_xvec(results: BatchStatisticalResults, documents: BatchStatisticalResults) -> None:
    pytest.importorskip("xvec")
    cube = results.to_xarray()
    assert dict(cube.sizes) == {"feature": 4, "time": 3, "band": 1, "percentile": 2}
    assert cube["mean"].sel(feature=2, time="2020-06-03", band="B0").item() == 355
    assert cube["percentiles"].sel(feature=2, percentile=50).values.ravel().tolist() == [150, 250, 350]
    assert np.isnan(cube["mean"].sel(feature=4)).all()
    assert cube["identifier"].values.tolist() == ["north", "middle", "7", "crossed"]
    assert str(cube["interval_end"].values[0]) == "2020-06-02T00:00:00.000000000"
    indexed = cube.xvec.set_geom_indexes("geometry", crs=cube["geometry"].attrs["crs"])
    assert indexed["mean"].sel(feature=2, time="2020-06-03", band="B0").item() == 355
    located = results.to_xarray(dimension="geometry").xvec.set_geom_indexes("geometry", crs=32633)
    assert dict(located["mean"].sizes) == {"geometry": 4, "time": 3, "band": 1}
    found = located.xvec.query("geometry", shapely.Point(500_045, 5_099_955))
    assert found["feature"].values.tolist() == [2]
    alone = documents.to_xarray(statistics=["mean"])
    assert "geometry" not in alone.coords
    assert list(alone.data_vars) == ["mean"]
    assert alone["mean"].equals(cube["mean"].drop_vars("geometry"))


def test_pictures_show_the_values(results: BatchStatisticalResults, documents: BatchStatisticalResults) -> None:
    import matplotlib

    matplotlib.use("Agg")
    for read in (results, documents):
        ax = read.plot_series(["north", "middle"])
        north, middle = ax.get_lines()
        assert north.get_ydata().tolist() == [115, 315]  # the empty day is left out
        assert middle.get_ydata().tolist() == [155, 255, 355]
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["north", "middle"]
        assert ax.get_ylabel() == "Mean of v"
        spread = ax.collections[1].get_paths()[0].vertices[:, 1]
        assert (spread.min(), spread.max()) == (155 - 5, 355 + 5)
        matplotlib.pyplot.close("all")
    ax = results.plot_map("p50", "2020-06-02T12:00:00Z")
    missing, shown = ax.collections
    assert shown.get_array().tolist() == [250, 290]
    assert len(missing.get_paths()) == 2
    assert ax.get_title("left") == "Median of v, 2020-06-02"
    with pytest.raises(
        WrongArgument, match="no interval of the job has 2021-01-01 in it; the nearest begins on 2020-06-03"
    ):
        results.plot_map(at="2021-01-01")
    ax = results.plot_heatmap()
    grid = ax.images[0].get_array()
    assert [text.get_text() for text in ax.get_yticklabels()] == ["7", "middle", "north"]
    assert grid.filled(-1).tolist() == [[190, 290, 390], [155, 255, 355], [115, -1, 315]]
    matplotlib.pyplot.close("all")
    with pytest.raises(WrongArgument, match="no output and band 'w'; there are v/B0"):
        results.plot_series(output="w")
    with pytest.raises(WrongArgument, match=r"no statistic 'p99.0'; there are min, max, mean, stDev.*p50\.0"):
        results.plot_series(statistic="p99")


def test_files_are_read_back_as_they_were_written(
    results: BatchStatisticalResults, documents: BatchStatisticalResults, place: Path, tmp_path: Path
) -> None:
    duckdb = pytest.importorskip("duckdb")
    for name, read in (("tables", results), ("documents", documents)):
        folder = tmp_path / name
        folder.mkdir()
        polygons = place / "parcels.gpkg"
        assert read.export(folder / "long.csv") == 10
        assert read.export(folder / "long.parquet") == 10
        assert read.export(folder / "wide.parquet", layout="wide", polygons=polygons) == 4
        assert read.export(folder / "wide.gpkg", statistics=["mean", "p50"], polygons=polygons) == 4
        assert read.export(folder / "long.gpkg", layout="long", polygons=polygons) == 10
        for file in ("long.csv", "long.parquet"):
            found = duckdb.sql(
                f"SELECT mean FROM '{folder / file}' WHERE feature_id = 2 ORDER BY interval_from"
            ).fetchall()
            assert found == [(155.0,), (255.0,), (355.0,)]
        assert duckdb.sql(f"SELECT histogram.bins[1].count FROM '{folder}/long.parquet'").fetchall()[0] == (4,)
        assert json.loads(pandas.read_csv(folder / "long.csv")["histogram"][0])["bins"][0]["count"] == 4
        wide = geopandas.read_parquet(folder / "wide.parquet")
        assert list(wide.columns)[2:] == ["v_mean_20200601", "v_mean_20200602", "v_mean_20200603", "geometry"]
        assert wide.crs == "EPSG:32633"
        assert wide["v_mean_20200603"].tolist()[:3] == [315, 355, 390]
        layer = geopandas.read_file(folder / "wide.gpkg", layer="features")
        assert layer["v_p50_20200602"].tolist()[1:3] == [250, 290]
        assert layer.geometry[1].equals(box(4, 4))
        assert layer["identifier"].tolist() == ["north", "middle", "7", "crossed"]
        rows = geopandas.read_file(folder / "long.gpkg", layer="statistics")
        assert (len(rows), rows["p50"].tolist()[3]) == (10, 150.0)
        assert len(geopandas.read_file(folder / "long.gpkg", layer="features")) == 4
        assert sorted(os.listdir(folder)) == ["long.csv", "long.gpkg", "long.parquet", "wide.gpkg", "wide.parquet"]


def test_nothing_half_written_is_left_and_nothing_is_replaced_unasked(
    results: BatchStatisticalResults, documents: BatchStatisticalResults, tmp_path: Path
) -> None:
    target = tmp_path / "a.gpkg"
    with pytest.raises(ObjectNotFound, match="polygons"):
        documents.export(target)
    with pytest.raises(WrongArgument, match=r"must end with \.csv, \.parquet, \.gpkg"):
        results.export(tmp_path / "a.shp")
    with pytest.raises(WrongArgument, match="no statistic 'maen'"):
        results.export(tmp_path / "a.csv", statistics=["maen"])
    with pytest.raises(ObjectNotFound):
        results.export(tmp_path / "a.csv", features=[99])
    assert list(tmp_path.iterdir()) == []
    target.write_text("mine")
    with pytest.raises(ClientError, match="is there already"):
        results.export(target)
    assert target.read_text() == "mine"
    results.export(target, force=True)
    assert [file.name for file in tmp_path.iterdir()] == ["a.gpkg"]


@contextmanager
def serve(kind: str, place: Path) -> Iterator[S3Server]:
    """The folder `out` as a bucket: of a server that answers ranges, or of one that always sends the whole object."""
    if kind == "whole":
        with rclone_server(place) as server:
            yield server
        return
    with moto_server() as server:
        s3 = server.client()
        s3.create_bucket(Bucket="out", CreateBucketConfiguration={"LocationConstraint": server.region})
        for file in (place / "out").rglob("*.*"):
            s3.upload_file(str(file), "out", file.relative_to(place / "out").as_posix())
        yield server


@pytest.mark.parametrize("kind", ["ranges", "whole"])
def test_a_data_set_on_s3_is_read_where_it_is(
    place: Path, results: BatchStatisticalResults, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    with serve(kind, place) as s3:
        for name, value in (
            ("AWS_ENDPOINT_URL", s3.url),
            ("AWS_REGION", s3.region),
            ("AWS_ACCESS_KEY_ID", s3.access_key),
            ("AWS_SECRET_ACCESS_KEY", s3.secret_access_key),
        ):
            monkeypatch.setenv(name, value)
        remote = BatchStatisticalResults.from_address("s3://out")
        pandas.testing.assert_frame_equal(remote.to_dataframe(), results.to_dataframe())
        assert remote.to_geodataframe(features=[2]).geometry[0].equals(box(4, 4))
        assert [one["id"] for one in remote] == [1, 2, 3, 4]
        assert "155" in swathe(place, "table", "s3://out", "--feature", "middle")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        with pytest.raises(AccessDenied) as denied:
            BatchStatisticalResults.from_address("s3://out").to_dataframe()
        assert "wrong" not in str(denied.value)


def test_the_command_shows_a_table(place: Path) -> None:
    shown = swathe(place, "table", "out", "--last", "2")
    assert "Mean of v" in shown
    assert "2020-06-02  2020-06-03" in " ".join(shown.split("\n")[1:2]) + shown
    lines = [line.split() for line in shown.splitlines()]
    assert ["1", "north", "–", "315"] in lines
    assert ["2", "middle", "255", "355"] in lines
    assert any(line[:4] == ["4", "crossed", "–", "–"] and "Self-intersection" in " ".join(line) for line in lines)
    told = json.loads(swathe(place, "table", "out", "--limit", "2", "--statistic", "max", "--json"))
    assert told["features"][1] == {"id": 2, "identifier": "middle", "values": [160, 260, 360], "error": None}
    assert told["featureCount"] == 4
    assert told["intervals"][0] == {"from": "2020-06-01T00:00:00Z", "to": "2020-06-02T00:00:00Z"}
    one = json.loads(swathe(place, "table", "out", "--feature", "north", "--json"))
    assert [entry["mean"] for entry in one["intervals"]] == [115, None, 315]


def test_the_command_says_why_there_is_nothing(place: Path, tmp_path: Path) -> None:
    shown = swathe(place, "table", "out", "--feature", "crossed")
    assert "Self-intersection" in " ".join(shown.split())
    (row,) = json.loads(swathe(place, "table", "out", "--feature", "4", "--json"))["intervals"]
    assert (row["from"], row["mean"]) == (None, None)
    assert "Self-intersection" in row["error"]
    nothing = "No interval has a result: no scene"
    assert swathe(place, "table", "out", "--from", "2030-01-01").startswith(nothing)
    with contextlib.chdir(place):
        request = json.loads(Path("request.json").read_text())
        request["aggregation"]["timeRange"] = {"from": "2010-01-01T00:00:00Z", "to": "2010-02-01T00:00:00Z"}
        (tmp_path / "long-ago.json").write_text(json.dumps(request))
        start = ["statistics", str(tmp_path / "long-ago.json"), "--features", "parcels.gpkg", "--workers", "1"]
        start = [*start, "--output", str(tmp_path / "none"), "--config", "swathe.toml"]
        subprocess.run(command(*start), env=ENV, check=True, capture_output=True)
    assert nothing in swathe(place, "table", str(tmp_path / "none"), "--feature", "north")
    (tmp_path / "bare").mkdir()
    for arguments, error, told in (
        (("table", "bare"), ObjectNotFound, "There are no results bare/<ID>.json; name the folder"),
        (("plot", "none", "--output", "a.png"), WrongArgument, "no interval has a result, since there was no scene"),
    ):
        with pytest.raises(error, match=told):
            swathe(tmp_path, *arguments)


def test_a_long_identifier_leaves_room_for_values() -> None:
    day = pandas.Timestamp("2020-06-01", tz="UTC")
    shown = FeaturesTable(
        *("Mean of v", "mean", "v", [(day, day + pandas.Timedelta(days=1))]),
        *([(1, "x" * 300)], [[0.5]], [None], 1),
    )
    with (console := make_console()).capture() as captured:
        shown.print(console)
    assert f"1  {'x' * 39}…         0.5" in captured.get()


def test_the_command_draws_and_exports(place: Path, tmp_path: Path) -> None:
    for arguments, name, begin in (
        (("plot", "--feature", "middle"), "a.png", b"\x89PNG"),
        (("plot", "--kind", "heatmap"), "b.pdf", b"%PDF"),
        (("map", "--at", "2020-06-01", "--cmap", "cividis"), "c.svg", b"<?xml"),
        (("export", "--layout", "wide"), "d.csv", b"feature_id,identifier,v_mean_20200601"),
    ):
        swathe(place, arguments[0], "out", "--output", str(tmp_path / name), *arguments[1:])
        assert (tmp_path / name).read_bytes().startswith(begin)
    assert len(list(tmp_path.iterdir())) == 4
    assert b"Mean of v, 2020-06-01" in (tmp_path / "c.svg").read_bytes().replace(b"<!-- ", b"").replace(b" -->", b"")
    for arguments, told in (
        (("plot", "out", "--output", str(tmp_path / "a.png")), "--force"),
        (("plot", "out", "--output", str(tmp_path / "a.gif")), r"must end with \.png, \.svg, \.pdf"),
        (("table", "out", "--from", "june"), "cannot be used"),
        (("table", "5e7a"), "give --home or --config"),
    ):
        with pytest.raises(SwatheError, match=told):
            swathe(place, *arguments)
    assert len(list(tmp_path.iterdir())) == 4
