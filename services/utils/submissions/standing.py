"""What the store knows of a form from one load to the next: what stood there, what the last load found."""

from __future__ import annotations

import datetime as dt
import logging

import msgspec

from services.utils.odk.fetch import TERMS_MOST
from services.utils.runs import Run
from services.utils.store import Store

log = logging.getLogger(__name__)

# Submissions that wait for media are asked for in every run, the newest ones if there are more.
AWAITED_MOST = 1000
# Refused submissions that can be asked for again in every run; with more, the time looked at stands still.
REFUSED_MOST = 50


class _Load(msgspec.Struct):
    digest: str
    updated_at: dt.datetime
    checked: str = ""
    deleted: list[tuple[str, str]] | None = None
    looked_until: dt.datetime | None = None


class Standing(msgspec.Struct):
    """What the store knows before Central is asked. awaited, media, refused: [[record id, submission date]]."""

    empty: bool
    load: _Load | None
    awaited: list[tuple[str, str | None]]
    media: list[tuple[str, str | None]]
    lately: list[tuple[str | None, str | None]]
    refused: list[tuple[str, str | None]]

    @property
    def deleted(self) -> dict[str, str] | None:
        """{instance id: submission date} of what was deleted at Central; None where it cannot say."""
        if self.load is None or self.load.deleted is None:
            return None
        lately = {one: at for one, at in self.lately if one and at}
        return {**dict(self.load.deleted), **lately}


def read_standing(store: Store, destination: str) -> Standing:
    """What the store knows of a form before Central is asked."""
    found = store.postgrest.call(
        "odk_standing",
        {
            "app_id": store.app_id,
            "container_id": store.container_id,
            "destination": destination,
            "awaited": AWAITED_MOST,
            "media": TERMS_MOST,
            "refused": REFUSED_MOST + 1,
        },
        what="what the last load found",
    )
    return msgspec.convert(found, Standing)


def keep_load(
    store: Store,
    run: Run,
    standing: Standing,
    deleted: dict[str, str] | None,
    digest: str,
    since: dt.datetime | None,
    until: dt.datetime,
    checked: str,
) -> None:
    """Tell the next load what this one found: it looks no further back, so what was refused is kept first."""
    run.flush_rejects()
    looked = standing.load.looked_until if standing.load else None
    # A run from a later date leaves a gap; refused submissions are asked for again, if they are not too many.
    without_gap = since is None or (looked is not None and since <= looked)
    refused = len(run.rejected_ids | {one for one, _ in standing.refused})
    if without_gap and refused <= REFUSED_MOST:
        looked = until
    elif without_gap:
        log.warning(
            "%d submissions are refused, more than can be asked for again: until there are fewer than %d, every "
            "run reads all that changed since %s",
            refused,
            REFUSED_MOST,
            looked or "ever",
        )
    store.postgrest.call(
        "keep_odk_load",
        {
            "run_id": run.id,
            "app_id": store.app_id,
            "container_id": store.container_id,
            "digest": digest,
            "deleted": None if deleted is None else sorted(deleted.items()),
            "looked_until": looked.isoformat() if looked else None,
            "checked": checked,
        },
        what="what this load found",
    )
