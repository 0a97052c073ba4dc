"""The HTTP session against a real server: what is repeated, what is not, and what is said of it."""

from __future__ import annotations

import email.utils
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import requests

from dev.simulators.base import Answer, Request, Simulator
from services.utils import session as sessions
from services.utils.errors import (
    OutcomeUnknown,
    PublishError,
    RequestFailed,
    RequestRefused,
    SourceError,
    StoreError,
)
from services.utils.session import Backoff, HttpSession, Judgement, RateLimiter, Verdict

QUICK = Backoff(attempts=4, factor_s=0.01, max_wait_s=0.02, jitter_s=0.0, deadline_s=5.0)
SECRET = "s3cret-value"


class Echo(Simulator):
    """Answers every request with JSON that tells what it got, or as `say` decides."""

    def __init__(self) -> None:
        super().__init__()
        self.got: list[Request] = []
        self.say: Callable[[Request], Answer | None] = lambda request: None

    def answer(self, request: Request) -> Answer:
        """Carry the request out: it is kept in `got`."""
        with self.lock:
            self.got.append(request)
        return self.say(request) or Answer.json(
            {"method": request.method, "path": request.path, "query": request.query}
        )


@pytest.fixture
def echo() -> Iterator[Echo]:
    """A server that echoes."""
    with Echo() as server:
        yield server


def connect(server: Echo, **more: object) -> HttpSession:
    """A session that does not wait long."""
    return HttpSession(server.url, "Echo", StoreError, **{"backoff": QUICK, **more})


def test_request__sends_what_it_was_given(echo: Echo) -> None:
    """Method, path, query, body and headers arrive; standing headers come first, the request's own win."""
    http = connect(echo, headers={"X-A": "standing", "X-B": "standing"})
    answer = http.request(
        "POST",
        "/a/b",
        params=[("q", "1 +&"), ("z", "ü")],
        data=b"body",
        headers={"X-B": "own"},
        repeatable=False,
    )
    assert answer.json() == {"method": "POST", "path": "/a/b", "query": {"q": "1 +&", "z": "ü"}}
    got = echo.got[0]
    assert (got.body, got.header("X-A"), got.header("X-B")) == (b"body", "standing", "own")


def test_request__whole_url(echo: Echo) -> None:
    """A whole URL is taken as it is; a path that merely holds :// is not one."""
    http = HttpSession("http://127.0.0.1:9/never", "Echo", StoreError, backoff=QUICK)
    assert http.request("GET", f"{echo.url}/here", repeatable=True).json()["path"] == "/here"
    assert connect(echo).request("GET", "/r/http://x/y", repeatable=True).json()["path"] == "/r/http://x/y"


def test_request__headers_asked_before_each_try(echo: Echo) -> None:
    """Headers that are a function are asked for every try: a token that renews is never stale in a repeat."""
    tokens = iter(["one", "two", "three"])
    echo.faults.add("503", times=2)
    http = connect(echo, headers=lambda: {"X-Token": next(tokens)})
    http.request("GET", "/", repeatable=True)
    assert [request.header("X-Token") for request in echo.got] == ["three"]


@pytest.mark.parametrize("kind", ["408", "500", "502", "503", "504", "524", "reset", "cut", "html"])
def test_request__unknown_repeatable(echo: Echo, kind: str) -> None:
    """What may or may not have been carried out is repeated where that is harmless."""
    echo.faults.add(kind, times=2)
    assert connect(echo).request("GET", "/x", repeatable=True).json()["path"] == "/x"
    assert len(echo.requests) == 3


@pytest.mark.parametrize(
    "kind", ["500", "502", "503", "504", "after-504", "reset", "after-reset", "cut", "html", "after-html"]
)
def test_request__unknown_not_repeatable(echo: Echo, kind: str) -> None:
    """What must not happen twice is sent once, whatever comes back, and is told as unknown."""
    echo.faults.add(kind, times=None)
    with pytest.raises(OutcomeUnknown) as caught:
        connect(echo).request("POST", "/x", data=b"[]", repeatable=False)
    assert isinstance(caught.value, StoreError)
    assert not isinstance(caught.value, RequestRefused)
    assert len(echo.requests) == 1


