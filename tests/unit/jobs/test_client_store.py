"""Clients, what they may do, their secrets and revoked tokens, on both databases."""

from __future__ import annotations

import time
import uuid

import pytest

from swathe.jobs.clients import ADMIN, ClientStore
from swathe.model.errors import RequestInvalid


@pytest.fixture
def clients(database):
    return ClientStore(database)


def test_scopes_are_kept_and_unknown_ones_refused(clients):
    plain, _ = clients.create("plain")
    operator, secret = clients.create("operator", scopes=[ADMIN, ADMIN])
    assert (plain.scopes, operator.scopes) == ((), (ADMIN,))
    assert clients.get(operator.id) == clients.check_secret(operator.id, secret) == operator
    with pytest.raises(RequestInvalid, match="no scope 'root'; possible are admin") as refused:
        clients.create("x", scopes=["root"])
    assert refused.value.parameter == "scopes"
    assert clients.list() == [plain, operator]


def test_new_secret_takes_the_place_of_the_old_one(clients):
    client, old = clients.create("me")
    new = clients.renew_secret(client.id)
    assert clients.check_secret(client.id, old) is None
    assert clients.check_secret(client.id, new).generation == 1
    assert clients.renew_secret(str(uuid.uuid4())) is None


def test_revoked_token_is_found_whoever_looks(clients):
    client, _ = clients.create("me")
    expires = int(time.time()) + 100
    assert clients.find_bearer(client.id, "t1") == (client, False)
    for _ in range(2):
        clients.revoke("t1", expires)
    assert ClientStore(clients.database).find_bearer(client.id, "t1") == (client, True)
    assert clients.find_bearer(client.id, "t2") == (client, False)
    assert clients.find_bearer("nobody", "t1") == (None, False)


def test_revoked_tokens_are_forgotten_when_they_have_expired(clients):
    client, _ = clients.create("me")
    now = int(time.time())
    for name, expires in (("gone", now - 1000), ("long gone", now - 5000), ("just expired", now - 10), ("good", now)):
        clients.revoke(name, expires)
    assert clients.forget_revoked() == 2
    assert clients.forget_revoked() == 0
    assert [clients.find_bearer(client.id, name)[1] for name in ("gone", "just expired", "good")] == [False, True, True]


def test_pages_of_clients_follow_each_other(clients):
    made = [clients.create(str(number))[0] for number in range(5)]
    found, token = [], None
    while True:
        some, token = clients.page(2, token)
        found.append([client.name for client in some])
        if token is None:
            break
        clients.delete(some[-1].id)  # what is gone does not shift the next page
    assert found == [["0", "1"], ["2", "3"], ["4"]]
    assert made[0].id in {client.id for client in clients.list()}
    with pytest.raises(RequestInvalid, match="no token of a page"):
        clients.page(2, "x\0")
