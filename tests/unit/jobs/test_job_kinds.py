"""What a job's workers are told."""

from __future__ import annotations

import json
import pickle

import pytest
from pydantic import SecretStr

from swathe.jobs.engines import make_engine
from swathe.jobs.keys import split_secrets
from swathe.jobs.kinds import find_kind
from swathe.jobs.prepare import Preparation
from swathe.jobs.records import Job
from swathe.jobs.states import JobState
from swathe.jobs.tasks import UnitOnDisk, UnitTask
from swathe.model.errors import RequestInvalid, SettingsInvalid
from swathe.settings import DatabaseSettings, Settings, load_settings

BODY = {
    "input": {"features": {"s3": {"url": "s3://in/parcels.gpkg"}}, "data": [{"type": "x"}]},
    "aggregation": {
        "timeRange": {"from": "2020-01-01", "to": "2020-02-01"},
        "aggregationInterval": {"of": "P1D"},
        "evalscript": "//VERSION=3",
        "width": 1,
        "height": 1,
    },
    "output": {"s3": {"url": "s3://out/res", "accessKey": "AKIA", "secretAccessKey": "of-the-user"}},
}


def make_job(kind: str = "statistics") -> tuple[Job, object]:
    from datetime import UTC, datetime

    request, keys = split_secrets(BODY)
    now = datetime(2020, 1, 1, tzinfo=UTC)
    return Job("j", "c", "p", kind=kind, request=request, created=now, last_updated=now, state=JobState()), keys


def test_worker_gets_the_keys_to_its_output_and_no_way_to_the_database(tmp_path):
    settings = Settings(database=DatabaseSettings(url=SecretStr("postgresql://swathe:of-the-database@host/db")))
    job, keys = make_job()
    preparation = Preparation.of(job, keys, settings, tmp_path, make_engine)
    source = UnitOnDisk(tmp_path, preparation.request, b"\x00" * 8, 1)
    task = UnitTask(job.kind, "run", 0, source, preparation.delivery, preparation.settings)
    sent = pickle.dumps(task)
    assert b"of-the-user" in sent
    assert b"of-the-database" not in sent
    assert "of-the-user" not in repr(task) + preparation.request
    assert set(json.loads(preparation.request)) == {"input", "aggregation"}


def test_kind_of_a_newer_version_is_refused_by_name():
    with pytest.raises(RequestInvalid, match="no jobs of kind 'zonal'"):
        find_kind("zonal")


def test_files_of_a_schedulers_tls_belong_together_and_are_relative_to_the_configuration(tmp_path):
    file = tmp_path / "swathe.toml"
    file.write_text(
        '[dask]\nscheduler = "tls://host:8786"\ntls_ca = "ca.pem"\ntls_cert = "me.pem"\ntls_key = "me.key"\n'
    )
    assert load_settings(file, environment={}).dask.tls_key == tmp_path / "me.key"
    file.write_text('[dask]\ntls_ca = "ca.pem"\n')
    with pytest.raises(SettingsInvalid, match="belong together"):
        load_settings(file, environment={})
