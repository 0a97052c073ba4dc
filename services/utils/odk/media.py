"""Media of submissions: which files Central expects and has, which field names each, and their bytes.

Source of the rules: Central's API documentation and answers recorded from a real server. A file's ETag is the MD5
of its bytes; a Central that keeps its files in S3 sends on to a link, good for a minute, whose path ends in the
SHA-1 of the bytes, knows no conditions, and must not be sent the sign-in.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urljoin, urlsplit

import msgspec

from services.utils.errors import RequestFailed, RequestRefused, SourceError, Stopped
from services.utils.filetypes import HEAD_BYTES
from services.utils.odk.client import Central, form_path, judge
from services.utils.odk.schema import Form
from services.utils.session import OK, Backoff, HttpSession, Judgement, Verdict, Waits, judge_status, pause

if TYPE_CHECKING:
    import requests

log = logging.getLogger(__name__)

# Behind a proxy in trouble a third of requests may fail for a while; a file is not given up for that.
BACKOFF = Backoff(attempts=12, factor_s=0.3, max_wait_s=8.0, deadline_s=240.0)
# A link is good for a minute: what cannot be had with it soon is asked for again.
_LINK_BACKOFF = Backoff(attempts=3, factor_s=0.2, max_wait_s=2.0, deadline_s=30.0)
_PIECE = 256 * 1024
_MD5 = re.compile(r'(?:W/)?"([0-9a-f]{32})"')
_BLOB = re.compile(r"blob-\d+-([0-9a-f]{40})$")
_REDIRECTS = (302, 303, 307)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that a submission names. exists: whether Central has it."""

    name: str
    exists: bool


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A file that came. head: its first bytes. said: the content type as Central gave it."""

    size: int
    md5: str
    sha1: str
    head: bytes
    said: str


class Media:
    """The media of one form. Safe to use by several threads.

    stop: set, it ends what is being read. pool: connections that are kept.
    """

    def __init__(
        self,
        central: Central,
        project_id: str,
        form_id: str,
        stop: threading.Event | None = None,
        pool: int = 8,
    ) -> None:
        self._central = central
        self._project_id = project_id
        self._form_id = form_id
        self._stop = stop or threading.Event()
        self._pool = pool
        self._lock = threading.Lock()
        self._hosts: dict[str, HttpSession] = {}

    def close(self) -> None:
        """Close the connections to file stores; Central's are its own."""
        for host in self._hosts.values():
            host.close()

    def fetch_list(self, instance_id: str) -> list[Attachment] | None:
        """The files that a submission names, by name; None if it is not there (any more).

        Raises: SourceError.
        """
        path = self._path(instance_id, "attachments")
        lists: list[list[Attachment]] = []

        def judge_list(response: requests.Response) -> Judgement:
            judgement = judge(response)
            if judgement is OK:
                try:
                    lists.append(msgspec.json.decode(response.content, type=list[Attachment]))
                except msgspec.DecodeError:
                    return Judgement(Verdict.UNKNOWN, "the body is no list of attachments")
            return judgement

        try:
            self._central.request(
                "GET", path, judge=judge_list, backoff=BACKOFF, what=f"attachments of {instance_id}"
            )
        except RequestRefused as error:
            if error.status == 404:
                return None
            raise
        return lists[-1]

    def fetch_edited_at(self, instance_id: str) -> str | None:
        """When a submission was last edited or reviewed, as Central writes it; None if never, or if it is not there."""
        try:
            found = self._central.get_json(self._path(instance_id), what=f"submission {instance_id}")
        except RequestRefused as error:
            if error.status == 404:
                return None
            raise
        return found.get("updatedAt") if isinstance(found, dict) else None

    def fetch_file(
        self, instance_id: str, name: str, into: BinaryIO, *, md5: str = "", sha1: str = ""
    ) -> FetchedFile | None:
        """A file's bytes, written from the start of `into`; None if it is the one that is known.

        Args:
            md5, sha1: of the file as it is known, hex digits; "" takes it whatever it is.
        Raises: SourceError, mixed with RequestRefused of status 404 where Central does not have it.
        """
        what = f"{name} of {instance_id}"
        path = self._path(instance_id, "attachments", name)
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        if md5:
            headers["If-None-Match"] = f'"{md5}"'
        waits = Waits(BACKOFF)
        for tries in range(1, BACKOFF.attempts + 1):
            sink = _Sink(into, self._stop)
            response = self._central.request(
                "GET",
                path,
                headers=headers,
                judge=sink.judge,
                read=sink.read,
                backoff=BACKOFF,
                what=what,
            )
            if response.status_code == 304:
                return None
            if response.status_code == 200:
                return sink.tell(response)
            link = urljoin(response.url, response.headers.get("Location", ""))
            named = _BLOB.search(urlsplit(link).path)
            if named and named[1] == sha1:
                return None
            try:
                return self._fetch_link(link, into, named[1] if named else "", what)
            except RequestFailed as error:
                # Its time may be over, or its store in trouble: Central is asked for another link.
                wait_s = waits.find_next()
                if tries == BACKOFF.attempts or wait_s is None:
                    raise
                log.info("%s; asking for another link", error)
                pause(wait_s)
        raise AssertionError("the last try returns or raises")

    def compare_file(self, instance_id: str, name: str, *, md5: str = "", sha1: str = "") -> bool:
        """Whether Central's file is surely the known one, found without its bytes.

        Raises: as `fetch_file`.
        """
        response = self._central.request(
            "HEAD",
            self._path(instance_id, "attachments", name),
            judge=_judge_head,
            backoff=BACKOFF,
            what=f"{name} of {instance_id}",
        )
        if response.status_code == 200:
            return bool(md5) and _read_md5(response) == md5
        named = _BLOB.search(urlsplit(response.headers.get("Location", "")).path)
        return bool(sha1) and named is not None and named[1] == sha1

    def _fetch_link(self, link: str, into: BinaryIO, sha1: str, what: str) -> FetchedFile:
        parts = urlsplit(link)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SourceError(f"ODK Central sends on to no address for {what}. The file was not copied.")
        sink = _Sink(into, self._stop, sha1)
        response = self._find_host(f"{parts.scheme}://{parts.netloc}").request(
            "GET",
            link,
            repeatable=True,
            headers={"Accept-Encoding": "identity"},
            judge=sink.judge_stored,
            read=sink.read,
            what=what,
        )
        return sink.tell(response)

    def _find_host(self, origin: str) -> HttpSession:
        """A session without a sign-in: the link is one."""
        with self._lock:
            if origin not in self._hosts:
                self._hosts[origin] = HttpSession(
                    origin,
                    "ODK Central's file store",
                    SourceError,
                    timeout_s=(10.0, 60.0),
                    backoff=_LINK_BACKOFF,
                    pool=self._pool,
                )
            return self._hosts[origin]

    def _path(self, instance_id: str, *more: str) -> str:
        return form_path(self._project_id, self._form_id, "submissions", instance_id, *more)


