"""A stand-in for Knack's REST API, true to its documented behaviour and its traps."""

from dev.simulators.knack.server import KnackSimulator
from dev.simulators.knack.switches import Switches
from dev.simulators.knack.values import ABSENT, Setting, build_cell

__all__ = ["ABSENT", "KnackSimulator", "Setting", "Switches", "build_cell"]
