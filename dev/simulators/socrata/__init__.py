"""A Socrata portal to test against; see `SocrataSimulator`."""

from dev.simulators.socrata.dataset import Write
from dev.simulators.socrata.server import SocrataSimulator
from dev.simulators.socrata.switches import API_KEY, APP_TOKEN, PUBLISHER, Switches

__all__ = ["API_KEY", "APP_TOKEN", "PUBLISHER", "SocrataSimulator", "Switches", "Write"]
