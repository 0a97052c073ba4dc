"""S3: moto's, behind what every simulator shares, and with the checks that Amazon makes and moto does not.

    with S3Simulator() as s3:
        ... requests to s3.url with s3.access_key and s3.secret_key, bucket s3.bucket ...
        assert s3.objects() == {"a/b.jpg": b"..."}

Refused here as by Amazon: a signature that is not right (also of a link), a link whose time is over, a sign-in
twice, an upload that was completed or given up, a body that is not what was signed or what its Content-MD5 says.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import io
import sys
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from dev.simulators.base import Answer, Request, Simulator


@dataclass(frozen=True)
class Stored:
    """An object in a bucket."""

    content: bytes
    content_type: str
    metadata: dict[str, str]
    etag: str


class S3Simulator(Simulator):
    """An S3 with one key and one bucket. moto holds its state for the whole process, so start one at a time.

    writes: keys of objects, each time one was stored. clock: seconds that its clock is ahead of this machine's.
    """

    def __init__(self, seed: int = 0, port: int = 0, *, bucket: str = "survey-media") -> None:
        super().__init__(seed, port)
        from moto.moto_server.werkzeug_app import create_backend_app

        self.access_key = "AKIASIMULATOR0000001"
        self.secret_key = "simulated/secret+key"
        self.region = "eu-central-1"
        self.bucket = bucket
        self.clock = 0.0
        self.writes: list[str] = []
        self._app = create_backend_app("s3")
        self._backend().reset()
        self.create_bucket(bucket)

    def env(self) -> dict[str, str]:
        """What a script needs to find it."""
        return {
            "AWS_ACCESS_KEY": self.access_key,
            "AWS_SECRET_KEY": self.secret_key,
            "AWS_BUCKET_NAME": self.bucket,
            "AWS_REGION": self.region,
            "AWS_ENDPOINT_URL_S3": self.url,
        }

    def create_bucket(self, name: str) -> None:
        """A new bucket."""
        with self.lock:
            self._backend().create_bucket(name, self.region)

    def object(self, key: str, bucket: str = "") -> Stored:
        """One object. Raises: KeyError if it is not there."""
        with self.lock:
            found = self._keys(bucket)[key]
            return Stored(found.value, found.metadata_type(), found.own_metadata(), found.etag.strip('"'))

    def objects(self, bucket: str = "") -> dict[str, bytes]:
        """{key: content}"""
        with self.lock:
            return {key: found.value for key, found in sorted(self._keys(bucket).items())}

    def remove(self, key: str) -> None:
        """Take an object away, as somebody else might."""
        with self.lock:
            del self._backend().buckets[self.bucket].keys[key]

    def snapshot(self) -> dict[str, Stored]:
        """What the bucket holds now."""
        with self.lock:
            return {key: self.object(key) for key in self._keys("")}

    def restore(self, kept: dict[str, Stored]) -> None:
        """Put the bucket back to what it held; {} empties it."""
        with self.lock:
            self._backend().buckets[self.bucket].keys.clear()
            for key, stored in kept.items():
                made = self._backend().put_object(self.bucket, key, stored.content)
                noted = {f"x-amz-meta-{name}": value for name, value in stored.metadata.items()}
                made.set_metadata({"Content-Type": stored.content_type, **noted})
            self.writes.clear()

    def uploads(self) -> int:
        """How many uploads in parts are under way."""
        with self.lock:
            return len(self._backend().buckets[self.bucket].multiparts)

    def answer(self, request: Request) -> Answer:
        """Check the request as Amazon does, then let moto carry it out."""
        with self.lock:
            refused = self._check(request)
            if refused is not None:
                return _refuse(request, *refused)
            answer = self._call_moto(request)
            key = unquote(urlsplit(request.target).path).partition("/")[2].partition("/")[2]
            stored = request.method == "PUT" and key and "uploadId" not in request.query
            if answer.status == 200 and (
                stored or (request.method == "POST" and "uploadId" in request.query)
            ):
                self.writes.append(key)
            return answer

    # -- moto ------------------------------------------------------------------------------------

    def _backend(self) -> Any:
        from moto.backends import get_backend
        from moto.core import DEFAULT_ACCOUNT_ID

        return get_backend("s3")[DEFAULT_ACCOUNT_ID]["aws"]

    def _keys(self, bucket: str) -> dict[str, Any]:
        keys = self._backend().buckets[bucket or self.bucket].keys
        return {key: _Found(found) for key, found in keys.items()}

    def _call_moto(self, request: Request) -> Answer:
        parts = urlsplit(request.target)
        environ: dict[str, Any] = {
            "REQUEST_METHOD": request.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote(parts.path, "latin-1"),
            "QUERY_STRING": parts.query,
            "REQUEST_URI": request.target,
            "RAW_URI": request.target,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": str(self.port),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(request.body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "CONTENT_LENGTH": str(len(request.body)),
        }
        for name, value in request.headers.items():
            variable = name.upper().replace("-", "_")
            if variable == "CONTENT_TYPE":
                environ["CONTENT_TYPE"] = value
            elif variable not in ("CONTENT_LENGTH", "TRANSFER_ENCODING", "EXPECT"):
                environ[f"HTTP_{variable}"] = value
        said: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], trouble: Any = None) -> Any:
            said[:] = [int(status.split()[0]), headers]

        body = b"".join(self._app(environ, start_response))
        headers = dict(said[1])
        length = int(next((v for n, v in headers.items() if n.lower() == "content-length"), len(body)))
        kept = {n: v for n, v in headers.items() if n.lower() not in ("content-length", "connection")}
        # The answer to HEAD tells a length and has no body; the base sends as many bytes as it tells.
        return Answer(said[0], bytes(length) if request.method == "HEAD" else body, kept)

    # -- as Amazon does --------------------------------------------------------------------------

    def _check(self, request: Request) -> tuple[int, str, str] | None:
        """Status, code and message of a refusal, or None."""
        sign_in = request.header("Authorization")
        link = "X-Amz-Signature" in request.query
        if sign_in and link:
            return 400, "InvalidArgument", "Only one auth mechanism allowed"
        if not sign_in and not link:
            return 403, "AccessDenied", "Access Denied"
        said = _read_sign_in(request) if sign_in else _read_link(request)
        if said is None:
            return 400, "AuthorizationHeaderMalformed", "The authorization header is malformed"
        if said.access_key != self.access_key:
            return (
                403,
                "InvalidAccessKeyId",
                "The AWS Access Key Id you provided does not exist in our records.",
            )
        now = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=self.clock)
        age_s = (now - said.made_at).total_seconds()
        if link and age_s > said.lifetime_s:
            return 403, "AccessDenied", "Request has expired"
        if not link and abs(age_s) > 900:
            return (
                403,
                "RequestTimeTooSkewed",
                "The difference between the request time and the current time...",
            )
        if not hmac.compare_digest(said.signature, _sign(request, said, self.secret_key)):
            return (
                403,
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided.",
            )
        digest = request.header("x-amz-content-sha256")
        if len(digest) == 64 and digest != hashlib.sha256(request.body).hexdigest():
            return (
                400,
                "XAmzContentSHA256Mismatch",
                "The provided 'x-amz-content-sha256' header does not match",
            )
        upload = request.query.get("uploadId")
        if upload and upload not in self._backend().buckets[self.bucket].multiparts:
            return 404, "NoSuchUpload", "The specified multipart upload does not exist."
        md5 = request.header("Content-MD5")
        if md5 and md5 != base64.b64encode(hashlib.md5(request.body).digest()).decode():
            return 400, "BadDigest", "The Content-MD5 you specified did not match what we received."
        return None


@dataclass(frozen=True)
class _Signature:
    """What a request says of its signature (version 4)."""

    access_key: str
    scope: str
    signed_headers: list[str]
    signature: str
    date: str
    lifetime_s: float
    payload: str

    @property
    def made_at(self) -> dt.datetime:
        return dt.datetime.strptime(self.date, "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)


def _read_sign_in(request: Request) -> _Signature | None:
    kind, _, rest = request.header("Authorization").partition(" ")
    words = dict(part.strip().split("=", 1) for part in rest.split(",") if "=" in part)
    if kind != "AWS4-HMAC-SHA256" or not words.keys() >= {"Credential", "SignedHeaders", "Signature"}:
        return None
    access_key, _, scope = words["Credential"].partition("/")
    return _Signature(
        access_key,
        scope,
        words["SignedHeaders"].split(";"),
        words["Signature"],
        request.header("X-Amz-Date"),
        0.0,
        request.header("x-amz-content-sha256"),
    )


def _read_link(request: Request) -> _Signature | None:
    query = request.query
    if query.get("X-Amz-Algorithm") != "AWS4-HMAC-SHA256":
        return None
    access_key, _, scope = query.get("X-Amz-Credential", "").partition("/")
    return _Signature(
        access_key,
        scope,
        query.get("X-Amz-SignedHeaders", "").split(";"),
        query["X-Amz-Signature"],
        query.get("X-Amz-Date", "19700101T000000Z"),
        float(query.get("X-Amz-Expires", "0")),
        "UNSIGNED-PAYLOAD",
    )


def _sign(request: Request, said: _Signature, secret_key: str) -> str:
    """The signature that the request must have. Source: AWS, "Create a signed AWS API request"."""
    parts = urlsplit(request.target)
    pairs = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != "X-Amz-Signature"]
    query = "&".join(
        sorted(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in pairs)
    )
    headers = "".join(f"{name}:{' '.join(request.header(name).split())}\n" for name in said.signed_headers)
    canonical = "\n".join(
        [request.method, parts.path, query, headers, ";".join(said.signed_headers), said.payload]
    )
    to_sign = "\n".join(
        ["AWS4-HMAC-SHA256", said.date, said.scope, hashlib.sha256(canonical.encode()).hexdigest()]
    )
    key = f"AWS4{secret_key}".encode()
    for part in said.scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()


def _refuse(request: Request, status: int, code: str, message: str) -> Answer:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Answer(
        status, b"" if request.method == "HEAD" else body.encode(), {"Content-Type": "application/xml"}
    )


class _Found:
    """moto's own object, read."""

    def __init__(self, key: Any) -> None:
        self._key = key
        self.value: bytes = key.value
        self.etag: str = key.etag

    def metadata_type(self) -> str:
        return str(self._key.metadata.get("Content-Type", ""))

    def own_metadata(self) -> dict[str, str]:
        start = "x-amz-meta-"
        return {
            n.lower()[len(start) :]: v for n, v in self._key.metadata.items() if n.lower().startswith(start)
        }
