"""Media from a form to a bucket: joins what the store knows, Central's files and S3. Knows of no flag or variable.

Nothing is sent twice: a file that is known is asked for on condition that it is another one (If-None-Match, or the
SHA-1 in the link of a Central with S3); one that no row tells of, because a run died before it could, is looked for
in the bucket first. A key never changes once a file has it.

plan.py    what a run is to look at
copier.py  all of it: given to threads, noted in the store
files.py   one submission's files
"""

from services.utils.copying.copier import Copier
from services.utils.copying.plan import Options, read_options

__all__ = ["Copier", "Options", "read_options"]
