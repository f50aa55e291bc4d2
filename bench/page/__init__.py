"""One HTML page of one run or several: self-contained, for a screen, a phone and paper.

``model`` puts a run in the order of the page, ``axes`` and ``svg`` are what plots are made of, ``plots``
draws them, ``page`` fills the template. No file here knows a clock, a database or the network.
"""

from bench.page.page import page_as_html, write_page

__all__ = ["page_as_html", "write_page"]
