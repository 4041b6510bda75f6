"""Tokens, attempts and errors of the HTTP session."""

from __future__ import annotations

import pickle
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from swathe.client import (
    AnswerInvalid,
    AuthenticationFailed,
    ConfigInvalid,
    RateLimited,
    RequestFailed,
    ServiceUnavailable,
    Session,
    SHConfig,
)
from swathe.client.sending import DEFAULT_RETRY_AFTER_MS, MAX_RETRY_AFTER_MS, MIN_RETRY_AFTER_MS, retry_after_ms
from swathe.client.tokens import TokenSource

TOKEN_URL = "http://service/oauth/token"
URL = "http://service/api/v1/statistics/batch"


class Service:
    """Gives tokens t1, t2, … and to all else the scripted answers in turn, the last one again and again."""

    def __init__(self, *answers: httpx.Response | Exception, expires_in: int = 3600) -> None:
        self.answers = list(answers)
        self.token_answers: list[httpx.Response] = []
        self.expires_in = expires_in
        self.tokens = 0
        self.requests: list[httpx.Request] = []
        self.pauses: list[float] = []
        self.now = 0.0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if str(request.url) == TOKEN_URL:
            if self.token_answers:
                return self.token_answers.pop(0)
            self.tokens += 1
            self.form = request.content.decode()
            return httpx.Response(200, json={"access_token": f"t{self.tokens}", "expires_in": self.expires_in})
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def session(self, **settings: Any) -> Session:
        values = {"sh_client_id": "me", "sh_client_secret": "hu$h & co", **settings}
        config = SHConfig(use_defaults=True, sh_base_url="http://service", sh_token_url=TOKEN_URL, **values)
        tokens = TokenSource(TOKEN_URL, config.sh_client_id, config.sh_client_secret, clock=lambda: self.now)
        transport = httpx.MockTransport(self)
        return Session(config, tokens=tokens, transport=transport, sleep=self.pauses.append)

    @property
    def used_tokens(self) -> list[str]:
        return [request.headers["Authorization"].removeprefix("Bearer ") for request in self.requests]


def ok() -> httpx.Response:
    return httpx.Response(200, json={"ok": True})


def test_the_token_is_asked_for_with_a_form_and_kept() -> None:
    service = Service(ok())
    session = service.session()
    assert session.request("GET", URL) == {"ok": True}
    assert session.request("GET", URL) == {"ok": True}
    assert service.form == "grant_type=client_credentials&client_id=me&client_secret=hu%24h+%26+co"
    assert service.used_tokens == ["t1", "t1"]
    assert service.requests[0].headers["User-Agent"].startswith("swathe-client/")


@pytest.mark.parametrize(("passed_s", "token"), [(3479, "t1"), (3480, "t2"), (4000, "t2")])
def test_the_token_is_renewed_when_it_has_120_s_or_less(passed_s: float, token: str) -> None:
    service = Service(ok())
    session = service.session()
    session.request("GET", URL)
    service.now = passed_s
    session.request("GET", URL)
    assert service.used_tokens == ["t1", token]


def test_a_refused_token_is_renewed_once() -> None:
    service = Service(httpx.Response(401), ok())
    assert service.session().request("GET", URL) == {"ok": True}
    assert service.used_tokens == ["t1", "t2"]


def test_a_fresh_token_that_is_refused_too_is_an_error() -> None:
    service = Service(httpx.Response(401, json={"error": {"status": 401, "message": "who?", "code": "C"}}))
    with pytest.raises(AuthenticationFailed, match=r"401 Unauthorized: who\? \(C\)"):
        service.session().request("GET", URL)
    assert service.used_tokens == ["t1", "t2"]


