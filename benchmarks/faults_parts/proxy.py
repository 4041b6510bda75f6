"""A TCP proxy in front of several servers: a connection goes to the next one that takes it."""

from __future__ import annotations

import itertools
import socket
import threading
from contextlib import suppress


class Proxy:
    """Listens on a port of its own; its thread ends with the process."""

    def __init__(self, ports: list[int]) -> None:
        self._targets = itertools.cycle(ports)
        self._count = len(ports)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            with suppress(OSError):
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        for _ in range(self._count):
            try:
                server = socket.create_connection(("127.0.0.1", next(self._targets)), timeout=5)
                break
            except OSError:
                continue
        else:
            client.close()
            return
        server.settimeout(None)
        threading.Thread(target=_copy, args=(client, server), daemon=True).start()
        _copy(server, client)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
