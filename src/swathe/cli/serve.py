"""`swathe serve`: everything in one process tree, under one folder."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swathe.cli import forget_main, server_parts
from swathe.model.errors import SettingsInvalid
from swathe.settings import Settings, load_settings

if TYPE_CHECKING:
    from swathe.jobs.home import Home

LOG = logging.getLogger(__name__)

_BACKLOG = 512
_GRACE_S = 5


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("serve")(serve)


def serve(
    home: Annotated[Path, typer.Option("--home", help="The folder for everything the server keeps.")],
    config: Annotated[Path | None, typer.Option("--config", help="A TOML configuration file.")] = None,
    host: Annotated[str | None, typer.Option("--host", help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="The port; 0 takes a free one.")] = None,
) -> None:
    """Serve the batch APIs until Ctrl-C. Prints `listening on http://HOST:PORT` when it is ready."""
    with server_parts("serve"):
        import uvicorn

        from swathe.jobs.home import Home
        from swathe.jobs.logs import configure_logging
        from swathe.server.app import create_app

    server_home = Home(home)
    server_home.lock()
    settings = _settings(config, server_home, host=host, port=port)
    configure_logging(settings)
    if settings.storage.local_root == server_home.buckets:
        LOG.info("no storage is configured: s3://bucket/key is the file %s/bucket/key", server_home.buckets)
    app = create_app(settings, server_home)
    listener = _listen(settings.server.host, settings.server.port)
    forget_main()

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            typer.echo(f"listening on {_url(settings, listener)}")
            sys.stdout.flush()

    certificate, key = settings.server.tls_certificate, settings.server.tls_key
    uvicorn_config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_GRACE_S,
        server_header=False,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    # uvicorn raises the signal again when it has ended; the work is done then, so it means nothing more.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    with contextlib.closing(listener):
        Server(uvicorn_config).run(sockets=[listener])


def _settings(config: Path | None, home: Home, *, host: str | None, port: int | None) -> Settings:
    """The configuration with the command line's options over it; with no storage configured, folders are buckets."""
    settings = load_settings(config)
    changes: dict[str, Any] = {}
    server = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    if server:
        changes["server"] = settings.server.model_copy(update=server)
    if (settings.server.tls_certificate is None) != (settings.server.tls_key is None):
        raise SettingsInvalid("tls_certificate and tls_key belong together; give both or neither")
    for file in (settings.server.tls_certificate, settings.server.tls_key):
        if file is not None and not file.is_file():
            raise SettingsInvalid(f"There is no file {file}, which the configuration names for TLS")
    if not settings.storage.model_fields_set & {"endpoint_url", "region", "access_key", "local_root"}:
        changes["storage"] = settings.storage.model_copy(update={"local_root": home.buckets})
    if settings.catalog.cache is None:
        changes["catalog"] = settings.catalog.model_copy(update={"cache": home.catalog})
    return settings.model_copy(update=changes)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (while")[0]
        raise SettingsInvalid(
            f"Cannot listen on {host}:{port}: {reason}; choose another with --host and --port"
        ) from None
    # Connections have it from here. asyncio sets it only where a socket's protocol is named, and without it the second part
    # of an answer waits for the client's delayed acknowledgement of the first, 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _url(settings: Settings, listener: socket.socket) -> str:
    host, port = settings.server.host, listener.getsockname()[1]
    host = f"[{host}]" if ":" in host else host
    return f"{'https' if settings.server.tls_certificate else 'http'}://{host}:{port}"
