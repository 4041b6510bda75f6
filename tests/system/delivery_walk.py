"""Kills a process at each line of the delivery code in turn, and looks what is left. Run by test_delivery_faults.py.

A scenario is what a process does: compute, deliver, write down. It is run once undisturbed, noting every line of
the delivery's modules it comes by. Then for each of these lines a fresh copy of the state at the beginning is
made, and a process forked off that kills itself there; what it leaves is checked, and the scenario run again to its end.
"""

from __future__ import annotations

import gc
import json
import os
import pickle
import shutil
import signal
import sqlite3
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import shapely
from pydantic import SecretStr

import swathe
from servers import S3Server
from swathe.engine.values import Analysis, Document, Table, UnitPlan, UnitReport, WorkUnit
from swathe.jobs import tasks
from swathe.jobs.database import open_database
from swathe.jobs.delivery import Delivery
from swathe.jobs.keys import KeyPairs
from swathe.jobs.local import FolderDelivery
from swathe.jobs.publish import Publication, publish
from swathe.jobs.records import PlannedJob, PlannedUnit
from swathe.jobs.states import Event, Status
from swathe.jobs.store import JobStore
from swathe.model.common import S3Place
from swathe.outputs.rows import FeatureEntries
from swathe.outputs.tables import TableForm, write_table
from swathe.settings import Settings, StorageSettings
from swathe.storage import ObjectStores
from swathe.storage.unfinished import UNFINISHED

JOBS = tuple(f"jobs/{name}.py" for name in ("tasks", "kinds", "store", "outcomes", "budgets", "transitions"))
BESIDE = tuple(f"jobs/{name}.py" for name in ("delivery", "publish", "execution", "datasets"))
FOLDERS = tuple(f"storage/{name}.py" for name in ("folder", "unfinished", "compiled"))
STORES = tuple(f"storage/{name}.py" for name in ("stores", "transfer", "passing"))
UNITS, PER_UNIT = 2, 3
COUNT = UNITS * PER_UNIT
FAILING = 2
REQUEST_ID = "rid"
Place = tuple[str, int]
Files = dict[str, bytes]


def document(key: int) -> Document:
    failure = "no scene" if key == FAILING else None
    return Document(key, None, json.dumps({"id": key, "error": failure}).encode() * 20, failure)


def table(index: int, ids: np.ndarray[Any, np.dtype[np.int64]]) -> Table:
    return Table(index, write_table(TableForm(), [FeatureEntries(ids, [None] * len(ids))]))


