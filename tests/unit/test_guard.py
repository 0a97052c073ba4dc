"""The brake on removals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.utils.errors import PublishError, SourceError
from services.utils.guard import DeleteGuard


def check(guard: DeleteGuard, there: int, wanted: int, removed: int) -> str:
    """What the guard says, "" where it lets the run go on."""
    try:
        guard.check(there=there, wanted=wanted, removed=removed, where="the dataset", error=PublishError)
    except PublishError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("pct", "there", "removed", "stops"),
    [
        (25, 100, 25, False),
        (25, 100, 26, True),
        (25, 3, 1, True),
        (25, 4, 1, False),
        (0, 100, 0, False),
        (0, 100, 1, True),
        (100, 100, 100, False),
        (12.5, 8, 1, False),
        (12.4, 8, 1, True),
        (25, 0, 0, False),
        (25, 10, -5, False),
    ],
)
def test_check__share(pct: float, there: int, removed: int, stops: bool) -> None:
    """Exactly the share is still let through, one more is not."""
    assert bool(check(DeleteGuard(pct), there, max(there - removed, 1), removed)) == stops


def test_check__nothing_left() -> None:
    """Emptying a target needs the word for it, whatever the share; an empty target may stay empty."""
    assert "none would be left. Nothing was changed. If" in check(DeleteGuard(100), 3, 0, 3)
    assert check(DeleteGuard(0, allow_empty=True), 3, 0, 3) == ""
    assert check(DeleteGuard(), 0, 0, 0) == ""


def test_check__allow_empty_is_no_licence() -> None:
    """Allowing an empty source does not allow losing half of a full one."""
    assert "50 of the 100 records" in check(DeleteGuard(25, allow_empty=True), 100, 50, 50)


def test_check__message() -> None:
    """It names numbers, target and remedy, says what was done, and is of the class that was asked for."""
    with pytest.raises(SourceError) as caught:
        DeleteGuard(12.5).check(
            there=200,
            wanted=100,
            removed=100,
            where="the store's view_1",
            error=SourceError,
            done="All is stored.",
        )
    assert str(caught.value) == (
        "100 of the 200 records in the store's view_1 would be removed, more than 12.5 %. All is stored. Find out "
        "why they are gone; if it is right, run again with a higher --max-delete-pct."
    )


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.floats(0, 100))
def test_check__never_more_than_the_share(there: int, removed: int, pct: float) -> None:
    """Whatever is let through is within the share."""
    if check(DeleteGuard(pct), there, 1, removed) == "":
        assert removed <= there * pct / 100 + 1e-6
    else:
        assert removed > there * pct / 100 - 1e-6
