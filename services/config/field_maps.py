"""Which field becomes which when records are copied to another Knack app; read as data and never executed.

FIELD_MAPS = {app name: {container id: [{"src": field, name of the other app: field, ...}]}}; the README tells more.
"""

# An example:
#
#     "city-assets": {
#         "object_12": [
#             {"src": "field_199", "street-works": "field_380", "primary_key": True},
#             {"src": "field_211", "street-works": "field_382", "handler": "strip"},
#             {"src": "field_491", "street-works": "field_383", "handler": "choice", "map": {"TURNED_ON": "Active"}},
#             {"src": "field_300", "street-works": "field_384", "handler": "connection", "lookup": "field_20"},
#             {"src": None, "street-works": "field_390", "default": "city-assets"},
#         ],
#     },

FIELD_MAPS: dict = {}