def test_many_threads_fetch_one_token() -> None:
    service = Service(ok())
    session = service.session()
    threads = [threading.Thread(target=session.request, args=("GET", URL)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert service.tokens == 1
    assert len(service.requests) == 8


def test_wrong_credentials_are_an_error_without_the_secret() -> None:
    service = Service(ok())
    body = {"error": "invalid_client", "error_description": "hu$h & co is wrong"}
    service.token_answers = [httpx.Response(401, json=body)]
    with pytest.raises(AuthenticationFailed, match="client id 'me'") as caught:
        service.session().request("GET", URL)
    assert "invalid_client" in str(caught.value)
    assert "hu$h" not in str(caught.value)
    assert service.requests == []


def test_a_token_endpoint_that_is_down_is_asked_again() -> None:
    service = Service(ok())
    service.token_answers = [httpx.Response(503), httpx.Response(503)]
    assert service.session().request("GET", URL) == {"ok": True}
    assert service.pauses == [5, 15]


def test_credentials_do_not_follow_a_redirect() -> None:
    service = Service(ok())
    service.token_answers = [httpx.Response(307, headers={"Location": "http://elsewhere/token"})]
    with pytest.raises(AuthenticationFailed, match="307"):
        service.session().request("GET", URL)
    assert service.requests == []


def test_other_requests_follow_a_redirect() -> None:
    service = Service(httpx.Response(307, headers={"Location": URL + "/"}), ok())
    assert service.session().request("POST", URL, body={"a": 1}) == {"ok": True}
    assert service.requests[1].content == service.requests[0].content


@pytest.mark.parametrize("body", [{"token": "x"}, ["x"], None])
def test_an_answer_without_a_token_is_an_error(body: Any) -> None:
    service = Service(ok())
    service.token_answers = [httpx.Response(200, json=body)]
    with pytest.raises(AuthenticationFailed, match="no access_token"):
        service.session().request("GET", URL)


def test_no_credentials_are_an_error_before_anything_is_sent() -> None:
    service = Service(ok())
    with pytest.raises(ConfigInvalid, match="SH_CLIENT_ID"):
        service.session(sh_client_id="").request("GET", URL)


@pytest.mark.parametrize("problem", [httpx.Response(502), httpx.ConnectError("refused"), httpx.ReadTimeout("slow")])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_broken_service_is_asked_again_after_growing_pauses(problem: Any, method: str) -> None:
    service = Service(problem, problem, problem, ok())
    assert service.session().request(method, URL) == {"ok": True}
    assert service.pauses == [5, 15, 45]


def test_a_service_that_stays_broken_is_given_up() -> None:
    service = Service(httpx.Response(500, json={"error": {"message": "oops", "code": "COMMON_EXCEPTION"}}))
    with pytest.raises(ServiceUnavailable, match=r"500 .*: oops \(COMMON_EXCEPTION\) \(3 attempts\)") as caught:
        service.session(max_download_attempts=3, download_sleep_time=0.5).request("GET", URL)
    assert caught.value.status == 500
    assert service.pauses == [0.5, 1.5]


def test_a_closed_port_is_service_unavailable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    config = SHConfig(
        use_defaults=True, sh_client_id="me", sh_client_secret="s", sh_base_url=url, sh_auth_base_url=url,
        max_download_attempts=2, download_sleep_time=0.01,
    )  # fmt: skip
    with Session(config) as session, pytest.raises(ServiceUnavailable, match="ConnectError"):
        session.request("GET", url)


def test_the_rate_limit_is_waited_for_in_milliseconds() -> None:
    service = Service(
        httpx.Response(429, headers={"Retry-After": "2500"}), httpx.Response(429), httpx.Response(429), ok()
    )
    assert service.session(max_download_attempts=1).request("GET", URL) == {"ok": True}
    assert service.pauses == [2.5, 30, 30]


def test_a_rate_limit_without_end_is_given_up() -> None:
    body = {"status": 429, "reason": "Too Many Requests", "message": "slow down", "code": "RATE_LIMIT_EXCEEDED"}
    service = Service(httpx.Response(429, json=body, headers={"Retry-After": "1"}))
    with pytest.raises(RateLimited, match=r"slow down \(RATE_LIMIT_EXCEEDED\) \(4 times\)"):
        service.session(max_retries=3).request("GET", URL)
    assert len(service.requests) == 4


@pytest.mark.parametrize(
    ("header", "expected_ms"),
    [
        ("2000", 2000),
        ("0", MIN_RETRY_AFTER_MS),
        ("-5", MIN_RETRY_AFTER_MS),
        ("999999999", MAX_RETRY_AFTER_MS),
        ("Wed, 21 Oct 2015 07:28:00 GMT", DEFAULT_RETRY_AFTER_MS),
        ("", DEFAULT_RETRY_AFTER_MS),
    ],
)
def test_retry_after_is_bounded(header: str, expected_ms: int) -> None:
    assert retry_after_ms(httpx.Headers({"retry-after": header})) == expected_ms


def test_a_clear_no_says_it_once_and_a_stand_in_for_a_key_hides_no_words() -> None:
    said = "output->s3->url: must be an address of a company, any"
    details = {"parameter": "output->s3->url", "violation": said}
    error = {"message": said, "code": "COMMON_BAD_PAYLOAD", "errors": details}
    service = Service(httpx.Response(400, json={"error": error}))
    body = {"output": {"s3": {"url": "s3://out", "accessKey": "any", "secretAccessKey": "any"}}}
    with pytest.raises(RequestFailed) as caught:
        service.session().request("POST", URL, body=body)
    shown = said.removesuffix("any") + "********"
    assert str(caught.value) == f"POST {URL}: 400 Bad Request: {shown} (COMMON_BAD_PAYLOAD)"


def test_a_clear_no_is_an_error_with_the_provider_s_words_and_no_secret() -> None:
    error = {
        "status": 400,
        "reason": "Bad Request",
        "message": "Invalid request for SK-123 and t1",
        "code": "COMMON_BAD_PAYLOAD",
        "errors": {"parameter": "output->s3", "violation": "SK-123 is no key"},
    }
    service = Service(httpx.Response(400, json={"error": error}))
    body = {"output": {"s3": {"url": "s3://out", "accessKey": "AK", "secretAccessKey": "SK-123"}}}
    with pytest.raises(RequestFailed) as caught:
        service.session().request("POST", URL + "?viewtoken=abc", body=body)
    text = str(caught.value)
    assert text.startswith(f"POST {URL}: 400 Bad Request: Invalid request for ********")
    assert "output->s3" in text
    assert "COMMON_BAD_PAYLOAD" in text
    assert "SK-123" not in text
    assert "t1" not in text
    assert (caught.value.status, caught.value.error_code) == (400, "COMMON_BAD_PAYLOAD")
    assert service.pauses == []
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.status, again.error_code) == (text, 400, "COMMON_BAD_PAYLOAD")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (httpx.Response(404, text="nothing here"), "404 Not Found: nothing here"),
        (httpx.Response(404, html="<html><body>nginx</body></html>"), "404 Not Found"),
        (httpx.Response(422, json={"detail": [{"loc": ["x"]}]}), '[{"loc": ["x"]}]'),
        (httpx.Response(400, json={"code": "400", "description": "no such collection"}), ": no such collection"),
        (httpx.Response(403, json=["odd"]), '["odd"]'),
        (httpx.Response(400, json={"error": None}), "400 Bad Request"),
    ],
)
def test_every_error_shape_has_a_text(answer: httpx.Response, text: str) -> None:
    with pytest.raises(RequestFailed) as caught:
        Service(answer).session().request("GET", URL)
    assert text in str(caught.value)


