"""The demo's forms: an invented survey of households and their trees."""

CONFIG = {
    "green-town": {
        "household_trees": {
            "description": "Households, one row each",
            "project_id": "1",
            "location_fields": ["place/location"],
            "exclude_fields": ["household/respondent", "household/phone"],
            "socrata_resource_id": "hous-hold",
            "service_id": "5161676e616c73000000000000000002",
            "layer_id": 0,
            "attachments": {"prefix": "survey"},
        },
        "trees": {
            "description": "Trees, one row each: a repeat of the same form",
            "project_id": "1",
            "form_id": "household_trees",
            "repeat": "tree",
            "socrata_resource_id": "tree-list",
        },
    },
}
