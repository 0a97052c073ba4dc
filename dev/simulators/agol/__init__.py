"""A stand-in for ArcGIS Online: portal and hosted feature services in one HTTP server.

with AgolSimulator() as agol:
    agol.create_layer("5f0c...", 0, fields={"id": ("String", 24, False), "NAME": ("String", 50)})
    watch = agol.watch("5f0c...", 0)
    agol.faults.add("after-error-504", path="applyEdits")
    ... requests to agol.url, signed in as agol.username, agol.password ...
    assert agol.duplicates("5f0c...", 0, "id") == {} and watch.absent == set()
"""

from dev.simulators.agol.host import Service
from dev.simulators.agol.layer import Feature, Layer
from dev.simulators.agol.simulator import AgolSimulator
from dev.simulators.agol.switches import Switches
from dev.simulators.agol.watch import Watch

__all__ = ["AgolSimulator", "Feature", "Layer", "Service", "Switches", "Watch"]
