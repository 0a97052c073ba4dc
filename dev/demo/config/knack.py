"""The demo's containers: an invented city's traffic signals and the work orders on them."""

CONFIG = {
    "traffic-operations": {
        "view_200": {
            "description": "Traffic signals, with the place of the location each stands at",
            "scene_id": "scene_50",
            "modified_date_field_id": "field_246",
            "location_fields": ["field_212"],
            "socrata_resource_id": "sign-als1",
            "service_id": "5161676e616c73000000000000000001",
            "layer_id": 0,
        },
        "object_31": {
            "description": "Work orders",
            "modified_date_field_id": "field_335",
            "exclude_fields": ["Requester", "Requester Email", "Requester Phone", "Supervisor Signature"],
            "socrata_resource_id": "work-ordr",
            "service_id": "5161676e616c73000000000000000001",
            "layer_id": 1,
            "item_type": "table",
            "dest_apps": {"work-register": {"object": "object_1"}},
        },
    },
}
