"""What a storm is made of: every failure that the systems' contracts list, drawn from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from tests.forks import Waits
from tests.world import World

WRITES = "POST|PUT|PATCH"
_LOST = ["reset", "after-reset", "cut", "html", "hang", "slow"]
_GATEWAY = ["500", "502", "503", "504", "after-500", "after-502", "after-503", "after-504", "after-html"]
_LIMITS = {"X-RateLimit-Limit": "10", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"}
_SIGNED_IN = {"path": "/services/|/content/"}

# {system: [(kind, what else the order says)]}
KINDS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "wire": [
        *((kind, {}) for kind in [*_LOST, *_GATEWAY, "no-database", "pool-timeout", "deadlock"]),
        ("after-no-database", {}),
        ("after-pool-timeout", {}),
        ("late", {"method": WRITES}),
        ("429", {}),
        ("429", {"headers": {"Retry-After": "1"}}),
    ],
    "knack": [
        *((kind, {}) for kind in ["reset", "cut", "html", "hang", "slow", "500", "502", "503", "504"]),
        ("429", {}),
        ("429", {"headers": {"Retry-After": "2"}}),
        ("429", {"headers": _LIMITS}),
        ("short-body", {}),
        ("empty-page", {"times": 2}),
    ],
    "socrata": [
        *((kind, {}) for kind in [*_LOST, *_GATEWAY, "409", "408"]),
        ("429", {}),
        ("429", {"headers": {"Retry-After": "1"}}),
        ("partial-errors:1", {"method": WRITES}),
        ("partial-errors:3", {"method": WRITES}),
        ("saved", {"method": WRITES}),
        ("ticket", {"method": WRITES}),
        ("after-ticket", {"method": WRITES}),
    ],
    "agol": [
        *((kind, {}) for kind in [*_LOST, *_GATEWAY]),
        ("429", {}),
        ("429", {"headers": {"Retry-After": "1"}}),
        ("error-429", {"seconds": 2.0}),
        ("error-498", _SIGNED_IN),
        ("error-499", _SIGNED_IN),
        ("498", _SIGNED_IN),
        ("error-500", {}),
        ("error-504", {}),
        ("after-error-500", {}),
        ("after-error-504", {}),
        ("late-commit", {"path": "applyEdits", "body": "adds="}),
        ("half-504", {"path": "applyEdits", "body": "adds="}),
        ("short-results", {"path": "applyEdits"}),
    ],
}
REACHED = {
    "metadata_to_postgrest": ["wire", "knack"],
    "records_to_postgrest": ["wire", "knack"],
    "records_to_socrata": ["wire", "socrata"],
    "records_to_agol": ["wire", "agol"],
}
# Long enough to be late, short enough for hundreds of rounds.
_SECONDS = {"slow": 0.03, "hang": 0.03, "late": 0.04, "late-commit": 0.03}


@dataclass
class Weather:
    """One storm. share: of requests that fail, in each system it reaches. dead: a system that goes for good.

    waits: how patient the script is.
    """

    share: float
    orders: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    dead: str = ""
    waits: Waits = field(default_factory=Waits)

    def __str__(self) -> str:
        kinds = ", ".join(f"{system} {kind}" for system, kind, _ in self.orders)
        dead = f"; {self.dead} goes for good" if self.dead else ""
        return f"{self.share:.0%} of: {kinds}{dead}; time-out {self.waits.timeout_s} s"

    def brew(self, world: World, seed: int) -> None:
        """Order the faults."""
        simulators = {"wire": world.wire, "knack": world.knack, "socrata": world.socrata, "agol": world.agol}
        for simulator in simulators.values():
            simulator.faults.random.seed(seed)
        for system, kind, more in self.orders:
            count = sum(one == system for one, _, _ in self.orders)
            seconds = _SECONDS.get(kind, 0.0) * (1 if self.waits.timeout_s > 1 else 6)
            order = {"share": self.share / count, "times": None, "seconds": seconds, **more}
            simulators[system].faults.add(kind, **order)


def draw_weather(dice: random.Random, script: str) -> Weather:
    """A storm for a script: a few kinds of failure in each system that it reaches."""
    weather = Weather(dice.uniform(0.1, 0.3))
    for system in REACHED[script]:
        for kind, more in dice.sample(KINDS[system], dice.randint(1, 5)):
            weather.orders.append((system, kind, more))
    if dice.random() < 0.15:
        # What is slow is now too slow: it is carried out when the script has long asked again.
        weather.waits = Waits(pace=0.04, timeout_s=0.12)
        weather.share /= 2
    if dice.random() < 0.15:
        weather.dead = dice.choice(REACHED[script])
        kind, after = dice.choice(["503", "reset", "after-reset", "html"]), dice.randint(0, 25)
        weather.orders.append((weather.dead, kind, {"share": 1.0, "after": after}))
    return weather
