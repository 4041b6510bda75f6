"""Who may use the server: client ids with hashed secrets, and the key that signs tokens."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import uuid
from datetime import UTC, datetime

from sqlalchemy import delete, insert, select

from swathe.jobs.database import Database
from swathe.jobs.records import Client, clean, from_text, to_text
from swathe.jobs.schema import clients, signing_keys

_SCRYPT_MEMORY_BYTES = 64 * 2**20
# A hash takes 16 MiB; a crowd at the token endpoint waits rather than taking them all at once.
_hashing = threading.BoundedSemaphore(2)


class ClientStore:
    """OAuth clients in the job store's database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def create(self, name: str, *, project_id: str | None = None) -> tuple[Client, str]:
        """A new client and its secret, which is not kept and cannot be shown again.

        Clients of one project see one another's requests; without `project_id` the client gets a project of its own.
        """
        secret = secrets.token_urlsafe(24)
        salt = secrets.token_bytes(16)
        name = clean(name)
        client = Client(
            id=str(uuid.uuid4()),
            name=name,
            project_id=project_id or str(uuid.uuid4()),
            created=datetime.now(UTC),
        )
        with self.database.write() as connection:
            connection.execute(
                insert(clients).values(
                    id=client.id,
                    name=name,
                    secret_salt=salt,
                    secret_hash=_hash(secret, salt),
                    project_id=client.project_id,
                    created=to_text(client.created),
                )
            )
        return client, secret

    def list(self) -> list[Client]:
        """All clients, oldest first."""
        with self.database.read() as connection:
            rows = connection.execute(select(clients).order_by(clients.c.created, clients.c.id)).all()
        return [Client(row.id, row.name, row.project_id, from_text(row.created)) for row in rows]

    def get(self, client_id: str) -> Client | None:
        """A client by its id."""
        with self.database.read() as connection:
            row = connection.execute(select(clients).where(clients.c.id == clean(client_id))).first()
        return None if row is None else Client(row.id, row.name, row.project_id, from_text(row.created))

    def delete(self, client_id: str) -> bool:
        """Removes a client, whose tokens are refused from now on; its requests stay. Whether there was one."""
        with self.database.write() as connection:
            return bool(connection.execute(delete(clients).where(clients.c.id == clean(client_id))).rowcount)

    def check_secret(self, client_id: str, secret: str) -> Client | None:
        """The client if this is its secret. Takes as long for an unknown client as for a wrong secret."""
        with self.database.read() as connection:
            row = connection.execute(select(clients).where(clients.c.id == clean(client_id))).first()
        salt, expected = (row.secret_salt, row.secret_hash) if row is not None else (b"\0" * 16, b"")
        if not hmac.compare_digest(_hash(secret, salt), expected) or row is None:
            return None
        return Client(row.id, row.name, row.project_id, from_text(row.created))


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
