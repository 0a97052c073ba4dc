"""Which fields of the work orders go to the register, another Knack app."""

FIELD_MAPS = {
    "traffic-operations": {
        "object_31": [
            {"src": "field_300", "work-register": "field_2", "primary_key": True},
            {"src": "field_301", "work-register": "field_3", "handler": "strip"},
            {"src": "field_309", "work-register": "field_4"},
            {"src": "field_311", "work-register": "field_5"},
            {"src": "field_325", "work-register": "field_6", "handler": "text"},
        ],
    },
}