def ids_of(index: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.arange(1 + index * PER_UNIT, 1 + (index + 1) * PER_UNIT)


def make_features(file: Path) -> None:
    boxes = [shapely.box(500_000 + 20 * i, 5_000_000, 500_010 + 20 * i, 5_000_010) for i in range(COUNT)]
    geopandas.GeoDataFrame(geometry=boxes, crs=32633).to_file(file, driver="GPKG", engine="pyogrio")


class Engine:
    """Delivers as the real one does: the table first, the documents some at a time."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def run(self, unit: WorkUnit, *, deliver: Any, deliver_table: Any, **_: Any) -> UnitReport:
        ids = unit.feature_ids.tolist()
        deliver_table(table(unit.index, unit.feature_ids))
        deliver([document(key) for key in ids[:2]])
        deliver([document(key) for key in ids[2:]])
        failures = {key: "no scene" for key in ids if key == FAILING}
        return UnitReport(unit.index, len(ids) - len(failures), len(failures), 1.5, failures)

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class ServerJob:
    """A server's job: units by a worker, each written down, then what is published, then its end."""

    watched: Sequence[str] = (*JOBS, *BESIDE, *FOLDERS, *STORES)
    server: S3Server | None = None

    def of(self, state: Path) -> tuple[Settings, Delivery]:
        if self.server is None:
            storage = StorageSettings(local_root=state / "buckets")
        else:
            secret = SecretStr(self.server.secret_access_key)
            storage = StorageSettings(
                endpoint_url=self.server.url,
                access_key=self.server.access_key,
                secret_access_key=secret,
                buckets=("out",),
            )
        # on a server each copy of the state has a folder of its own
        url = f"s3://out/{state.name}" if self.server else "s3://out/run"
        return Settings(storage=storage), Delivery(storage, S3Place(url=url), REQUEST_ID)

    def begin(self, state: Path) -> None:
        (state / "home").mkdir()
        (state / "job").mkdir()
        make_features(state / "job/features.gpkg")
        database = open_database(state / "home")
        try:
            store = JobStore(database)
            job = store.create(client_id="c", project_id="p", request={}, keys=KeyPairs(), description=None)
            (state / "job-id").write_text(job.id)
            store.apply(job.id, Event.START)
            units = tuple(PlannedUnit(k, ids_of(k).astype("<i8").tobytes(), 100) for k in range(UNITS))
            store.save_analysis(job.id, PlannedJob(COUNT, 1, 3.0, b"", units))
        finally:
            database.close()

    def leave_older(self, state: Path) -> None:
        """Results of an earlier attempt with other numbers, one already as it will be, and of a unit that was split."""
        _, delivery = self.of(state)
        delivery.write([Document(1, None, b"older"), Document(5, None, b"older, too"), document(4)])
        delivery.write_table(Table(0, b"older"))
        delivery.write_table(Table(7, b"stray"))

    def run(self, state: Path) -> None:
        settings, delivery = self.of(state)
        database = open_database(state / "home")
        try:
            store = JobStore(database)
            job_id = (state / "job-id").read_text()
            for unit in store.pending_units(job_id, 10):
                ids = np.frombuffer(store.unit_features(job_id, unit.index), "<i8")
                made = WorkUnit(unit.index, "{}", b"", 32633, ids, (None,) * len(ids), (b"",) * len(ids))
                source = tasks.UnitInHand(made)
                task = tasks.UnitTask(
                    "statistics",
                    "run",
                    unit.index,
                    source,
                    delivery,
                    settings,
                    make_engine=Engine,  # type: ignore[arg-type]
                )
                outcome = tasks.run_unit(task)
                assert outcome.result is not None, outcome
                store.record_unit(job_id, outcome.result)
                self.publish(store, state, final=False)
            self.publish(store, state, final=True)
            store.settle(job_id)
        finally:
            database.close()

    def publish(self, store: JobStore, state: Path, *, final: bool) -> None:
        settings, delivery = self.of(state)
        job_id = (state / "job-id").read_text()
        units = tuple(store.unit_outcomes(job_id))
        failed = tuple(store.failed_features(job_id))
        publish(Publication(settings, state / "job", delivery, REQUEST_ID, units, failed, final))

    def read(self, state: Path) -> Files:
        if self.server is None:
            return read_files(state / "buckets/out/run" / REQUEST_ID)
        client = self.server.client()
        prefix = f"{state.name}/{REQUEST_ID}/"
        keys = [entry["Key"] for entry in client.list_objects_v2(Bucket="out", Prefix=prefix).get("Contents", ())]
        return {key.removeprefix(prefix): client.get_object(Bucket="out", Key=key)["Body"].read() for key in keys}

    def check(self, state: Path, files: Files, whole: Files) -> None:
        """What the store and the execution database say is delivered, is."""
        with sqlite3.connect(state / "home/swathe.sqlite") as store:
            done = {row[0] for row in store.execute("SELECT \"index\" FROM units WHERE state = 'DONE'")}
            status, *counts = store.execute("SELECT status, features_done, features_failed FROM jobs").fetchone()
        for index in done:
            for name in (f"statistics/part-{index:05}.parquet", *(f"{key}.json" for key in ids_of(index))):
                expect(
                    files.get(name) == whole[name],
                    f"unit {index} is said to be done, but {name} is not as it should be",
                )
        expect(
            counts == [sum(len(ids_of(k)) for k in done) - (0 in done), int(0 in done)], f"{counts} features of {done}"
        )
        database = f"execution-{REQUEST_ID}.sqlite"
        if database in files:
            for key, said in read_database(files[database], state):
                expect(not said or files.get(f"{key}.json") == whole[f"{key}.json"], f"{key} is said to be delivered")
        if status == Status.DONE.value:
            expect(set(files) == set(whole), f"the job is said to be done with {sorted(files)}")


@dataclass(frozen=True)
class Command:
    """`swathe statistics`: results in a folder, no store."""

    watched: Sequence[str] = ("jobs/local.py", "jobs/datasets.py", *FOLDERS)

    def begin(self, state: Path) -> None:
        make_features(state / "features.gpkg")

    def leave_older(self, state: Path) -> None:
        delivery = FolderDelivery(state / "out")
        delivery.write([Document(1, None, b"older"), Document(5, None, b"older, too"), document(4)])
        delivery.write_table(Table(0, b"older"))
        delivery.write_table(Table(7, b"stray"))

    def run(self, state: Path) -> None:
        delivery = FolderDelivery(state / "out")
        delivery.remove_tables(UNITS)
        plans = tuple(UnitPlan(k, ids_of(k), 100) for k in range(UNITS))
        delivery.write_geometry(state / "features.gpkg", Analysis(COUNT, 1, plans, 1.0, b""))
        for index in range(UNITS):
            delivery.write_table(table(index, ids_of(index)))
            delivery.write([document(key) for key in ids_of(index).tolist()])

    def read(self, state: Path) -> Files:
        return read_files(state / "out")

    def check(self, state: Path, files: Files, whole: Files) -> None:
        pass


def expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


def read_database(data: bytes, state: Path) -> list[tuple[int, bool]]:
    copy = state / "copy.sqlite"
    copy.write_bytes(data)
    with sqlite3.connect(f"{copy.as_uri()}?mode=ro&immutable=1", uri=True) as database:
        expect(database.execute("PRAGMA integrity_check").fetchone() == ("ok",), "the execution database is damaged")
        rows = database.execute("SELECT id, delivered FROM features").fetchall()
    expect(len(rows) == COUNT, f"the execution database has {len(rows)} features")
    return [(key, bool(said)) for key, said in rows]


def read_files(folder: Path) -> Files:
    """All files with a final name."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and UNFINISHED not in name:
            found[name] = path.read_bytes()
    return found


# Lines


class Lines:
    """Counts how often each line of the watched files is come by, in any thread; may kill the process at one."""

    def __init__(self, watched: Sequence[str], kill_at: tuple[Place, int] | None = None) -> None:
        self.watched = frozenset(str(Path(swathe.__file__).parent / name) for name in watched)
        self.counts: dict[Place, int] = {}
        self.kill_at = kill_at

    def __enter__(self) -> Lines:
        threading.settrace(self.called)
        sys.settrace(self.called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]

    def called(self, frame: Any, event: str, argument: object) -> Any:
        return self.line if frame.f_code.co_filename in self.watched else None

    def line(self, frame: Any, event: str, argument: object) -> Any:
        if event == "line":
            place = (frame.f_code.co_filename, frame.f_lineno)
            number = self.counts[place] = self.counts.get(place, 0) + 1
            if self.kill_at == (place, number):
                os.kill(os.getpid(), signal.SIGKILL)
        return self.line


def in_child(work: Callable[[], None]) -> int:
    """Runs something in a process forked off; its exit code, negative for a signal."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def walk(scenario: Any, folder: Path, share: tuple[int, int]) -> Iterator[str]:
    """What went wrong, and at the end how many places were killed at."""
    begin = folder / "begin"
    begin.mkdir()
    scenario.begin(begin)
    on_server = getattr(scenario, "server", None) is not None
    if not on_server:
        scenario.leave_older(begin)

    def fresh(name: str) -> Path:
        state = folder / name
        shutil.copytree(begin, state)
        if on_server:
            expect(in_child(lambda: scenario.leave_older(state)) == 0, "the state at the beginning cannot be made")
        return state

    undisturbed = fresh("undisturbed")

    def note() -> None:
        with Lines(scenario.watched) as lines:
            scenario.run(undisturbed)
        (folder / "lines").write_bytes(pickle.dumps(lines.counts))

    older = scenario.read(undisturbed)
    expect(in_child(note) == 0, "the scenario does not work")
    whole = scenario.read(undisturbed)
    databases = {name for name in whole if name.endswith(".sqlite")}
    counts: dict[Place, int] = pickle.loads((folder / "lines").read_bytes())
    # the first time or, of what is done often, the last; or both
    thorough = "SWATHE_WALK_THOROUGHLY" in os.environ
    times = {place: (1, most) if thorough else (most if place[1] % 2 else 1,) for place, most in counts.items()}
    places = sorted({(place, number) for place, numbers in times.items() for number in numbers})
    killed = 0
    for count, (place, number) in enumerate(places[share[0] :: share[1]]):
        state = fresh(f"state-{count}")
        where = f"{Path(place[0]).name}:{place[1]} ({number})"

        def struck(state: Path = state, at: tuple[Place, int] = (place, number)) -> None:
            with Lines(scenario.watched, at):
                scenario.run(state)

        killed += in_child(struck) == -signal.SIGKILL
        try:
            left = scenario.read(state)
            for name, data in left.items():
                if name in databases:
                    read_database(data, state)
                else:
                    expect(
                        data in (whole.get(name), older.get(name)), f"{name} is neither what it was nor what it will be"
                    )
            scenario.check(state, left, whole)
            if on_server:
                expect(in_child(lambda state=state: scenario.run(state)) == 0, "it cannot be done again")
            else:
                scenario.run(state)
            again = scenario.read(state)
            expect(
                set(again) == set(whole),
                f"done again there is {sorted(set(again) ^ set(whole))} too much or too little",
            )
            for name, data in again.items():
                same = read_database(data, state) == read_database(whole[name], state) if name in databases else None
                expect(data == whole[name] if same is None else same, f"done again {name} is another")
            scenario.check(state, again, whole)
            litter = [str(path) for path in state.rglob(f"*{UNFINISHED}*")]
            expect(not litter, f"{litter} is left")
        except Exception as error:
            yield f"killed at {where}: {type(error).__name__}: {error}"
        shutil.rmtree(state)
    yield f"killed {killed} of {len(places[share[0] :: share[1]])}"


def main(arguments: Sequence[str]) -> None:
    kind, folder, share, shares = arguments[0], Path(arguments[1]), int(arguments[2]), int(arguments[3])
    scenario: Any = Command() if kind == "command" else ServerJob()
    if kind == "s3":
        scenario = ServerJob((*BESIDE, *STORES), S3Server(*arguments[4:7]))
        scenario.server.client()
    # what is loaded and compiled here need not be by every child
    for warm in (ServerJob(), Command()):
        state = folder / f"warm-{type(warm).__name__}"
        state.mkdir()
        warm.begin(state)
        warm.run(state)
    ObjectStores(StorageSettings())
    gc.collect()
    gc.freeze()
    started = time.monotonic()
    for line in walk(scenario, folder, (share, shares)):
        print(line, flush=True)
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
