"""Where the commands on jobs get them: the job store itself, for operators, or a server by HTTP, for its users.

Both give jobs and lines of logs as the server's answers have them, and of which kind a job is.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from heapq import merge
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode

from swathe.cli import server_parts
from swathe.model.errors import NotFound, RequestInvalid, SettingsInvalid, SwatheError

if TYPE_CHECKING:
    from swathe.client.session import Session
    from swathe.jobs.store import JobStore

Answer = dict[str, Any]
ACTIONS = ("analyse", "start", "stop")
_PAGE = 100
_LOG_LINES = 1000
_PATHS = {"statistics": "/api/v1/statistics/batch", "process": "/api/v2/batch/process"}


class JobDesk(Protocol):
    """Looks at jobs and acts on them."""

    def jobs(self, search: str | None, kind: str | None = None) -> Iterator[Answer]:
        """Jobs, the newest first; without a kind, those of the batch services that the desk knows."""
        ...

    def job(self, prefix: str) -> Answer:
        """The job whose id begins like this; NotFound, or RequestInvalid where several do."""
        ...

    def act(self, job_id: str, action: str) -> None:
        """Asks for one of `ACTIONS`."""
        ...

    def log(self, job_id: str, after: int) -> list[Answer]:
        """Lines of its log after the one of this number."""
        ...


class StoreDesk:
    """The job store, of all projects. Works while servers run: they look at it twice a second."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    def jobs(self, search: str | None, kind: str | None = None) -> Iterator[Answer]:
        from swathe.jobs.listing import list_jobs

        database, token = self._store.database, None
        while True:
            with _told():
                page = list_jobs(database, kind=kind, count=_PAGE, sort="created:desc", search=search, token=token)
            yield from map(_answer, page.jobs)
            if (token := page.next_token) is None:
                return

    def job(self, prefix: str) -> Answer:
        with _told():
            return _answer(self._store.find(prefix))

    def act(self, job_id: str, action: str) -> None:
        from swathe.jobs.states import Event

        with _told():
            self._store.apply(job_id, Event(action.upper()))

    def log(self, job_id: str, after: int) -> list[Answer]:
        from swathe.server.answers import log_line

        with _told():
            return [log_line(event) for event in self._store.events(job_id, after=after, limit=_LOG_LINES)]


