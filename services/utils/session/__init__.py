"""The one place that speaks HTTP: time-outs, retries, and answers turned into errors.

http.py     the session: requests sent until they have an answer
answers.py  what an answer means
backoff.py  how often and how long a request is tried again
failures.py requests that failed, as errors
limiter.py  how many may start in a second
process.py  what holds for all requests of this process; testing

What may be repeated is decided here, by what the caller says of the request (`repeatable`) and by
what a system's `judge` reads in the answer:

    OK       take it
    AGAIN    surely not carried out (throttled, pool empty): repeat, whatever the request
    UNKNOWN  may have been carried out (5xx, time-out, cut or unreadable body): repeat if repeatable,
             else raise OutcomeUnknown so that the caller can look before it sends again
    RENEW    the sign-in ran out: `renew()` once, then repeat
    REFUSED  final
"""

from services.utils.session.answers import (
    OK,
    UNKNOWN_STATUSES,
    Judgement,
    Verdict,
    judge_json,
    judge_status,
    parse_http_date,
    retry_after_s,
)
from services.utils.session.backoff import Backoff, Waits
from services.utils.session.failures import build_failure
from services.utils.session.http import HttpSession
from services.utils.session.limiter import RateLimiter
from services.utils.session.process import (
    ask_before_writes,
    check_may_write,
    limit_patience,
    limit_waiting,
    pause,
    set_testing,
    stop_soon,
)

__all__ = [
    "OK",
    "UNKNOWN_STATUSES",
    "Backoff",
    "HttpSession",
    "Judgement",
    "RateLimiter",
    "Verdict",
    "Waits",
    "ask_before_writes",
    "build_failure",
    "check_may_write",
    "judge_json",
    "judge_status",
    "limit_patience",
    "limit_waiting",
    "parse_http_date",
    "pause",
    "retry_after_s",
    "set_testing",
    "stop_soon",
]
