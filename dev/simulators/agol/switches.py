"""What is not known for certain of ArcGIS Online, and what may be different tomorrow: one switch each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass
class Switches:
    """How the simulator behaves where the real service is not documented or can be set up differently.

    May be changed while it runs; each is looked at when a request needs it.

    Tokens: token_seconds: life of every token, None for what the client asked. max_token_minutes: the most
        it gets. lock_after: refused sign-ins until the account is locked. check_referer: a token is only
        good with the Referer that it was asked for.
    Text: text_ignores_case: comparison, grouping and unique indexes ignore case and trailing spaces.
        blank_text: what "" and blanks are stored as. utf16_length: count UTF-16 units, not characters.
        html_guard: `<...>` outside the allowed tags refuses the request, or the feature (1006), or nothing.
        lone_angle_is_html: a single < or > counts as well.
    Edits: unknown_attributes, names_ignore_case, lenient_types (numbers into text fields, numeric text
        into number fields), iso_dates (text dates with an offset are read), text_coordinates,
        missing_delete (deleting what is not there), rollback_answer (1003 in each entry, or one 400).
        max_edit_features: more in one request time out (504 in a 200 body) without being applied.
        max_body_bytes: longer edit bodies get `too_long_status`.
    Reads: max_get_length: a GET address longer than this gets 413. unstable_order: no order without
        orderByFields. stale_seconds, stale_reads: queries show a write only after so many seconds, and
        after so many queries. turned_rings: polygons' rings come back begun at their second position.
    Rate: rate_limit: (requests, seconds) for the services host. rate_limit_status: 200 (with a JSON
        error) or 429.
    Jobs: job_seconds: how long one takes. job_end: how it ends: "complete"; "fail" or "errors" after
        `job_share` of the work; "hang": Pending for ever, nothing done.
    """

    token_seconds: float | None = None
    max_token_minutes: int = 21600
    lock_after: int = 5
    check_referer: bool = False

    text_ignores_case: bool = True
    blank_text: Literal["keep", "null"] = "keep"
    utf16_length: bool = True
    html_guard: Literal["request", "feature", "off"] = "request"
    lone_angle_is_html: bool = False

    unknown_attributes: Literal["drop", "error"] = "drop"
    names_ignore_case: bool = True
    lenient_types: bool = False
    iso_dates: bool = True
    text_coordinates: Literal["refuse", "accept"] = "refuse"
    missing_delete: Literal["error", "success"] = "error"
    rollback_answer: Literal["entries", "request"] = "entries"
    max_edit_features: int | None = None
    max_body_bytes: int | None = None
    too_long_status: int = 404

    max_get_length: int = 4096
    unstable_order: bool = True
    stale_seconds: float = 0.0
    stale_reads: int = 0
    turned_rings: bool = False

    rate_limit: tuple[int, float] | None = None
    rate_limit_status: Literal[200, 429] = 200

    job_seconds: float = 0.1
    job_end: Literal["complete", "fail", "errors", "hang"] = "complete"
    job_share: float = 0.4
