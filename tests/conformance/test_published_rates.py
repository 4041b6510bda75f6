"""The published package meets a rate limit of a running server: it waits as it is told, and then succeeds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
import sentinelhub
from sentinelhub.exceptions import SHRateLimitWarning

from serving import Serving

pytestmark = pytest.mark.xdist_group("http")

BATCH = "/api/v2/batch/process"
PER_MINUTE = 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("rates")
    config = folder / "config.toml"
    config.write_text(f"[rate_limits]\nrequests_per_minute = {PER_MINUTE}\n[dask]\nworkers = 1\n")
    with Serving(folder / "home", config=config) as running:
        yield running


def test_published_client_waits_and_then_succeeds(server: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    made = server.client("published")
    config = sentinelhub.SHConfig(use_defaults=True)
    config.sh_client_id, config.sh_client_secret = made["client_id"], made["client_secret"]
    config.sh_base_url, config.sh_token_url = server.url, f"{server.url}/oauth/token"
    client = sentinelhub.BatchProcessClient(config)
    assert list(client.iter_requests()) == []
    with closing(server.session(made)) as http:
        for _ in range(PER_MINUTE + 5):
            answer = http.get(BATCH)
            if answer.status_code == 429:
                break
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 60_000 / PER_MINUTE
    with pytest.warns(SHRateLimitWarning):
        assert list(client.iter_requests()) == []
