"""What the store knows of a Knack app's or an ODK form's fields, as its source gave it."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from services.utils.postgrest import PostgREST
from services.utils.rawjson import decode_blanked, mend_surrogates

log = logging.getLogger(__name__)


def load_metadata(
    postgrest: PostgREST, app_id: str, metadata: bytes, *, form_id: str | None = None, dry_run: bool = False
) -> str:
    """Keep a Knack app's or, with `form_id`, an ODK form's metadata; "inserted", "updated" or "unchanged".

    It is kept byte for byte, but escapes that PostgREST refuses (\\u0000, half of a pair) are blanked: one
    broken letter in a label is no reason to have no metadata.
    Raises: StoreError if the store refuses it.
    """
    kept = mend_surrogates(metadata, nulls=True)
    if kept != metadata:
        log.warning(
            "the metadata of %s hold broken characters; they are kept as blanks",
            form_id or f"the app {app_id}",
        )
    known = select_metadata(postgrest, app_id, form_id)
    if known is not None and known == kept:
        return "unchanged"
    if not dry_run:
        table, columns, names = (
            "knack_metadata",
            "app_id,metadata",
            b'"app_id":%s' % msgspec.json.encode(app_id),
        )
        if form_id is not None:
            table, columns = "odk_metadata", "app_id,container_id,metadata"
            names += b',"container_id":%s' % msgspec.json.encode(form_id)
        postgrest.upsert(table, b'[{%s,"metadata":%s}]' % (names, kept), columns, what="metadata")
    return "inserted" if known is None else "updated"


def decode_metadata(metadata: bytes) -> dict[str, Any]:
    """A metadata document's value."""
    return decode_blanked(_METADATA, metadata)


_METADATA: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])


class _StoredMetadata(msgspec.Struct):
    metadata: msgspec.Raw


def select_metadata(postgrest: PostgREST, app_id: str, form_id: str | None = None) -> bytes | None:
    """A Knack app's or, with `form_id`, an ODK form's metadata as JSON; None where the store has none."""
    params = [("app_id", f"eq.{app_id}"), ("select", "metadata")]
    if form_id is not None:
        params.append(("container_id", f"eq.{form_id}"))
    body = postgrest.select("knack_metadata" if form_id is None else "odk_metadata", params)
    found = msgspec.json.decode(body, type=list[_StoredMetadata])
    return bytes(found[0].metadata) if found else None
