"""Parts of one unit's work side by side: threads that each have a script process of their own and share all else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from swathe.engine.phases import Phases
from swathe.evalscript.runtime import ScriptHost

Watch = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True)
class Lane:
    """What one thread works with: where it runs the script, and where it notes how long things took."""

    number: int
    host: ScriptHost
    phases: Phases


class Lanes:
    """Runs work over lanes, the first of which is the caller's own thread. One lane needs no thread at all."""

    def __init__(self, lanes: Sequence[Lane], watch: Watch) -> None:
        """`watch` is entered by every further thread, with a name for it."""
        self.lanes = tuple(lanes)
        self._watch = watch

    def __len__(self) -> int:
        return len(self.lanes)

    def run(self, work: Iterable[Callable[[Lane], None]]) -> None:
        """Does each piece of work once, in about their order, and ends when all are done.

        After a failure no further piece is begun; the first failure is raised.
        """
        todo = iter(work)
        lock = threading.Lock()
        failures: list[BaseException] = []

        def go_on(lane: Lane) -> None:
            while not failures:
                try:
                    with lock:
                        piece = next(todo, None)
                    if piece is None:
                        return
                    piece(lane)
                except BaseException as error:
                    failures.append(error)

        def go_on_watched(lane: Lane) -> None:
            with self._watch(f"lane-{lane.number}"):
                go_on(lane)

        threads = [threading.Thread(target=go_on_watched, args=(lane,), daemon=True) for lane in self.lanes[1:]]
        for thread in threads:
            thread.start()
        go_on(self.lanes[0])
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    def run_alike(self, work: Iterable[Callable[[], None]]) -> None:
        """As `run` for work that does not mind in which lane it is done."""
        self.run(_without_lane(piece) for piece in work)


def _without_lane(piece: Callable[[], None]) -> Callable[[Lane], None]:
    return lambda lane: piece()
