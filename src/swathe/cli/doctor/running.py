"""Runs checks in processes of their own: a crash, a hang or a library's threads end with the check."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from swathe.cli.doctor.findings import Check, Finding, Patient, problem
from swathe.jobs.child import Child, ChildDied, ChildFailed, keep_interrupts_out
from swathe.model.errors import SwatheError

_AT_ONCE = 4


def run_checks(checks: Sequence[Check], patient: Patient) -> Iterator[list[Finding]]:
    """What each check finds, in the order of the checks, some of which run at the same time."""
    under_way: set[Child] = set()
    with ThreadPoolExecutor(_AT_ONCE, initializer=keep_interrupts_out) as pool:
        futures = [pool.submit(_run, check, patient, under_way) for check in checks]
        try:
            for future in futures:
                yield future.result()
        finally:
            for future in futures:
                future.cancel()
            for child in list(under_way):
                child.kill()


def _run(check: Check, patient: Patient, under_way: set[Child]) -> list[Finding]:
    child = Child(f"doctor-{check.name}")
    under_way.add(child)
    late = threading.Event()

    def end() -> None:
        late.set()
        child.kill()

    timer = threading.Timer(check.limit_s, end)
    timer.start()
    try:
        return child.call(check.look, patient, *check.arguments)
    except ChildDied as error:
        if late.is_set():
            text = f"did not answer within {check.limit_s:.0f} s"
            return [problem(check.name, text, "see whether what it talks to is there and not too busy; then try again")]
        return [
            problem(check.name, f"the check's process ended: {error.message}", "look for want of memory or a crash")
        ]
    except ChildFailed as error:
        last = error.message.strip().splitlines()[-1]
        return [problem(check.name, f"could not be checked: {last}", "please report it")]
    except SwatheError as error:
        return [problem(check.name, error.message, "mend what the message names")]
    finally:
        timer.cancel()
        under_way.discard(child)
        child.close()
