"""How every container stands: gathered once, shown as a table, a JSON document, or one web page.

gather(...) -> Report; build_table(report), summarise(report), write_page(report, path).

gather.py  asks the ledger, the store and the configuration
judge.py   how a script stands on a container
report.py  what is told, as data
table.py   the table
page.py    the page; view.py: its words, charts.py and maps.py: its drawings, cures.py: what to do
"""

from services.utils.status.gather import Wanted, gather
from services.utils.status.page import check_path, write_page
from services.utils.status.report import Report, summarise
from services.utils.status.table import build_table

__all__ = ["Report", "Wanted", "build_table", "check_path", "gather", "summarise", "write_page"]
