"""The second host: an S3-like store that hands out attachments on signed links."""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, urlencode

from dev.simulators.base import Answer, Request, Simulator
from dev.simulators.odk.calls import write_disposition
from dev.simulators.odk.store import File

BUCKET = "odk-bucket"


@dataclass(frozen=True)
class _Grant:
    file: File
    ends: float


class FilesHost(Simulator):
    """Answers signed links only, and refuses a request that carries a sign-in besides, as AWS does."""

    def __init__(self) -> None:
        super().__init__()
        self._grants: dict[str, _Grant] = {}

    def sign(self, name: str, file: File, seconds: float) -> str:
        """A link to a file, good for some seconds."""
        signature = hashlib.sha256(secrets.token_bytes(16)).hexdigest()
        self._grants[signature] = _Grant(file, time.monotonic() + seconds)
        query = urlencode(
            {
                "response-content-disposition": write_disposition(name, file),
                "response-content-type": file.content_type,
                "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
                "X-Amz-Credential": "simulator",
                "X-Amz-Date": datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"),
                "X-Amz-Expires": str(int(seconds)),
                "X-Amz-SignedHeaders": "host",
                "X-Amz-Signature": signature,
            },
            quote_via=quote,
        )
        return f"{self.url}/{BUCKET}/blob-{file.number}-{file.sha1}?{query}"

    def answer(self, request: Request) -> Answer:
        """The file of a good link."""
        if request.header("Authorization"):
            return _refuse(
                400,
                "InvalidArgument",
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query "
                "string parameter or the Authorization header should be specified",
            )
        grant = self._grants.get(request.query.get("X-Amz-Signature", ""))
        if grant is None:
            return _refuse(
                403, "SignatureDoesNotMatch", "The request signature we calculated does not match."
            )
        if time.monotonic() > grant.ends:
            return _refuse(403, "AccessDenied", "Request has expired")
        if request.method != "GET":
            return _refuse(403, "SignatureDoesNotMatch", "The link is signed for GET.")
        etag = hashlib.md5(b"stored:" + grant.file.content).hexdigest()
        return Answer(
            200,
            grant.file.content,
            {
                "ETag": f'"{etag}-1"',
                "Content-Type": request.query["response-content-type"],
                "Content-Disposition": request.query["response-content-disposition"],
            },
        )


def _refuse(status: int, code: str, message: str) -> Answer:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Answer(status, body.encode(), {"Content-Type": "application/xml"})
