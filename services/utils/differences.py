"""How a place differs from what belongs there: ids of records, kept on disk so that memory stays flat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from services.utils.spool import Spool

KINDS = ("missing", "extra", "differing")


@dataclass(frozen=True, slots=True)
class Difference:
    """One record that differs.

    kind: one of `KINDS`. key: what names it in the place. record_id: its document, "" where only the key is known.
    sure: no later look at its key alone could tell more (a second copy of a key, a row without one).
    """

    kind: str
    key: str
    record_id: str = ""
    sure: bool = False


class Differences:
    """What a place holds, and what differs there. Filled by whoever compares; to be closed by its owner.

    held: records in the place. others: those of them that are somebody else's, and right so.
    key_name: the row name that feeds the keys.
    """

    def __init__(self) -> None:
        self.held = 0
        self.others = 0
        self.key_name = "id"
        self._spool = Spool()

    def add(self, difference: Difference) -> None:
        """Remember one record that differs."""
        body = f"{int(difference.sure)}{difference.record_id}"
        self._spool.put(difference.kind, difference.key, body.encode("utf-8", "surrogatepass"))

    def count(self, kind: str) -> int:
        """How many records of a kind there are."""
        return self._spool.count(kind)

    @property
    def total(self) -> int:
        """How many records differ at all."""
        return sum(map(self.count, KINDS))

    def take(self, kinds: Iterable[str] = KINDS) -> Iterator[Difference]:
        """The records of some kinds, each kind in the order they were found."""
        for kind in kinds:
            for key, body in self._spool.take(kind):
                text = body.decode("utf-8", "surrogatepass")
                yield Difference(kind, key, text[1:], text[0] == "1")

    def close(self) -> None:
        """Forget everything."""
        self._spool.close()
