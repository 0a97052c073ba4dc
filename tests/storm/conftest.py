"""The world of tests/days.py."""

from tests.days import days

__all__ = ["days"]
