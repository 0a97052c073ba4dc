"""Public ids that do not tell the record's own: a keyed hash, the same in every destination and every run."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Iterable, Iterator

from services.utils.containers import Container
from services.utils.errors import PublishError
from services.utils.records import Row

# No record id of Knack's begins so: what is hashed can be told from what is not.
START = "p"
# As long as Knack's ids, so that the fields of layers fit: 23 characters of 5 bits each.
_LENGTH = 23
KEY_NAMES = ("id", "submission_id", "parent_id")


class Mask:
    """Hashes record ids with a secret (HMAC-SHA256).

    scope: what else goes into the hash (the app, the form): the same id elsewhere has another hash.
    """

    def __init__(self, secret: str, *scope: str) -> None:
        self._key = secret.encode()
        self._scope = "\0".join(scope).encode() + b"\0"

    def __call__(self, record_id: str) -> str:
        """The public id: "p" and 23 lower-case letters and digits, 115 bits of the hash."""
        digest = hmac.new(self._key, self._scope + record_id.encode("utf-8", "surrogatepass"), hashlib.sha256)
        return START + base64.b32encode(digest.digest()).decode().lower()[:_LENGTH]

    def cover(self, rows: Iterable[Row], keys: Iterable[str], copies: Iterable[str]) -> Iterator[Row]:
        """Rows with hashed ids; `Row.record_id` stays the record's own, for messages and refusals.

        keys: values that are the record's id, or begin with it (a repeat's rows). copies: fields that hold it too.
        """
        keys, copies = tuple(keys), tuple(copies)
        for row in rows:
            values = dict(row.values)
            public = self(row.record_id)
            for name in keys:
                value = str(values.get(name) or row.record_id)
                ending = value.removeprefix(row.record_id)
                values[name] = public + ending if len(ending) < len(value) else self(value)
            for name in copies:
                if values.get(name) is not None:
                    value = str(values[name]).strip()
                    values[name] = public if value == row.record_id else self(value)
            yield Row(row.record_id, values, row.deleted)


def refuse_plain(container: Container, is_full: bool, count: Callable[[], int], where: str) -> None:
    """See, before an incremental run, that no plain id is public: a full run has to have replaced them.

    count: how many ids there are not hashed. Where others write too, theirs may be plain: then nothing is asked.
    Raises: PublishError if some are.
    """
    if container.public_id != "hashed" or is_full or not container.is_alone_in_dataset:
        return
    plain = count()
    if plain:
        raise PublishError(
            f"{where} holds {plain} rows whose ids are not hashed, and {container.where} has public_id. Nothing was "
            "changed. Run once without --since-last and -d, with --max-delete-pct 100: every row gets another id."
        )
