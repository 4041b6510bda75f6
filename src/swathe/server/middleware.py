"""What happens to every request around its routing: paths made even, bodies bounded, bugs answered."""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from swathe.server.answers import error_answer
from swathe.server.errors import answer_to_bug

_SLASHES = re.compile(r"/{2,}")


class EvenPaths:
    """Takes doubled slashes and one at the end for what was meant; clients join base URLs and paths in every way."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = _SLASHES.sub("/", scope["path"])
            if len(path) > 1:
                path = path.rstrip("/") or "/"
            if path != scope["path"]:
                scope = {**scope, "path": path, "raw_path": path.encode("utf-8", "replace")}
        await self.app(scope, receive, send)


class BodyTooLong(Exception):
    """More of a body came than is allowed."""


class BoundedBodies:
    """Answers 413 to a body longer than `max_bytes`, at once if its length is told and while it comes otherwise."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        told = dict(scope["headers"]).get(b"content-length", b"")
        if told.isdigit() and int(told) > self.max_bytes:
            await self._refuse(f"{int(told)}", scope, receive, send)
            return
        received = 0
        answered = False

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                raise BodyTooLong
            return message

        async def noted(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self.app(scope, counted, noted)
        except BodyTooLong:
            if not answered:
                await self._refuse("more", scope, receive, send)

    async def _refuse(self, length: str, scope: Scope, receive: Receive, send: Send) -> None:
        message = f"The body has {length} bytes; this deployment takes at most {self.max_bytes}"
        answer = error_answer(413, message, "COMMON_BAD_PAYLOAD", headers={"Connection": "close"})
        await answer(scope, receive, send)


class AnsweredBugs:
    """Answers whatever is no error of ours with 500, within the CORS headers that a browser needs to read it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answered = False

        async def noted(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except BodyTooLong:
            raise
        except Exception as error:
            if scope["type"] != "http" or answered:
                raise
            await answer_to_bug(f"{scope['method']} {scope['path']}", error)(scope, receive, send)