class _Sink:
    """Takes one file, and knows what came. sha1: what it must be, "" if not known."""

    def __init__(self, into: BinaryIO, stop: threading.Event, sha1: str = "") -> None:
        self._into = into
        self._stop = stop
        self._wanted = sha1
        self._start()

    def _start(self) -> None:
        self._into.seek(0)
        self._into.truncate()
        self.size = 0
        self.head = b""
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha1 = hashlib.sha1(usedforsecurity=False)

    def read(self, response: requests.Response) -> None:
        """Write the body to the file, piece by piece."""
        self._start()
        for piece in response.iter_content(_PIECE):
            if self._stop.is_set():
                raise Stopped("Stopped while a file was read.")
            if len(self.head) < HEAD_BYTES:
                self.head += piece[: HEAD_BYTES - len(self.head)]
            self._md5.update(piece)
            self._sha1.update(piece)
            self._into.write(piece)
            self.size += len(piece)

    def judge(self, response: requests.Response) -> Judgement:
        """Central's own answer: the file, "the same as you know", or "look there"."""
        if response.status_code == 304:
            return OK
        if response.status_code in _REDIRECTS and response.headers.get("Location"):
            return OK
        if response.status_code != 200:
            return judge(response)
        md5 = _read_md5(response)
        if md5 and md5 != self._md5.hexdigest():
            return Judgement(Verdict.UNKNOWN, "other bytes came than its ETag tells")
        if not md5 and "Content-Disposition" not in response.headers:
            return Judgement(Verdict.UNKNOWN, "what came is not an attachment")
        return self._judge_size(response)

    def judge_stored(self, response: requests.Response) -> Judgement:
        """The answer of the store that Central sent on to."""
        if response.status_code != 200:
            return judge_status(response)
        if self._wanted and self._sha1.hexdigest() != self._wanted:
            return Judgement(Verdict.UNKNOWN, "other bytes came than its name tells")
        if not self._wanted and "ETag" not in response.headers:
            return Judgement(Verdict.UNKNOWN, "what came is not an object")
        return self._judge_size(response)

    def tell(self, response: requests.Response) -> FetchedFile:
        """What came."""
        return FetchedFile(
            self.size,
            self._md5.hexdigest(),
            self._sha1.hexdigest(),
            self.head,
            response.headers.get("Content-Type", ""),
        )

    def _judge_size(self, response: requests.Response) -> Judgement:
        length = response.headers.get("Content-Length", "")
        if length.isdigit() and "Content-Encoding" not in response.headers and int(length) != self.size:
            return Judgement(Verdict.UNKNOWN, "the file was cut short")
        return OK


def find_files(record: dict[str, Any], form: Form) -> dict[str, str]:
    """Which field names which file: {file name: field path}, the first field where several name one.

    The path has the form's own names and the rows of repeats, counted from 1: "person_details[2]/photo".
    """
    found: dict[str, str] = {}
    for one in form.binary_fields:
        names = one.path.strip("/").split("/")
        for value, path in _walk(record, one.odata_path, names, ""):
            if isinstance(value, str) and value:
                found.setdefault(value, path)
    return found


def _walk(value: Any, keys: tuple[str, ...], names: list[str], path: str) -> Iterator[tuple[Any, str]]:
    """(value, path with the rows of repeats) of every place that the keys lead to."""
    if not keys:
        yield value, path
        return
    if not isinstance(value, dict):
        return
    inner = value.get(keys[0])
    here = f"{path}/{names[0]}" if path else names[0]
    if isinstance(inner, list):
        for number, row in enumerate(inner, 1):
            yield from _walk(row, keys[1:], names[1:], f"{here}[{number}]")
    else:
        yield from _walk(inner, keys[1:], names[1:], here)


def _judge_head(response: requests.Response) -> Judgement:
    if response.status_code in _REDIRECTS and response.headers.get("Location"):
        return OK
    if response.status_code == 200 and not _read_md5(response):
        return Judgement(Verdict.UNKNOWN, "what came is not an attachment")
    return judge(response)


def _read_md5(response: requests.Response) -> str:
    found = _MD5.fullmatch(response.headers.get("ETag", ""))
    return found[1] if found else ""