def test_request__unknown_gives_up(echo: Echo) -> None:
    """After the last try the error says how often it was tried, with the status."""
    echo.faults.add("503", times=None)
    with pytest.raises(
        OutcomeUnknown, match=r"Echo GET /x \(page 3\): 503 .*gave up after 4 tries"
    ) as caught:
        connect(echo).request("GET", "/x", repeatable=True, what="page 3")
    assert caught.value.status == 503
    assert "Something went wrong" in caught.value.body
    assert len(echo.requests) == 4


def test_request__one_attempt(echo: Echo) -> None:
    """Attempts count tries, not repeats: one is one."""
    echo.faults.add("503", times=None)
    with pytest.raises(OutcomeUnknown):
        connect(echo).request("GET", "/x", repeatable=True, backoff=Backoff(attempts=1))
    assert len(echo.requests) == 1


def test_request__throttled(echo: Echo) -> None:
    """Throttling was surely not carried out: it is repeated, also where repeating is not safe otherwise."""
    echo.faults.add("429", times=6)
    connect(echo).request("POST", "/x", repeatable=False)
    assert (len(echo.requests), len(echo.got)) == (7, 1)
    echo.faults.add("429", times=None)
    with pytest.raises(RequestRefused, match=r"429 too many requests; gave up after \d+ tries, .* past 0 s"):
        connect(echo, backoff=replace(QUICK, deadline_s=0.1)).request("POST", "/x", repeatable=False)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 413, 422, 501])
def test_request__refused(echo: Echo, status: int) -> None:
    """A refusal is final: one request, an error of the system's own class with status and body beside it."""
    echo.say = lambda request: Answer.text("no: value 42", status)
    with pytest.raises(RequestRefused, match=rf"^Echo PUT /x: {status} ") as caught:
        connect(echo).request("PUT", "/x", repeatable=True)
    assert isinstance(caught.value, StoreError)
    assert (caught.value.status, caught.value.body) == (status, "no: value 42")
    assert "42" not in str(caught.value).replace(str(status), "")
    assert len(echo.requests) == 1


@pytest.mark.parametrize("error", [SourceError, StoreError, PublishError])
def test_request__error_classes(echo: Echo, error: type) -> None:
    """The error can be caught as the system's own, as a refusal, or as a failed request."""
    echo.faults.add("403", times=None)
    http = HttpSession(echo.url, "Echo", error, backoff=QUICK)
    for kind in (error, RequestRefused, RequestFailed):
        with pytest.raises(kind):
            http.request("GET", "/x", repeatable=True)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_request__redirect(echo: Echo, status: int) -> None:
    """A redirect is not followed: the sign-in would go along to another host."""
    echo.say = lambda request: Answer(status, b"", {"Location": f"{echo.url}/elsewhere"})
    with pytest.raises(RequestRefused, match=str(status)):
        connect(echo, headers={"Authorization": SECRET}).request("GET", "/x", repeatable=True)
    assert [request.path for request in echo.got] == ["/x"]


def test_request__renewed_once(echo: Echo) -> None:
    """A sign-in that ran out is renewed once and the request repeated, whatever it is."""
    token = ["old"]

    def judge(response: requests.Response) -> Judgement:
        if response.status_code == 401:
            return Judgement(Verdict.RENEW, "the token has run out")
        return sessions.judge_json(response)

    def renew() -> None:
        token[0] = "new"

    echo.say = lambda request: None if request.header("X-Token") == "new" else Answer(401)
    http = connect(echo, judge=judge, renew=renew, headers=lambda: {"X-Token": token[0]})
    http.request("POST", "/x", repeatable=False)
    assert [request.header("X-Token") for request in echo.got] == ["old", "new"]


def test_request__renewed_in_vain(echo: Echo) -> None:
    """A sign-in that is refused straight after renewing is final; so is one that cannot be renewed."""
    renewals: list[int] = []
    more = {"judge": lambda response: Judgement(Verdict.RENEW, "the token has run out")}
    with pytest.raises(RequestRefused, match="the token has run out"):
        connect(echo, renew=lambda: renewals.append(1), **more).request("GET", "/x", repeatable=True)
    assert (len(renewals), len(echo.got)) == (1, 2)
    with pytest.raises(RequestRefused):
        connect(echo, **more).request("GET", "/x", repeatable=True)
    assert len(echo.got) == 3


