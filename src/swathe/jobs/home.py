"""The server's home: its folder, its lock, and the files of jobs under way."""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from contextlib import suppress
from pathlib import Path

from swathe.model.errors import SettingsInvalid

FEATURES_FILE = "features.gpkg"
PLAN_FILE = "plan.pickle"


class Home:
    """A folder that belongs to one server at a time. Made with mode 0700 when it is not there yet."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsInvalid(f"The home {path} cannot be made: {error.strerror}") from None
        self._lock: int | None = None

    @property
    def server_id(self) -> str:
        """A name for whoever serves from this home, the same after a restart, so that it goes on with its own jobs."""
        file = self.path / "server-id"
        if not file.exists():
            file.write_text(str(uuid.uuid4()), "ascii")
        return file.read_text("ascii").strip()

    @property
    def scratch(self) -> Path:
        """Where worker processes may put what lasts no longer than they do."""
        return self._folder("scratch")

    @property
    def buckets(self) -> Path:
        """Where `s3://` is when nothing is configured about storage."""
        return self.path / "buckets"

    @property
    def catalog(self) -> Path:
        """Where what catalogs elsewhere said is kept, when nothing is configured about that."""
        return self.path / "catalog"

    def job(self, job_id: str) -> Path:
        """The folder of a job under way."""
        return self._folder("jobs") / job_id

    def job_ids(self) -> list[str]:
        """The jobs that have a folder."""
        return [path.name for path in self._folder("jobs").iterdir() if path.is_dir()]

    def forget(self, job_id: str) -> None:
        """Removes a job's files; what cannot be removed stays."""
        shutil.rmtree(self.job(job_id), ignore_errors=True)

    def looking(self, job_id: str) -> Path:
        """The folder of what the console keeps of a job; it may be made again at any time."""
        return self._folder("looking") / job_id

    def looked_at(self) -> list[str]:
        """The jobs that the console keeps something of."""
        return [path.name for path in self._folder("looking").iterdir() if path.is_dir()]

    def keep_features(self, job_id: str) -> None:
        """Puts the features of a job that has ended aside for the console, unless it has made them ready already."""
        folder = self.looking(job_id)
        if not (folder / "shapes").exists():
            with suppress(OSError):
                folder.mkdir(mode=0o700, exist_ok=True)
                (self.job(job_id) / FEATURES_FILE).replace(folder / FEATURES_FILE)

    def forget_looking(self, job_id: str) -> None:
        """Removes what the console keeps of a job."""
        shutil.rmtree(self.looking(job_id), ignore_errors=True)

    def lock(self) -> None:
        """Takes the home for this process; the kernel gives it back when the process ends, however it does.

        Nothing happens when it is taken already.

        Raises:
            SettingsInvalid: another server runs here.
        """
        if self._lock is not None:
            return
        descriptor = os.open(self.path / "server.lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise SettingsInvalid(
                f"Another server (process {holder or 'unknown'}) runs on the home {self.path};"
                " stop it, or take another --home"
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode("ascii"))
        self._lock = descriptor

    def unlock(self) -> None:
        """Gives the home back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _folder(self, name: str) -> Path:
        folder = self.path / name
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder
