"""toolkit: a Jupyter-first research toolkit around the vLLM engine.

>>> import toolkit as tk
>>> engine = tk.load()                                          # doctest: +SKIP
>>> sweep = tk.sweep("Write a haiku.", tk.grid(temperature=[0, 0.7], seed=range(4)))
>>> results = sweep.run(engine, store="runs/haiku.db")          # doctest: +SKIP
"""

import lazy_loader

from toolkit._internal.interrupts import shorten_tracebacks
from toolkit._internal.notes import show_notes
from toolkit.widgets import display_hook  # noqa: F401  # results open as widgets in notebooks

__version__ = "0.1.0"
# A public name is imported when it is first used; `__init__.pyi` says from where.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

show_notes()
shorten_tracebacks()
