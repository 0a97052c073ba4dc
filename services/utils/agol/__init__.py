"""ArcGIS Online as a destination: sign in, open a layer, shape rows as features, publish them."""

from services.utils.agol.features import build_feature, find_key_field, match_fields
from services.utils.agol.layer import Layer, count_other_ids, open_layer
from services.utils.agol.portal import Portal, connect
from services.utils.agol.publish import publish
from services.utils.agol.values import Unfit, compile_converter

__all__ = [
    "Layer",
    "Portal",
    "Unfit",
    "build_feature",
    "compile_converter",
    "connect",
    "count_other_ids",
    "find_key_field",
    "match_fields",
    "open_layer",
    "publish",
]
