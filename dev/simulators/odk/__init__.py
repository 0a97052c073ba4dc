"""ODK Central, as far as reading and changing submissions goes."""

from dev.simulators.odk.simulator import OdkSimulator

__all__ = ["OdkSimulator"]
