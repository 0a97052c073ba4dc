"""ODK Central, as far as reading and changing submissions goes."""

from dev.simulators.odk.server import OdkSimulator

__all__ = ["OdkSimulator"]