class HttpDesk:
    """A server's jobs of the client's project: those of both batch services, as this server's answers have them.

    What a service of another make leaves out, as the hosted one does progress and logs, is left out here.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._base = session.base_url
        self._kinds: dict[str, str] = {}

    @classmethod
    def open(cls, url: str, client_id: str | None, client_secret: str | None) -> HttpDesk:
        """A connection to the server at `url`.

        Raises:
            SettingsInvalid: id or secret are missing, or the address is none.
        """
        if not client_id or not client_secret:
            raise SettingsInvalid(
                "--url needs a client: --client-id and --client-secret, or SWATHE_CLIENT_ID and SWATHE_CLIENT_SECRET"
            )
        if not url.startswith(("http://", "https://")):
            raise SettingsInvalid(f"--url is a server's address, such as https://swathe.example.org, not '{url}'")
        from swathe.client.config import SHConfig
        from swathe.client.session import Session

        config = SHConfig(
            use_defaults=True,
            sh_base_url=url.rstrip("/"),
            sh_token_url=f"{url.rstrip('/')}/oauth/token",
            sh_client_id=client_id,
            sh_client_secret=client_secret,
            max_download_attempts=3,
            download_sleep_time=0.5,  # and then three times as long
        )
        return cls(Session(config))

    def jobs(self, search: str | None, kind: str | None = None) -> Iterator[Answer]:
        if kind is not None and kind not in _PATHS:
            raise SettingsInvalid(
                f"--url lists jobs of the kinds {' and '.join(_PATHS)}; others need --home or --config"
            )
        lists = [self._list(one, search) for one in _PATHS if kind in (None, one)]
        return merge(*lists, key=lambda job: str(job["created"]), reverse=True)

    def job(self, prefix: str) -> Answer:
        try:
            job_id = str(uuid.UUID(prefix))
        except ValueError:
            found = [(job["id"], job["kind"]) for job in self.jobs(prefix) if job["id"].startswith(prefix.lower())]
            if not found:
                raise NotFound(f"There is no request {prefix}") from None
            if len(found) > 1:
                first, second = found[0][0], found[1][0]
                raise RequestInvalid(f"Several requests begin with '{prefix}', as {first} and {second}") from None
            job_id, kind = found[0]
            self._kinds[job_id] = kind
        return self._get(job_id)

    def act(self, job_id: str, action: str) -> None:
        self._session.request("POST", f"{self._place(job_id)}/{action}")

    def log(self, job_id: str, after: int) -> list[Answer]:
        address = f"{self._place(job_id)}/log?after={after}&count={_LOG_LINES}"
        page = self._found(address)
        lines: list[Answer] = page["data"] if page is not None else []
        return lines

    def _list(self, kind: str, search: str | None) -> Iterator[Answer]:
        token: str | None = None
        while True:
            query = {"count": _PAGE, "sort": "created:desc", "search": search, "viewtoken": token}
            asked = urlencode({name: value for name, value in query.items() if value is not None})
            page = self._session.request_dict("GET", f"{self._base}{_PATHS[kind]}?{asked}")
            for job in page["data"]:
                yield job | {"kind": kind}
            if (token := page["links"].get("nextToken")) is None:
                return

    def _get(self, job_id: str) -> Answer:
        kinds = (self._kinds[job_id],) if job_id in self._kinds else tuple(_PATHS)
        for kind in kinds:
            place = f"{self._base}{_PATHS[kind]}/{job_id}"
            if (job := self._found(place)) is None:
                continue
            self._kinds[job_id] = kind
            # the provider's task tells less than this server's status, which has progress, plan and notes
            more = (self._found(f"{place}/status") or {}) if kind == "process" else {}
            return {**job, **more, "kind": kind}
        raise NotFound(f"There is no request {job_id}")

    def _found(self, address: str) -> Answer | None:
        from swathe.client.exceptions import RequestFailed

        try:
            return self._session.request_dict("GET", address)
        except RequestFailed as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def _place(self, job_id: str) -> str:
        if job_id not in self._kinds:
            self._get(job_id)
        return f"{self._base}{_PATHS[self._kinds[job_id]]}/{job_id}"


def open_desk(
    home: Path | None, config: Path | None, url: str | None, client_id: str | None, client_secret: str | None
) -> JobDesk:
    """The desk that the command line's options mean; a home or configuration goes before an address.

    Raises:
        SettingsInvalid: they mean none.
    """
    if url is not None and home is None and config is None:
        return HttpDesk.open(url, client_id, client_secret)
    if home is None and config is None:
        raise SettingsInvalid(
            "Whose jobs? Give --home or --config of a server, or --url, --client-id and --client-secret"
        )
    return StoreDesk(open_store(home, config))


def open_store(home: Path | None, config: Path | None) -> JobStore:
    """The job store in a home, or at the configured URL.

    Raises:
        SettingsInvalid: there is none.
    """
    with server_parts("jobs"):
        from swathe.jobs.database import DATABASE_FILE, open_database
        from swathe.jobs.store import JobStore
    from swathe.settings import load_settings

    url = load_settings(config).database.url
    if url is None:
        if home is None:
            raise SettingsInvalid("Where is the job store? Give --home of a server, or --config with [database] url")
        if not (home / DATABASE_FILE).is_file():
            raise SettingsInvalid(f"There is no job store in {home}; --home is the folder of `swathe serve`")
    return JobStore(open_database(home or Path(), url.get_secret_value() if url is not None else None))


def _answer(job: Any) -> Answer:
    from swathe.server.answers import job_answer

    return job_answer(job) | {"kind": job.kind}


@contextmanager
def _told() -> Iterator[None]:
    """Says in a sentence that the database does not answer."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except SQLAlchemyError as error:
        raise JobStoreAway(f"The job store does not answer: {error}") from None


class JobStoreAway(SwatheError):
    """The job store's database cannot be reached now."""

    retryable = True
