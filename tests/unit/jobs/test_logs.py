from __future__ import annotations

import json
import logging

import pytest

from swathe.jobs.logs import JsonFormatter, TextFormatter, configure_logging, job_log, secrets_of
from swathe.settings import Settings

SECRET = "w0nderful+secret/key"


class Kept(logging.Handler):
    def __init__(self, formatter):
        super().__init__()
        self.lines = []
        self.setFormatter(formatter)

    def emit(self, record):
        self.lines.append(self.format(record))


@pytest.fixture
def log():
    found = logging.getLogger("tests.logs")
    found.setLevel(logging.INFO)
    found.propagate = False
    yield found
    found.handlers.clear()


def kept(log, formatter):
    handler = Kept(formatter)
    log.addHandler(handler)
    return handler.lines


def test_json_has_job_and_unit_as_fields(log):
    lines = kept(log, JsonFormatter())
    job_log(log, "1f2e", 7).warning("tried again after %d s", 4)
    job_log(log, "1f2e").info("done")
    log.info("ready")
    first, second, third = map(json.loads, lines)
    assert (first["job"], first["unit"], first["level"]) == ("1f2e", 7, "warning")
    assert first["message"] == "job 1f2e unit 7: tried again after 4 s"
    assert first["logger"] == "tests.logs"
    assert first["time"].endswith("+00:00")
    assert second["job"] == "1f2e"
    assert "unit" not in second
    assert "job" not in third


def test_json_keeps_a_traceback_on_one_line(log):
    lines = kept(log, JsonFormatter())
    try:
        raise ValueError("it broke")
    except ValueError:
        log.exception("a bug")
    assert len(lines) == 1
    assert "\n" not in lines[0]
    assert "ValueError: it broke" in json.loads(lines[0])["exception"]


def test_text_is_a_line_for_people(log):
    lines = kept(log, TextFormatter())
    job_log(log, "1f2e", 7).error("no way")
    assert lines[0].endswith("Z ERROR tests.logs: job 1f2e unit 7: no way")


@pytest.mark.parametrize("formatter", [JsonFormatter, TextFormatter])
def test_no_secrets(log, formatter):
    settings = Settings.model_validate(
        {
            "storage": {"access_key": "AKIA", "secret_access_key": SECRET},
            "database": {"url": "postgresql://swathe:pass%2Fword@host/db"},
        }
    )
    lines = kept(log, formatter(secrets_of(settings)))
    log.warning("asked with %s", SECRET)
    log.warning("Authorization: Bearer eyJhbGciOi.eyJzdWIi.c2lnbmF0dXJl")
    log.warning("connection to postgresql://swathe:pass%%2Fword@host/db and with pass/word failed")
    log.warning('{"accessKey": "AKIA", "secretAccessKey": "a-users-own"}')
    try:
        raise RuntimeError(f"signature of {SECRET} refused; s3://key:hidden-one@bucket")
    except RuntimeError:
        log.exception("a bug")
    text = "\n".join(lines)
    for secret in (SECRET, "eyJhbGciOi", "pass%2Fword", "pass/word", "a-users-own", "hidden-one"):
        assert secret not in text
    assert "***" in text
    assert "AKIA" in text


def test_format_and_level_come_from_the_settings(capsys):
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    try:
        configure_logging(Settings.model_validate({"server": {"log_format": "json", "log_level": "warning"}}))
        logging.getLogger("tests.configured").info("not this")
        logging.getLogger("tests.configured").warning("but this")
        logging.getLogger("uvicorn").info("nor this")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    lines = capsys.readouterr().err.splitlines()
    assert [json.loads(line)["message"] for line in lines] == ["but this"]
