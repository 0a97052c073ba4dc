"""Documents in the store.

container.py   `Store`: load, remove, what a full load has seen, metadata
bodies.py      how a page's records become documents; halves of what is refused
reading.py     key-set pages, single documents, digests compared
metadata.py    the documents that describe apps and forms
"""

from services.utils.store.bodies import split_batches
from services.utils.store.container import Missing, Store
from services.utils.store.metadata import decode_metadata, load_metadata
from services.utils.store.reading import quote

__all__ = ["Missing", "Store", "decode_metadata", "load_metadata", "quote", "split_batches"]
