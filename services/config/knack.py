"""Knack apps, read as data and never executed.

CONFIG = {app name: {container id: {settings}}}, literals only; the README tells every setting.
"""

# An example:
#
#     "city-assets": {
#         "object_12": {
#             "description": "Traffic signals",
#             "modified_date_field_id": "field_244",
#             "socrata_resource_id": "abcd-1234",
#             "location_fields": ["field_211"],
#             "service_id": "0123456789abcdef0123456789abcdef",
#             "layer_id": 0,
#             "item_type": "layer",
#             "dev": {"socrata_resource_id": "wxyz-9876"},
#         },
#     },

CONFIG: dict = {}
