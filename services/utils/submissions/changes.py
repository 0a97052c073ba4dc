"""What an incremental load asks Central for, beside what changed since a time."""

from __future__ import annotations

import datetime as dt
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from services.utils.odk.fetch import TERMS_MOST, build_changes_filter
from services.utils.submissions.standing import AWAITED_MOST, Standing

log = logging.getLogger(__name__)

# Up to so many deleted submissions are listed within the walk over the changes; more in a request of their own.
DELETED_IN_WALK = 300
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,7})?Z")


@dataclass(frozen=True)
class Changes:
    """What an incremental walk asks for. again, more: submission dates of what is asked for whatever happened."""

    since: dt.datetime
    again: list[str]
    more: list[str]
    deleted_before: dict[str, str] | None
    checked: str

    def build_filter(self) -> str:
        """The feed's filter for it."""
        if self.deleted_before is None:
            deleted = ""
        else:
            deleted = "all" if len(self.deleted_before) <= DELETED_IN_WALK else "since"
        return build_changes_filter(self.since, self.again, deleted=deleted)


def plan_changes(since: dt.datetime, standing: Standing) -> Changes:
    """What to ask for, beside what changed: the refused, those that wait for media, and some that have all."""
    if len(standing.awaited) == AWAITED_MOST:
        log.warning("more than %d submissions wait for media; only the newest are asked for", AWAITED_MOST)
    asked = _times(at for _, at in [*standing.refused, *standing.awaited])
    again, more = asked[:TERMS_MOST], asked[TERMS_MOST:]
    checked = standing.load.checked if standing.load else ""
    free = standing.media[: TERMS_MOST - len(again)]
    if free:
        # Behind the last one the next run begins anew.
        checked = "" if len(standing.media) < TERMS_MOST and len(free) == len(standing.media) else free[-1][0]
        again = _times([*again, *(at for _, at in free)])
    elif not standing.media:
        checked = ""
    return Changes(since, again, more, standing.deleted, checked)


def is_time(text: str) -> bool:
    """Whether a filter can hold this submission date."""
    return _TIME.fullmatch(text) is not None


def _times(found: Iterable[Any]) -> list[str]:
    """Submission dates that a filter can hold, each once, in the order they came."""
    return list(dict.fromkeys(at for at in found if isinstance(at, str) and is_time(at)))
