"""What a run must remember of every record, kept on disk so that memory stays flat.

SQLite's private temporary database (an empty file name) lives in a small cache and spills to the
temporary folder; it vanishes with the process, also when that is killed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any


class Spool:
    """Remembered keys with a note each, and queued messages; of any number, in flat memory.

    Keys are compared exactly (bytes). Not for use by two threads.
    """

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("pragma cache_size = -2000")
        self._db.execute("pragma journal_mode = off")
        self._db.execute("pragma synchronous = off")
        self._db.execute(
            # wanted: how often.
            "create table keys (key text primary key, note text, wanted int not null) without rowid"
        )
        self._db.execute("create table queue (queue text not null, key text not null, body blob not null)")
        self._db.execute("create index queue_idx on queue (queue)")
        # One transaction that is never committed: a commit per statement costs four times the work.
        self._db.execute("begin")

    def close(self) -> None:
        """Forget everything."""
        self._db.close()

    def there(self, key: str, note: str = "") -> bool:
        """Remember that the target holds `key`, with a note (an object id, a digest). False: it was known.

        May come before or after `want`.
        """
        done = self._db.execute(
            "insert into keys values (?, ?, 0) "
            "on conflict (key) do update set note = excluded.note where note is null",
            (key, note),
        )
        return done.rowcount == 1

    def want(self, key: str) -> str | None:
        """Mark `key` as wanted; its note, or None if the target does not hold it.

        Raises: KeyError if it is wanted for the second time.
        """
        note, times = self._db.execute(
            "insert into keys values (?, null, 1) on conflict (key) do update set wanted = wanted + 1 "
            "returning note, wanted",
            (key,),
        ).fetchone()
        if times > 1:
            raise KeyError(key)
        return None if note is None else str(note)

    def read_note(self, key: str) -> str | None:
        """The note that came with `there`, or None if there is none."""
        found = self._db.execute("select note from keys where key = ?", (key,)).fetchone()
        return found[0] if found else None

    def find(self, key: str) -> tuple[bool, bool]:
        """(the target holds it, it is wanted)."""
        found = self._db.execute("select note is not null, wanted from keys where key = ?", (key,)).fetchone()
        return (bool(found[0]), bool(found[1])) if found else (False, False)

    def see(self, key: str) -> None:
        """Mark `key` as wanted, however often."""
        self._db.execute(
            "insert into keys values (?, null, 1) on conflict (key) do update set wanted = 1", (key,)
        )

    def count_there(self) -> int:
        """How many keys the target holds."""
        return int(self._db.execute("select count(*) from keys where note is not null").fetchone()[0])

    def count_wanted(self) -> int:
        """How many keys are wanted."""
        return int(self._db.execute("select count(*) from keys where wanted").fetchone()[0])

    def count_unwanted(self) -> int:
        """How many keys the target holds that nobody wants any more."""
        return int(
            self._db.execute("select count(*) from keys where note is not null and not wanted").fetchone()[0]
        )

    def unwanted(self) -> Iterator[tuple[str, str]]:
        """(key, note) of what the target holds and nobody wants, in the order of keys."""
        yield from _loop(
            self._db.execute("select key, note from keys where note is not null and not wanted order by key")
        )

    def there_under(self, start: str) -> dict[str, str]:
        """{key: note} of what the target holds whose key begins so."""
        found = self._db.execute(
            "select key, note from keys where key >= ?1 and key < ?1 || char(1114111) and note is not null",
            (start,),
        )
        return dict(found.fetchall())

    def put(self, queue: str, key: str, body: bytes) -> None:
        """Add a message to a queue."""
        self._db.execute("insert into queue values (?, ?, ?)", (queue, key, body))

    def count(self, queue: str) -> int:
        """How many messages a queue holds."""
        return int(self._db.execute("select count(*) from queue where queue = ?", (queue,)).fetchone()[0])

    def keys(self, queue: str) -> Iterator[str]:
        """The keys of a queue's messages, in the order they were put; their bodies are not read."""
        for row in _loop(self._db.execute("select key from queue where queue = ? order by rowid", (queue,))):
            yield row[0]

    def count_new(self, queue: str) -> int:
        """How many messages of a queue have a key that the target does not hold."""
        found = self._db.execute(
            "select count(*) from queue left join keys on keys.key = queue.key "
            "where queue.queue = ? and keys.note is null",
            (queue,),
        ).fetchone()
        return int(found[0])

    def size(self, queue: str) -> int:
        """How many bytes a queue's bodies are in all."""
        found = self._db.execute(
            "select coalesce(sum(length(body)), 0) from queue where queue = ?", (queue,)
        ).fetchone()
        return int(found[0])

    def take(self, queue: str) -> Iterator[tuple[str, bytes]]:
        """(key, body) of a queue's messages, in the order they were put; they stay there."""
        yield from _loop(
            self._db.execute("select key, body from queue where queue = ? order by rowid", (queue,))
        )

    def take_greatest_first(self, queue: str) -> Iterator[tuple[str, bytes]]:
        """As `take`, but in the order of keys, the greatest first."""
        yield from _loop(
            self._db.execute("select key, body from queue where queue = ? order by key desc, rowid", (queue,))
        )


def _loop(cursor: sqlite3.Cursor) -> Iterator[Any]:
    """The rows of a cursor, which may be left halfway, also after `close`."""
    for row in cursor:  # noqa: UP028 - `yield from` would close the cursor, an error on a closed database
        yield row
