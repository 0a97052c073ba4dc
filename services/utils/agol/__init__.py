"""ArcGIS Online as a destination: sign in, open a layer, shape rows as features, publish them."""

from services.utils.agol.features import build_feature
from services.utils.agol.layer import Layer, open_layer
from services.utils.agol.portal import Portal, connect
from services.utils.agol.publish import publish

__all__ = ["Layer", "Portal", "build_feature", "connect", "open_layer", "publish"]
