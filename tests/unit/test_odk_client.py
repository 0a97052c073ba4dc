"""Paths, links and answers of ODK Central."""

from __future__ import annotations

import pytest
import requests

from services.utils.errors import SourceError
from services.utils.odk import client
from services.utils.session import Verdict


def build_answer(status: int, body: bytes = b"", kind: str = "application/json") -> requests.Response:
    """An answer as requests gives it."""
    answer = requests.Response()
    answer.status_code = status
    answer._content = body
    answer.headers["Content-Type"] = kind
    return answer


def build_error(status: int, code: str, message: str = "Words.") -> requests.Response:
    """An error as Central words it."""
    return build_answer(status, f'{{"message":"{message}","code":{code}}}'.encode())


@pytest.mark.parametrize(
    ("parts", "path"),
    [
        ((1, "trees"), "/v1/projects/1/forms/trees"),
        (("7", "my form"), "/v1/projects/7/forms/my%20form"),
        ((1, "a/b+c?d#e%"), "/v1/projects/1/forms/a%2Fb%2Bc%3Fd%23e%25"),
        ((1, "анкета"), "/v1/projects/1/forms/%D0%B0%D0%BD%D0%BA%D0%B5%D1%82%D0%B0"),
        ((1, "f", "submissions", "uuid:1 ж"), "/v1/projects/1/forms/f/submissions/uuid%3A1%20%D0%B6"),
    ],
)
def test_form_path__encoding(parts: tuple[str | int, ...], path: str) -> None:
    """Every part is encoded by itself; a space is %20, never a plus."""
    assert client.form_path(*parts) == path


def test_feed_path__table() -> None:
    """The feed hangs on the form's path; a table of a repeat keeps its dots."""
    assert client.feed_path(1, "my form") == "/v1/projects/1/forms/my%20form.svc/Submissions"
    assert client.feed_path(1, "f", "Submissions.a.b").endswith("/f.svc/Submissions.a.b")


@pytest.mark.parametrize(
    "host", ["https://odk.example.org", "http://127.0.0.1:8383", "https://example.org/central/behind"]
)
def test_link_path__host_is_left_out(host: str) -> None:
    """Of a next link only path and query count, from /v1 on."""
    rest = "/v1/projects/1/forms/f.svc/Submissions?%24top=2&%24skiptoken=01eyJ%3D%3D"
    assert client.link_path(host + rest) == rest


def test_link_path__elsewhere() -> None:
    """A link that leads somewhere else is not followed."""
    with pytest.raises(SourceError, match="does not lead into its API"):
        client.link_path("https://example.org/login")


@pytest.mark.parametrize(
    ("status", "code", "verdict"),
    [
        (400, "400.18", Verdict.REFUSED),
        (401, "401.2", Verdict.RENEW),
        (401, "401.3", Verdict.REFUSED),
        (403, "403.1", Verdict.REFUSED),
        (404, "404.1", Verdict.REFUSED),
        (429, "429.1", Verdict.AGAIN),
        (500, "500.1", Verdict.UNKNOWN),
        (501, "501.5", Verdict.REFUSED),
        (501, "501.11", Verdict.REFUSED),
    ],
)
def test_judge__central_says_why(status: int, code: str, verdict: Verdict) -> None:
    """Central's own code is read as it is written: 501.1 and 501.11 are two different things."""
    judgement = client.judge(build_error(status, code))
    assert (judgement.verdict, judgement.code) == (verdict, code)


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (500, b'{"message":"Internal Server Error"}', Verdict.UNKNOWN),
        (502, b"<html>Bad Gateway</html>", Verdict.UNKNOWN),
        (503, b"", Verdict.UNKNOWN),
        (431, b"", Verdict.REFUSED),
        (414, b"<html>URI too long</html>", Verdict.REFUSED),
        (404, b"<html>nginx</html>", Verdict.REFUSED),
        (501, b"", Verdict.REFUSED),
        (302, b"", Verdict.REFUSED),
    ],
)
def test_judge__somebody_else_answers(status: int, body: bytes, verdict: Verdict) -> None:
    """Answers without a code of Central's are read by their status; a 501 is final all the same."""
    judgement = client.judge(build_answer(status, body, "text/html"))
    assert (judgement.verdict, judgement.code) == (verdict, "")


@pytest.mark.parametrize("body", [b"", b"<html></html>", b'{"value":[{"a":1},{"a"'])
def test_judge_json__cut(body: bytes) -> None:
    """A 200 that is not whole JSON is no answer: it may be had again."""
    assert client.judge_json(build_answer(200, body)).verdict is Verdict.UNKNOWN
    assert client.judge(build_answer(200, body)).verdict is Verdict.OK


def test_central__keeps_its_secrets() -> None:
    """The password stands in no repr."""
    assert "pw-secret" not in repr(vars(client.Central("http://127.0.0.1:1", "a@b.c", "pw-secret"))["_http"])
