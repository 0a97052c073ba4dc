"""The brake on removals: an empty or shrunken source must not empty what people read."""

from __future__ import annotations

from dataclasses import dataclass

from services.utils.errors import ServiceError


@dataclass(frozen=True)
class DeleteGuard:
    """max_delete_pct: a run may remove at most this share (0 to 100) of what is there.

    allow_empty: removing everything because nothing is wanted any more is meant.
    """

    max_delete_pct: float = 25.0
    allow_empty: bool = False

    def check(
        self,
        *,
        there: int,
        wanted: int,
        removed: int,
        where: str,
        error: type[ServiceError],
        done: str = "Nothing was changed.",
    ) -> None:
        """Raise before anything is removed if a run would remove too much.

        there: records now in the target. wanted: records the target should hold afterwards.
        removed: records the run would take away. where: the target, in words ("dataset abcd-1234").
        done: what the message says of what was done already.
        Raises: `error`.
        """
        if there > 0 and wanted == 0:
            if self.allow_empty:
                return
            raise error(
                f"{where} holds {there} records and none would be left. {done} "
                "If it is meant to be empty, run again with --allow-empty."
            )
        if removed * 100 > self.max_delete_pct * there:
            raise error(
                f"{removed} of the {there} records in {where} would be removed, more than "
                f"{self.max_delete_pct:g} %. {done} Find out why they are gone; if it is "
                "right, run again with a higher --max-delete-pct."
            )
