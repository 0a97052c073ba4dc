"""From a source into the store: all of a container, or what changed. Knows neither Knack nor ODK.

load.py      documents brought in step: full, in shards, incremental, some records
walks.py     how a source is read, and whether what it gave can be all
compare.py   a source and the store compared
"""

from services.utils.loading.compare import LOOK_AGAIN_MOST, Compared, compare_all
from services.utils.loading.load import finish_shards, load_all, load_changes, load_shard, load_some

__all__ = [
    "LOOK_AGAIN_MOST",
    "Compared",
    "compare_all",
    "finish_shards",
    "load_all",
    "load_changes",
    "load_shard",
    "load_some",
]
