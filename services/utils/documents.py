"""A document's record, decoded: what JSON allows and msgspec refuses is mended, what is no record is told."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from services.utils.records import Document, OnReject, Reject

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class NotARecord(ValueError):
    """Why a document holds no record, without its values."""


def read_record(document: Document, on_reject: OnReject) -> dict[str, Any] | None:
    """The record of a document.

    Returns: {} where it cannot be read and is deleted, so that only its id is known; None where it cannot be read
    and `on_reject` was told, with the reason.
    """
    try:
        return decode_record(document.record)
    except NotARecord as error:
        if document.deleted:
            return {}
        text = document.record.decode("utf-8", "replace")
        on_reject(Reject(document.record_id, str(error), text))
        return None


def decode_record(body: bytes) -> dict[str, Any]:
    """A record from its bytes. Lone surrogates become U+FFFD, numbers beyond double precision None.

    Raises: NotARecord where it is no JSON object.
    """
    try:
        record = _decode(body)
    except RecursionError as error:
        raise NotARecord("the document is nested too deeply") from error
    if not isinstance(record, dict):
        raise NotARecord("the document is JSON, but not an object")
    return record


def _decode(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        pass
    try:
        return _mend(json.loads(body))
    except ValueError as error:
        raise NotARecord("the document is not JSON in UTF-8") from error


def _mend(value: Any) -> Any:
    if isinstance(value, str):
        return _LONE_SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_mend(part) for part in value]
    if isinstance(value, dict):
        return {_mend(key): _mend(part) for key, part in value.items()}
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
