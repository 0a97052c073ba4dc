"""How many requests are under way at a time."""

from __future__ import annotations

from services.utils.window import MOST, REST, ROUND, START, Window


class Server:
    """Gives answers at a rate that follows from how many requests are under way."""

    def __init__(self, best: int) -> None:
        self.best = best
        self.now = 0.0
        self.window = Window(lambda: self.now)

    def answer(self, rounds: int, *, waited: bool = True, trouble: bool = False) -> list[int]:
        """So many rounds of answers; the sizes on the way."""
        sizes = []
        for _ in range(rounds):
            for _ in range(ROUND):
                self.now += 1 / min(self.window.size, self.best)
                self.window.note(1000, waited=waited, trouble=trouble)
            sizes.append(self.window.size)
        return sizes


def test_window__stays_where_more_is_not_quicker() -> None:
    """One more is tried, makes nothing quicker, and is given up; and tried again only after a long while."""
    server = Server(best=START)
    assert server.answer(2) == [START + 1, START]
    assert server.answer(REST) == [START] * REST
    assert server.answer(2) == [START + 1, START]


def test_window__grows_with_the_server() -> None:
    """A larger server gets more at a time, up to a bound."""
    server = Server(best=3)
    server.answer(2)
    assert server.answer(2) == [4, 3]
    server = Server(best=100)
    assert max(server.answer(20)) == MOST


def test_window__grows_only_where_requests_wait() -> None:
    """Where the source is what is slow, more at a time are not even tried."""
    server = Server(best=100)
    assert server.answer(10, waited=False) == [START] * 10


def test_window__gives_way_to_trouble() -> None:
    """A server in trouble gets one request at a time, and more again as it answers."""
    server = Server(best=100)
    server.answer(10)
    server.window.note(1000, waited=True, trouble=True)
    assert server.window.size == 1
    assert server.answer(MOST - 1) == list(range(2, MOST + 1))