def test_request__retry_after_seconds(echo: Echo) -> None:
    """The server's own wait in seconds is kept, in place of the back-off."""
    echo.faults.add("429", headers={"Retry-After": "1"})
    started = time.monotonic()
    connect(echo).request("GET", "/x", repeatable=True)
    assert time.monotonic() - started >= 1


def test_request__retry_after_nothing(echo: Echo) -> None:
    """A throttling server that asks for no wait at all, or for one until a date gone by, is not hammered."""
    long_ago = email.utils.formatdate(0, usegmt=True)
    backoff = Backoff(attempts=4, factor_s=0.1, max_wait_s=0.1, jitter_s=0.0, deadline_s=0.45)
    for wish in ("0", long_ago):
        echo.faults.add("429", times=None, headers={"Retry-After": wish})
        with pytest.raises(RequestRefused):
            connect(echo).request("GET", "/x", repeatable=True, backoff=backoff)
        echo.faults.clear()
    assert len(echo.requests) <= 2 * 5


def test_retry_after_s__forms(echo: Echo) -> None:
    """Seconds, a date to come, a date gone by; anything else is no wish."""

    def read(value: str | None) -> float | None:
        response = requests.Response()
        if value is not None:
            response.headers["Retry-After"] = value
        return sessions.retry_after_s(response)

    assert read("7") == 7.0
    assert read(" 7 ") == 7.0
    soon = email.utils.formatdate(time.time() + 60, usegmt=True)
    assert 55 < read(soon) <= 60
    assert read(email.utils.formatdate(time.time() - 60, usegmt=True)) == 0.0
    for nothing in (None, "", "soon", "-1", "1.5x", "Mon, 99 Foo 2025"):
        assert read(nothing) is None


def test_request__deadline(echo: Echo) -> None:
    """A wait that would pass the deadline ends the trying at once, and the error says so."""
    echo.faults.add("429", times=None, headers={"Retry-After": "3600"})
    with pytest.raises(RequestRefused, match="gave up after 1 tries, the next one would be past 5 s"):
        connect(echo).request("GET", "/x", repeatable=True)
    assert len(echo.requests) == 1


def test_request__backs_off(echo: Echo, caplog: pytest.LogCaptureFixture) -> None:
    """Waits grow from try to try, up to the longest; every repeat is told in the log."""
    caplog.set_level(logging.INFO)
    echo.faults.add("503", times=4)
    backoff = Backoff(attempts=5, factor_s=0.1, max_wait_s=0.3, jitter_s=0.0)
    connect(echo).request("GET", "/x", repeatable=True, backoff=backoff)
    waits = [line.partition("again in ")[2] for line in caplog.messages]
    assert waits == ["0.1 s (try 2)", "0.2 s (try 3)", "0.3 s (try 4)", "0.3 s (try 5)"]


def test_request__no_answer_in_time(echo: Echo) -> None:
    """A server that does not answer in time leaves the outcome open."""
    echo.faults.add("hang", times=None, seconds=0.3)
    with pytest.raises(OutcomeUnknown, match="no answer in time|connection was lost"):
        connect(echo).request("POST", "/x", repeatable=False, timeout_s=(1.0, 0.05))
    assert len(echo.got) == 1