def test_answers_without_a_body_are_an_empty_text_and_others_must_be_json() -> None:
    assert Service(httpx.Response(204)).session().request("POST", URL) == ""
    with pytest.raises(AnswerInvalid, match="not JSON"):
        Service(httpx.Response(200, text="<html>")).session().request("GET", URL)
    with pytest.raises(AnswerInvalid, match="a list, not an object"):
        Service(httpx.Response(200, json=[])).session().request_dict("GET", URL)


@pytest.mark.parametrize("base_url", ["service.example", "ftp://service.example", "http://service:port"])
def test_a_base_url_that_is_none_is_told(base_url: str) -> None:
    config = SHConfig(
        use_defaults=True, sh_client_id="m", sh_client_secret="s", sh_base_url=base_url, sh_auth_base_url=base_url
    )
    with Session(config) as session, pytest.raises(ConfigInvalid, match=r"is no http\(s\) URL"):
        session.request("GET", base_url)


def test_renewal_by_many_threads_fetches_one_token() -> None:
    service = Service(ok())
    session = service.session()
    sender, tokens = session._sender, session._tokens
    first = tokens.get(sender)
    renewed: list[str] = []
    renew: Callable[[], None] = lambda: renewed.append(tokens.renew(sender, first))  # noqa: E731
    threads = [threading.Thread(target=renew) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert renewed == ["t2"] * 8


def test_sessions_with_the_same_credentials_share_a_token() -> None:
    service = Service(ok())
    name = f"client-{time.monotonic_ns()}"
    config = SHConfig(use_defaults=True, sh_client_id=name, sh_client_secret="s", sh_token_url=TOKEN_URL)
    for _ in range(3):
        with Session(config, transport=httpx.MockTransport(service)) as session:
            session.request("GET", URL)
    assert service.tokens == 1
