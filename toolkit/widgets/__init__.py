"""Notebook widgets on top of the analysis: one widget per file.

Most objects open as their widget when a cell ends with them. A widget with options of its own is made by its class:

>>> tk.widgets.TokensView(tk.tokens(text, engine), tk.tokens(text, "gpt-4o"))  # doctest: +SKIP
"""

import lazy_loader

# A widget is imported when it is first used; `__init__.pyi` says from where.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
