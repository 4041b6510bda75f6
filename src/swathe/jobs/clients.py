"""Who may use the server: client ids with hashed secrets, the key that signs tokens, and which tokens were revoked."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, delete, insert, literal, select, tuple_, update

from swathe.jobs.database import Database
from swathe.jobs.records import Client, clean, from_text, to_text
from swathe.jobs.schema import clients, revoked_tokens, signing_keys
from swathe.model.errors import RequestInvalid

ADMIN = "admin"
SCOPES = {ADMIN: "Manage clients, budgets and the requests of all projects"}
"""What a client may be allowed besides using the services."""

_SCRYPT_MEMORY_BYTES = 64 * 2**20
# A hash takes 16 MiB; a crowd at the token endpoint waits rather than taking them all at once.
_hashing = threading.BoundedSemaphore(2)
# Clocks of servers on one store may differ a little; a revoked token is remembered beyond its end.
_REMEMBERED_S = 300
_TIME_CHARS = 27


class ClientStore:
    """OAuth clients in the job store's database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def create(self, name: str, *, project_id: str | None = None, scopes: Iterable[str] = ()) -> tuple[Client, str]:
        """A new client and its secret, which is not kept and cannot be shown again.

        Clients of one project see one another's requests; without `project_id` the client gets a project of its own.

        Raises:
            RequestInvalid: there is no such scope.
        """
        secret, stored = _new_secret()
        client = Client(
            id=str(uuid.uuid4()),
            name=clean(name),
            project_id=project_id or str(uuid.uuid4()),
            created=datetime.now(UTC),
            scopes=_known_scopes(scopes),
        )
        values = {
            "id": client.id,
            "name": client.name,
            "project_id": client.project_id,
            "created": to_text(client.created),
            "scopes": " ".join(client.scopes),
        }
        with self.database.write() as connection:
            connection.execute(insert(clients).values(**values, **stored))
        return client, secret

    def list(self) -> list[Client]:
        """All clients, oldest first."""
        with self.database.read() as connection:
            rows = connection.execute(select(clients).order_by(clients.c.created, clients.c.id)).all()
        return [_to_client(row) for row in rows]

    def page(self, count: int, token: str | None = None) -> tuple[Sequence[Client], str | None]:
        """At most `count` clients, oldest first, and the token of the page after them when there is one.

        Raises:
            RequestInvalid: `token` is none of ours.
        """
        query = select(clients).order_by(clients.c.created, clients.c.id).limit(count + 1)
        if token:
            created, _, client_id = clean(token).partition("_")
            if len(created) != _TIME_CHARS or not client_id:
                raise RequestInvalid("is no token of a page of this list; take nextToken of an answer", "viewtoken")
            query = query.where(tuple_(clients.c.created, clients.c.id) > tuple_(literal(created), literal(client_id)))
        with self.database.read() as connection:
            rows = connection.execute(query).all()
        found = [_to_client(row) for row in rows[:count]]
        return found, f"{to_text(found[-1].created)}_{found[-1].id}" if len(rows) > count else None

    def get(self, client_id: str) -> Client | None:
        """A client by its id."""
        with self.database.read() as connection:
            row = connection.execute(select(clients).where(clients.c.id == clean(client_id))).first()
        return None if row is None else _to_client(row)

    def delete(self, client_id: str) -> bool:
        """Removes a client, whose tokens are refused from now on; its requests stay. Whether there was one."""
        with self.database.write() as connection:
            return bool(connection.execute(delete(clients).where(clients.c.id == clean(client_id))).rowcount)

    def renew_secret(self, client_id: str) -> str | None:
        """A new secret of a client, None when there is no such client. The one before and its tokens are refused."""
        secret, stored = _new_secret()
        change = update(clients).where(clients.c.id == clean(client_id))
        with self.database.write() as connection:
            changed = connection.execute(change.values(**stored, generation=clients.c.generation + 1)).rowcount
        return secret if changed else None

    def check_secret(self, client_id: str, secret: str) -> Client | None:
        """The client if this is its secret. Takes as long for an unknown client as for a wrong secret."""
        with self.database.read() as connection:
            row = connection.execute(select(clients).where(clients.c.id == clean(client_id))).first()
        salt, expected = (row.secret_salt, row.secret_hash) if row is not None else (b"\0" * 16, b"")
        if not hmac.compare_digest(_hash(secret, salt), expected) or row is None:
            return None
        return _to_client(row)

    def find_bearer(self, client_id: str, token_id: str) -> tuple[Client | None, bool]:
        """The client that a token is for, and whether the token with this id was revoked."""
        revoked = select(revoked_tokens.c.id).where(revoked_tokens.c.id == clean(token_id)).exists()
        query = select(clients, revoked.label("revoked")).where(clients.c.id == clean(client_id))
        with self.database.read() as connection:
            row = connection.execute(query).first()
        return (None, False) if row is None else (_to_client(row), bool(row.revoked))

    def revoke(self, token_id: str, expires: int) -> None:
        """Has the token with this id refused, by all servers on the store, until `expires`, in seconds since 1970."""
        insertion = self.database.insert(revoked_tokens).values(id=clean(token_id), expires=expires)
        with self.database.write() as connection:
            connection.execute(insertion.on_conflict_do_nothing())

    def forget_revoked(self) -> int:
        """Forgets the revoked tokens that have expired: how many."""
        over = revoked_tokens.c.expires < int(time.time()) - _REMEMBERED_S
        with self.database.read() as connection:
            if connection.execute(select(revoked_tokens.c.id).where(over).limit(1)).first() is None:
                return 0
        with self.database.write() as connection:
            return connection.execute(delete(revoked_tokens).where(over)).rowcount


def signing_key(database: Database) -> tuple[str, str]:
    """The id and the PEM of the RSA key that signs tokens; made when there is none yet."""
    query = select(signing_keys).order_by(signing_keys.c.created, signing_keys.c.id).limit(1)
    with database.read() as connection:
        row = connection.execute(query).first()
    if row is None:
        from joserfc.jwk import RSAKey

        pem = RSAKey.generate_key(2048).as_pem(private=True).decode("ascii")
        with database.write() as connection:
            row = connection.execute(query).first()
            if row is None:
                values = {"id": str(uuid.uuid4()), "pem": pem, "created": to_text(datetime.now(UTC))}
                connection.execute(insert(signing_keys).values(**values))
                row = connection.execute(query).first()
    if row is None:
        raise LookupError("the signing key just written is not there")
    return row.id, row.pem


def _hash(secret: str, salt: bytes) -> bytes:
    data = secret.encode("utf-8", "surrogatepass")
    with _hashing:
        return hashlib.scrypt(data, salt=salt, n=2**14, r=8, p=1, maxmem=_SCRYPT_MEMORY_BYTES, dklen=32)


def _new_secret() -> tuple[str, dict[str, bytes]]:
    """A secret, and what the table keeps of it."""
    secret, salt = secrets.token_urlsafe(24), secrets.token_bytes(16)
    return secret, {"secret_salt": salt, "secret_hash": _hash(secret, salt)}


def _known_scopes(names: Iterable[str]) -> tuple[str, ...]:
    wanted = tuple(sorted(set(names)))
    for name in wanted:
        if name not in SCOPES:
            raise RequestInvalid(f"there is no scope '{clean(name)[:64]}'; possible are {', '.join(SCOPES)}", "scopes")
    return wanted


def _to_client(row: Row[Any]) -> Client:
    return Client(
        id=row.id,
        name=row.name,
        project_id=row.project_id,
        created=from_text(row.created),
        scopes=tuple(row.scopes.split()),
        generation=row.generation,
    )
