"""Rows that are parts of a document: which documents a run brought, and whose row a key is.

A document that gives several rows brings all of them whenever it changes. A row of it that the destination holds
and that did not come with it is over; only the destination knows of it, so an incremental run asks there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from services.utils.spool import Spool


class Parts:
    """The documents of one run whose rows are parts. For one publish, which closes it.

    find_owner: the id of the document that a row's key belongs to, None for any other key. A key begins with
    that id. mask: what stands for a document's id in the keys, where those do not tell it.
    """

    def __init__(self, find_owner: Callable[[str], str | None]) -> None:
        self._find_owner = find_owner
        self.mask: Callable[[str], str] | None = None
        self._spool = Spool()

    def note(self, record_id: str) -> None:
        """Remember that all rows of this document, perhaps none, are among the run's."""
        if self.mask is not None:
            record_id = self.mask(record_id)
        if self._spool.there(record_id):
            self._spool.put("owners", record_id, b"")

    def count(self) -> int:
        """How many documents came."""
        return self._spool.count("owners")

    def owners(self) -> Iterator[str]:
        """Their ids, as keys have them."""
        return (record_id for record_id, _ in self._spool.take("owners"))

    def find_owner(self, key: str) -> str | None:
        """The id of the document that a row's key belongs to; None for any other key."""
        return self._find_owner(key)

    def owns(self, key: str) -> bool:
        """Whether a key is that of a row of a document that came."""
        owner = self._find_owner(key)
        return owner is not None and self._spool.find(owner)[0]

    def close(self) -> None:
        """Forget everything."""
        self._spool.close()
