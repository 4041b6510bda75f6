"""The server's log: lines for people or JSON for machines, with the job and unit they are about, and no secrets."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import MutableMapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import make_url

from swathe.settings import Settings

_NOISY = ("uvicorn", "distributed", "asyncio", "tornado", "alembic", "httpx", "botocore")
_HIDDEN = "***"
# Whatever looks like a token, or like a password in a URL, in texts that come from elsewhere.
_TOKENS = re.compile(r"(?i)\b(bearer|basic)\s+[a-z0-9._~+/=-]{8,}")
_URL_PASSWORDS = re.compile(r"(?<=://)([^/\s:@]*):[^/\s@]+@")
_KEY_VALUES = re.compile(
    r"""(?i)(secret_?access_?key|client_?secret|password|signature)(["']?\s*[:=]\s*["']?)[^\s"'&,}]+"""
)


class JobLog(logging.LoggerAdapter[logging.Logger]):
    """A log whose lines are about a job, and a unit of it: `job_log(LOG, job.id).info("…")`."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        about = dict(self.extra or {})
        unit = f" unit {about['unit']}" if "unit" in about else ""
        kwargs["extra"] = {**kwargs.get("extra", {}), **about}
        return f"job {about['job']}{unit}: {msg}", kwargs


def job_log(log: logging.Logger, job_id: str, unit: int | None = None) -> JobLog:
    """A log for one job or unit: the ids begin the text, and are fields of their own in JSON."""
    return JobLog(log, {"job": job_id} if unit is None else {"job": job_id, "unit": unit})


def configure_logging(settings: Settings) -> None:
    """Sends the process's log to standard error, in the format and from the level that the settings say."""
    secrets = secrets_of(settings)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(secrets) if settings.server.log_format == "json" else TextFormatter(secrets))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(settings.server.log_level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """What must not stand in a log: the deployment's own keys and the database's password."""
    found = []
    if settings.storage.secret_access_key is not None:
        found.append(settings.storage.secret_access_key.get_secret_value())
    if settings.database.url is not None:
        url = settings.database.url.get_secret_value()
        found += [url, make_url(url).password or ""]
    return tuple(sorted({text for text in found if len(text) >= 4}, key=len, reverse=True))


class TextFormatter(logging.Formatter):
    """A line for people; times in UTC."""

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
        return f"{moment}Z {_hide(super().format(record), self._secrets)}"


class JsonFormatter(logging.Formatter):
    """An object a line: time, level, logger, message; job, unit and exception where there are any."""

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        super().__init__()
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _hide(record.getMessage(), self._secrets),
        }
        for name in ("job", "unit", "request"):
            if (value := getattr(record, name, None)) is not None:
                line[name] = value
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = _hide(self.formatException(record.exc_info), self._secrets)
        return json.dumps(line, ensure_ascii=True, default=str)


def _hide(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, _HIDDEN)
    text = _TOKENS.sub(rf"\1 {_HIDDEN}", text)
    text = _URL_PASSWORDS.sub(rf"\1:{_HIDDEN}@", text)
    return _KEY_VALUES.sub(rf"\1\2{_HIDDEN}", text)
