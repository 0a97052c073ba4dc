"""What names a submission in the store."""

from __future__ import annotations

from typing import Any


def find_key(record: dict[str, Any], record_key: str = "") -> str | None:
    """A submission's key, or None if it has none.

    Args:
        record: as the feed gave it.
        record_key: "" takes the field UUID, where that is empty `__id`, where that is missing meta/instanceID;
            else the path of the one field that counts, names as in the feed: "group/code", "__id".
    """
    paths = (record_key,) if record_key else ("UUID", "__id", "meta/instanceID")
    for path in paths:
        value: Any = record
        for name in path.strip("/").split("/"):
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if isinstance(value, str) and value.strip():
            return value.strip()
    return None
