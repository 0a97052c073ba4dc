"""One bucket: objects put, found, fetched, listed, deleted and linked to."""

from __future__ import annotations

import base64
import hashlib
import io
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote

from services.utils.errors import ConfigError, PublishError, RequestFailed, RequestRefused
from services.utils.s3.calls import BACKOFF, Caller
from services.utils.s3.keys import to_utf8
from services.utils.session import Backoff

if TYPE_CHECKING:
    import datetime as dt

log = logging.getLogger(__name__)

# Uploads of unknown size go in parts; Amazon takes 10,000 of them, each but the last of 5 MB or more.
PART_BYTES = 8 * 1024 * 1024
LONGEST_LINK_S = 7 * 24 * 3600
_PIECE_BYTES = 1024 * 1024
_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class StoredObject:
    """An object as the bucket tells of it; content_type and metadata are not told by a listing."""

    key: str
    size: int
    etag: str
    content_type: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    modified_at: dt.datetime | None = None

    @property
    def md5(self) -> str:
        """MD5 of its bytes as hex digits: its ETag where that is one, else as we noted it; "" if not known."""
        if _MD5.fullmatch(self.etag) and "encrypted" not in self.metadata:
            return self.etag
        return self.metadata.get("md5", "")


class Bucket:
    """One bucket. Safe to use by several threads."""

    def __init__(self, client: Any, name: str, where: str = "S3", backoff: Backoff = BACKOFF) -> None:
        self._client = client
        self.name = name
        self._call = Caller(client, name, where, backoff)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def check(self, prefix: str = "") -> None:
        """Make sure that the bucket is there and lets keys that begin so be listed.

        Raises: PublishError.
        """
        self._list_page(prefix, "", 1)

    def put(
        self,
        key: str,
        body: BinaryIO,
        *,
        size: int,
        md5: str,
        content_type: str,
        metadata: dict[str, str] | None = None,
        file_name: str = "",
    ) -> StoredObject:
        """Store an object in one request: it is there whole, or it is not.

        A try whose answer was lost is looked for before the next one: bytes are not sent twice.

        Args:
            body: read from its start, again with each try. md5: of its bytes, as hex digits; S3 checks them by it.
            metadata: kept with the object; ASCII. file_name: what a browser is to call it.
        Raises: PublishError.
        """
        noted = {**(metadata or {}), "md5": md5}
        more: dict[str, Any] = {}
        if file_name:
            more["ContentDisposition"] = f"inline; filename*=UTF-8''{quote(to_utf8(file_name), safe='')}"

        def check(answer: dict[str, Any]) -> str:
            etag = _read_etag(answer)
            if not etag:
                return "the answer tells no ETag"
            encrypted = answer.get("ServerSideEncryption", "AES256") != "AES256"
            return "S3 stored other bytes than were sent" if _differs(etag, md5) and not encrypted else ""

        def look() -> dict[str, Any] | None:
            found = self.find(key)
            return {"ETag": found.etag} if found is not None and found.metadata.get("md5") == md5 else None

        answer = self._call(
            "put_object",
            key,
            check=check,
            before=lambda: body.seek(0),
            look=look,
            Key=key,
            Body=body,
            ContentLength=size,
            ContentMD5=base64.b64encode(bytes.fromhex(md5)).decode(),
            ContentType=content_type,
            Metadata=noted,
            **more,
        )
        return StoredObject(key, size, _read_etag(answer), content_type, noted)

    def put_stream(
        self,
        key: str,
        pieces: Iterable[bytes],
        *,
        content_type: str,
        metadata: dict[str, str] | None = None,
    ) -> StoredObject:
        """Store an object of unknown size, a part at a time in memory; it is there whole, or it is not.

        Returns: the object, with "md5" of its bytes in `metadata`.
        Raises: PublishError; what `pieces` raises. What was sent of it is taken back then.
        """
        parts = _join_pieces(pieces)
        first = next(parts, b"")
        second = next(parts, None)
        digest = hashlib.md5(first)
        if second is None:
            return self.put(
                key,
                io.BytesIO(first),
                size=len(first),
                md5=digest.hexdigest(),
                content_type=content_type,
                metadata=metadata,
            )
        upload = self._call(
            "create_multipart_upload",
            key,
            check=lambda answer: "" if answer.get("UploadId") else "the answer names no upload",
            Key=key,
            ContentType=content_type,
            Metadata=metadata or {},
        )["UploadId"]
        try:
            sent = [self._put_part(key, upload, 1, first)]
            size = len(first)
            part: bytes | None = second
            while part is not None:
                digest.update(part)
                size += len(part)
                sent.append(self._put_part(key, upload, len(sent) + 1, part))
                part = next(parts, None)
            etag = self._complete(key, upload, sent, size)
        except BaseException:
            self._abort(key, upload)
            raise
        return StoredObject(key, size, etag, content_type, {**(metadata or {}), "md5": digest.hexdigest()})

    def find(self, key: str) -> StoredObject | None:
        """An object with all that is told of it, or None if it is not there.

        Raises: PublishError.
        """
        try:
            answer = self._call(
                "head_object",
                key,
                check=lambda answer: "" if _read_etag(answer) else "the answer tells no ETag",
                Key=key,
            )
        except RequestRefused as error:
            if error.status == 404:
                return None
            raise
        metadata = dict(answer.get("Metadata") or {})
        if answer.get("ServerSideEncryption", "AES256") != "AES256":
            metadata["encrypted"] = "yes"
        return StoredObject(
            key,
            int(answer["ContentLength"]),
            _read_etag(answer),
            answer.get("ContentType", ""),
            metadata,
            answer.get("LastModified"),
        )

    def fetch(self, key: str, file: BinaryIO) -> StoredObject:
        """Write an object's bytes to an empty file, from its start again with each try.

        Raises: PublishError, also if there is no such object.
        """
        known = self.find(key)
        if known is None:
            raise PublishError(f"There is no object {key} in {self.name}. Nothing was changed.")

        def check(answer: dict[str, Any]) -> str:
            file.seek(0)
            file.truncate()
            digest, size = hashlib.md5(), 0
            for piece in answer["Body"].iter_chunks(_PIECE_BYTES):
                digest.update(piece)
                size += file.write(piece)
            if size != known.size or (known.md5 and known.md5 != digest.hexdigest()):
                return "other bytes came than the object has"
            return ""

        self._call("get_object", key, check=check, Key=key)
        return known

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """The objects whose key begins so, in the order of their keys.

        Raises: PublishError.
        """
        token = ""
        while True:
            answer = self._list_page(prefix, token)
            for one in answer.get("Contents") or []:
                yield StoredObject(
                    one["Key"], int(one["Size"]), _read_etag(one), modified_at=one.get("LastModified")
                )
            token = answer.get("NextContinuationToken") or ""
            if not answer.get("IsTruncated") or not token:
                return

    def delete(self, keys: Iterable[str]) -> int:
        """Delete objects, one by one: what all servers know. Those that are not there count too.

        Raises: PublishError at the first one that cannot be deleted.
        """
        count = 0
        for key in keys:
            self._call("delete_object", key, check=_check_deleted, Key=key)
            count += 1
        return count

    def build_link(self, key: str, lifetime_s: int) -> str:
        """A link by which anybody can read the object for some time. Nothing is sent, and nothing checked.

        Raises: ConfigError if the time is longer than S3 allows.
        """
        if lifetime_s > LONGEST_LINK_S:
            raise ConfigError("A link lasts 7 days at most. None was made. Give a shorter --lifetime.")
        link: str = self._client.generate_presigned_url(
            "get_object", Params={"Bucket": self.name, "Key": key}, ExpiresIn=lifetime_s
        )
        return link

    # -- inside ----------------------------------------------------------------------------------

    def _list_page(self, prefix: str, token: str, rows: int = 1000) -> dict[str, Any]:
        more: dict[str, Any] = {"ContinuationToken": token} if token else {}
        return self._call(
            "list_objects_v2",
            f"{prefix}*",
            check=lambda answer: "" if answer.get("Name") == self.name else "the answer is no listing",
            Prefix=prefix,
            MaxKeys=rows,
            **more,
        )

    def _put_part(self, key: str, upload: str, number: int, part: bytes) -> dict[str, Any]:
        md5 = hashlib.md5(part)
        answer = self._call(
            "upload_part",
            f"{key}, part {number}",
            check=lambda answer: "" if _read_etag(answer) else "the answer tells no ETag",
            Key=key,
            UploadId=upload,
            PartNumber=number,
            Body=part,
            ContentMD5=base64.b64encode(md5.digest()).decode(),
        )
        return {"PartNumber": number, "ETag": answer["ETag"], "md5": md5.digest()}

    def _complete(self, key: str, upload: str, sent: Sequence[dict[str, Any]], size: int) -> str:
        try:
            answer = self._call(
                "complete_multipart_upload",
                key,
                check=lambda answer: "" if _read_etag(answer) else "the answer tells no ETag",
                Key=key,
                UploadId=upload,
                MultipartUpload={"Parts": [{n: part[n] for n in ("PartNumber", "ETag")} for part in sent]},
            )
        except RequestRefused as error:
            # It may have been completed by a try whose answer was lost: then the upload is not there any more.
            whole = hashlib.md5(b"".join(part["md5"] for part in sent)).hexdigest()
            found = self.find(key) if error.code == "NoSuchUpload" else None
            if found is None or found.size != size or found.etag != f"{whole}-{len(sent)}":
                raise
            return found.etag
        return _read_etag(answer)

    def _abort(self, key: str, upload: str) -> None:
        try:
            self._call("abort_multipart_upload", key, Key=key, UploadId=upload)
        except (RequestFailed, ConfigError) as error:
            log.warning("what was sent of %s could not be taken back: %s", key, error)


def _read_etag(answer: dict[str, Any]) -> str:
    return str(answer.get("ETag") or "").strip('"')


def _differs(etag: str, md5: str) -> bool:
    return bool(_MD5.fullmatch(etag)) and etag != md5


def _check_deleted(answer: dict[str, Any]) -> str:
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return "" if status == 204 else f"{status} is no answer to a deletion"


def _join_pieces(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Pieces of any size as parts of PART_BYTES; larger ones after each thousand, so that 10,000 last for all."""
    held: list[bytes] = []
    size = number = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        while size >= (wanted := PART_BYTES << number // 1000):
            whole = b"".join(held)
            yield whole[:wanted]
            held, size = [whole[wanted:]], size - wanted
            number += 1
    if size or not number:
        yield b"".join(held)
