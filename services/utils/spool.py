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
        # Keys lie anywhere in their table: small pages. Messages lie behind one another: large ones cost half the work.
        self._db.execute("attach database '' as messages")
        self._db.execute("pragma messages.page_size = 16384")
        for name in ("main", "messages"):
            self._db.execute(f"pragma {name}.cache_size = -2000")
            self._db.execute(f"pragma {name}.journal_mode = off")
            self._db.execute(f"pragma {name}.synchronous = off")
        self._db.execute(
            # wanted: how often.
            "create table keys (key text primary key, note text, wanted int not null) without rowid"
        )
        self._db.execute(
            # first: the message whose body this one shares.
            "create table messages.queue (queue text not null, key text not null, body blob, first int)"
        )
        self._db.execute("create index messages.queue_idx on queue (queue)")
        self._db.execute(
            "create view messages.message as select one.rowid as number, one.queue, one.key, "
            "coalesce(one.body, other.body) as body from queue one left join queue other on other.rowid = one.first"
        )
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
        # Mostly it is new. These are quicker than one statement that returns what it did.
        if self._db.execute("insert or ignore into keys values (?, null, 1)", (key,)).rowcount == 1:
            return None
        note, times = self._db.execute("select note, wanted from keys where key = ?", (key,)).fetchone()
        self._db.execute("update keys set wanted = wanted + 1 where key = ?", (key,))
        if times:
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

    def find_there(self, key: str) -> bool:
        """Mark `key` as wanted if the target holds it; whether it does."""
        done = self._db.execute("update keys set wanted = 1 where key = ? and note is not null", (key,))
        return done.rowcount == 1

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
        self._db.execute("insert into queue (queue, key, body) values (?, ?, ?)", (queue, key, body))

    def share(self, queue: str, number: int) -> None:
        """Add a message of another queue, by its number (`take_numbered`), to this one too; its body is not copied."""
        self._db.execute(
            "insert into queue (queue, key, first) select ?, key, coalesce(first, rowid) from queue where rowid = ?",
            (queue, number),
        )

    def share_all(self, queue: str, other: str) -> None:
        """As `share`, with all messages of another queue, in their order."""
        self._db.execute(
            "insert into queue (queue, key, first) select ?, key, coalesce(first, rowid) from queue "
            "where queue = ? order by rowid",
            (queue, other),
        )

    def forget(self, *queues: str) -> None:
        """Empty some queues, and forget what the target holds; what is wanted stays."""
        for queue in queues:
            self._db.execute("delete from queue where queue = ?", (queue,))
        self._db.execute("update keys set note = null where note is not null")

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
            "select coalesce(sum(length(body)), 0) from message where queue = ?", (queue,)
        ).fetchone()
        return int(found[0])

    def take(self, queue: str) -> Iterator[tuple[str, bytes]]:
        """(key, body) of a queue's messages, in the order they were put; they stay there."""
        yield from _loop(
            self._db.execute("select key, body from message where queue = ? order by number", (queue,))
        )

    def take_numbered(self, queue: str) -> Iterator[tuple[int, str, bytes]]:
        """As `take`, with each message's number before it."""
        yield from _loop(
            self._db.execute(
                "select number, key, body from message where queue = ? order by number", (queue,)
            )
        )

    def take_greatest_first(self, queue: str) -> Iterator[tuple[str, bytes]]:
        """As `take`, but in the order of keys, the greatest first."""
        yield from _loop(
            self._db.execute(
                "select key, body from message where queue = ? order by key desc, number", (queue,)
            )
        )


def _loop(cursor: sqlite3.Cursor) -> Iterator[Any]:
    """The rows of a cursor, which may be left halfway, also after `close`."""
    for row in cursor:  # noqa: UP028 - `yield from` would close the cursor, an error on a closed database
        yield row