def test_request__nobody_there() -> None:
    """A port where nobody listens, and a host that does not exist, are told in plain words."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        http = HttpSession(f"http://127.0.0.1:{port}", "Echo", StoreError, backoff=QUICK)
        with pytest.raises(OutcomeUnknown, match="connection refused.*gave up after 4 tries"):
            http.request("GET", "/x?key=1", repeatable=True)


def test_request__cut_in_chunks() -> None:
    """An answer in chunks that ends before its last chunk is not taken for whole."""
    body = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n[1, \r\n"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(body)

        threading.Thread(target=serve, daemon=True).start()
        http = HttpSession(f"http://127.0.0.1:{listener.getsockname()[1]}", "Echo", StoreError)
        with pytest.raises(OutcomeUnknown, match="cut short"):
            http.request("POST", "/x", repeatable=False)


@pytest.mark.parametrize(
    ("body", "good"),
    [
        (b'{"a":1}', True),
        (b"[]", True),
        (b'"\\ud83d"', True),
        (b'{"a":', False),
        (b"", False),
        (b"<p>", False),
    ],
)
def test_judge_json__bodies(echo: Echo, body: bytes, good: bool) -> None:
    """A 2xx answer must be one whole JSON value; 204 needs none."""
    echo.say = lambda request: Answer(200, body, {"Content-Type": "application/json"})
    if good:
        assert connect(echo).request("GET", "/x", repeatable=True).content == body
    else:
        with pytest.raises(
            OutcomeUnknown, match=rf"200 the body is not JSON \(application/json, {len(body)} bytes"
        ):
            connect(echo).request("GET", "/x", repeatable=True)
    echo.say = lambda request: Answer(204)
    assert connect(echo).request("GET", "/x", repeatable=True).status_code == 204


def test_request__no_secrets_in_messages(echo: Echo, caplog: pytest.LogCaptureFixture) -> None:
    """Neither errors nor log lines hold the query, headers, bodies or answers: there may be secrets in each."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("urllib3").setLevel(logging.WARNING)
    http = connect(echo, headers={"Authorization": SECRET}, backoff=Backoff(attempts=2, factor_s=0.01))
    echo.say = lambda request: Answer.text(SECRET, 503)
    failures = []
    for kind in ("", "reset", "403", "302"):
        if kind:
            echo.faults.add(kind, times=None)
        with pytest.raises(StoreError) as caught:
            http.request(
                "POST", f"/x?token={SECRET}", params=[("key", SECRET)], data=SECRET.encode(), repeatable=True
            )
        failures.append(str(caught.value))
        echo.faults.clear()
    with pytest.raises(StoreError) as caught:
        HttpSession("http://127.0.0.1:9", "Echo", StoreError, backoff=QUICK).request(
            "GET", f"/x?token={SECRET}", params=[("key", SECRET)], repeatable=True
        )
    failures.append(str(caught.value))
    assert all(line.startswith("Echo ") and "/x" in line for line in failures)
    assert SECRET not in " ".join(failures) + caplog.text
    assert SECRET not in repr(http)


def test_request__no_netrc(echo: Echo, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """No sign-in slips in from .netrc."""
    (tmp_path / "netrc").write_text("default login me password hush\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    connect(echo).request("GET", "/x", repeatable=True)
    assert echo.got[0].header("Authorization") == ""


def test_request__proxy_of_the_environment(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that the environment names is used, as in a network that has no other way out."""
    monkeypatch.setenv("http_proxy", echo.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    http = HttpSession("http://knack.invalid", "Knack", SourceError)
    http.request("GET", "/x", repeatable=True)
    assert echo.got[0].header("Host") == "knack.invalid"


def test_rate_limiter__rate() -> None:
    """However many threads hold it, no more start in any stretch of time than the rate allows."""
    limiter = RateLimiter(50)
    starts: list[float] = []

    def work() -> None:
        for _ in range(8):
            limiter.wait()
            starts.append(time.monotonic())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(starts) == 32
    # 32 starts are 31 gaps of a fiftieth of a second; the first costs nothing.
    assert max(starts) - min(starts) >= 31 / 50 - 0.01


def test_rate_limiter__shared_by_the_session(echo: Echo) -> None:
    """Every try passes the limiter, repeats too."""
    echo.faults.add("429", times=3)
    http = connect(echo, limiter=RateLimiter(20))
    started = time.monotonic()
    http.request("GET", "/x", repeatable=True)
    http.request("GET", "/x", repeatable=True)
    assert len(echo.requests) == 5
    assert time.monotonic() - started >= 4 / 20 - 0.01


def test_request__read_takes_the_body_anew_with_each_try(echo: Echo) -> None:
    """A body that is cut is read again from its start; a refusal's body is no file."""
    content = bytes(range(256)) * 1000
    echo.say = lambda request: Answer(200 if request.path == "/file" else 404, content)
    taken: list[bytes] = []

    def read(response: requests.Response) -> None:
        taken.append(b"")
        for piece in response.iter_content(10_000):
            taken[-1] += piece

    echo.faults.add("cut")
    answer = connect(echo, judge=sessions.judge_status).request("GET", "/file", repeatable=True, read=read)
    assert (len(taken), taken[-1], answer.content) == (2, content, b"")
    with pytest.raises(RequestRefused) as caught:
        connect(echo, judge=sessions.judge_status).request("GET", "/none", repeatable=True, read=read)
    assert caught.value.status == 404 and len(taken) == 2
