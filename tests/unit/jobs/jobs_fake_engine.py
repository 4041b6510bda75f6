"""An engine whose behaviour is written in the evalscript, as JSON. For tests of what is around the engine.

`units`, `features` (per unit), `first` (feature id), `seconds` (per unit), `pu` (per unit, estimated and charged),
`analysis_seconds`, `failing` (feature ids), `poison` and `odd` (feature ids that kill the worker or raise what is a bug,
`quiet_s` after the unit has begun), and by unit index: `kill` and `retry` (how many times the worker dies or a passing error
comes before it works), `broken` (a final error), `slow` (seconds).
`analysis_error` fails the analysis, `analysis_kill` ends its process that many times.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from swathe.engine.values import Analysis, Document, Stopped, Table, UnitPlan, UnitReport, WorkUnit
from swathe.model.errors import SceneUnreadable, SourceError
from swathe.model.statistical import StatisticsRequest
from swathe.settings import Settings


class FakeEngine:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __enter__(self) -> FakeEngine:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        pass

    def analyse(self, request: StatisticsRequest, features: Path) -> Analysis:
        program = json.loads(request.aggregation.evalscript)
        time.sleep(program.get("analysis_seconds", 0))
        if _count(features.parent, "analysis") <= program.get("analysis_kill", 0):
            os.kill(os.getpid(), signal.SIGKILL)
        if "analysis_error" in program:
            raise SourceError(program["analysis_error"])
        size, first = program.get("features", 4), program.get("first", 0)
        units = tuple(
            UnitPlan(index, first + np.arange(index * size, (index + 1) * size, dtype=np.int64), cells=100 * size)
            for index in range(program.get("units", 3))
        )
        payload = json.dumps({**program, "folder": str(features.parent)}).encode()
        pu = program["pu"] * len(units) if "pu" in program else 1.5
        return Analysis(features=size * len(units), scenes=2, units=units, cost_pu=pu, payload=payload)

    def make_unit(self, request: StatisticsRequest, analysis: Analysis, features: Path, index: int) -> WorkUnit:
        assert features.is_file()
        ids = analysis.units[index].feature_ids
        names = tuple(f"name {number}" for number in ids)
        return WorkUnit(
            index, request.model_dump_json(by_alias=True), analysis.payload, 4326, ids, names, (b"",) * len(ids)
        )

    def run(
        self,
        unit: WorkUnit,
        *,
        deliver: Callable[[Sequence[Document]], None],
        deliver_table: Callable[[Table], None] | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        on_progress: Callable[[float], None] = lambda fraction: None,
    ) -> UnitReport:
        program: dict[str, Any] = json.loads(unit.payload)
        attempt = _count(Path(program["folder"]), f"unit-{unit.index}")
        key = str(unit.index)
        ids = set(unit.feature_ids.tolist())
        if ids & {*program.get("poison", ()), *program.get("odd", ())}:
            time.sleep(program.get("quiet_s", 0))
        if ids & set(program.get("poison", ())):
            os.kill(os.getpid(), signal.SIGKILL)
        if ids & set(program.get("odd", ())):
            raise ZeroDivisionError("a bug")
        if attempt <= program.get("kill", {}).get(key, 0):
            os.kill(os.getpid(), signal.SIGKILL)
        if attempt <= program.get("retry", {}).get(key, 0):
            raise SceneUnreadable("a scene cannot be read just now")
        if key in program.get("broken", {}):
            raise SourceError(program["broken"][key])
        end = time.monotonic() + program.get("slow", {}).get(key, program.get("seconds", 0))
        while time.monotonic() < end:
            time.sleep(0.02)
            if should_stop():
                raise Stopped("stopped")
        failing = set(program.get("failing", ()))
        if deliver_table is not None:
            deliver_table(Table(unit.index, b"rows"))
        failures = {fid: "no polygon" for fid in unit.feature_ids.tolist() if fid in failing}
        deliver(
            [
                Document(fid, name, json.dumps({"id": fid, "ok": fid not in failing}).encode(), failures.get(fid))
                for fid, name in zip(unit.feature_ids.tolist(), unit.identifiers, strict=True)
            ]
        )
        done = len(unit.feature_ids) - len(failures)
        return UnitReport(unit.index, done, len(failures), program.get("pu", 0.25), failures, {"blocks": 3.0})


def make_fake_engine(settings: Settings) -> FakeEngine:
    return FakeEngine(settings)


def _count(folder: Path, name: str) -> int:
    """How often this has been called for a name, this time included; survives the process."""
    with (folder.parent / f"count-{folder.name}-{name}").open("ab") as file:
        file.write(b".")
        return file.tell()
