"""What nobody outside Knack knows, or what reports disagree on: each a switch, so that both can be tried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass
class Switches:
    """May be set anew at any time: `simulator.switches.ties = "still"`.

    max_rows: the most records a page holds (Knack's own limit is 1000; a small one makes pages of few records).
    over_max_rows: rows_per_page above max_rows is taken as max_rows, or refused.
    current_page_as: the type of current_page in answers.
    overstate_total: added to total_records (and so to total_pages): the total is an estimate.
    pages_of_nothing: total_pages where nothing matches.
    ties: order among equal sort values: drawn anew for each request, or drawn once from the seed.
    sort_by_id: sort_field=id. unknown_sort: a sort_field that is no field of the container's object.
    bad_filter: unreadable filters, unknown fields, operators that the field's type lacks. "ignored" drops the
        rule (or the whole filter) and so gives too much; "nothing" lets it match no record.
    unexposed_field: a filter or sort on a field of the source object that the view does not show.
    time_in_date_filter: the time of day in a date filter's value. iso_in_date_filter: an ISO value.
    negation_matches_blank: whether "is not" and "does not contain" match blanks.
    api_writes_touch: whether a write through the API stamps the object's modified date.
    view_calls_count, metadata_calls_count: towards the plan's daily limit.
    """

    max_rows: int = 1000
    over_max_rows: Literal["clamp", "refuse"] = "clamp"
    current_page_as: Literal["number", "string"] = "number"
    overstate_total: int = 0
    pages_of_nothing: int = 1
    ties: Literal["moving", "still"] = "moving"
    sort_by_id: Literal["honoured", "ignored", "refused"] = "ignored"
    unknown_sort: Literal["ignored", "refused"] = "ignored"
    bad_filter: Literal["refused", "ignored", "nothing"] = "refused"
    unexposed_field: Literal["refused", "ignored", "honoured"] = "refused"
    time_in_date_filter: Literal["ignored", "honoured"] = "ignored"
    iso_in_date_filter: Literal["nothing", "honoured"] = "nothing"
    negation_matches_blank: bool = True
    api_writes_touch: bool = False
    view_calls_count: bool = True
    metadata_calls_count: bool = False


class Refusal(Exception):
    """A request that Knack answers with an error; most are plain words, validation is JSON."""

    def __init__(self, status: int, text: str, errors: list[dict[str, str]] | None = None) -> None:
        super().__init__(text or "; ".join(error["message"] for error in errors or []))
        self.status = status
        self.text = text
        self.errors = errors
