"""Figures that notebooks show in the colours of their theme."""

from __future__ import annotations

import base64
import io
import pickle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure

from toolkit.display.markup import Markup, markup

FIXED = "fixed colour"
"""The gid of artists that are drawn over a colour, and so have the same one in light and dark themes."""
_COLOURS = ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor")
_WHITE, _BLACK = 0.93, 0.07
"""The grey levels, 0 to 1, that stand for black and for white in the dark theme."""
_SAVED_DPI, _SHOWN_DPI = 150, 100
_HTML = (
    '<div><img class="tk-light" alt="{0}" width="{1}" style="max-width:100%" src="{2}">'
    '<img class="tk-dark" alt="{0}" width="{1}" style="max-width:100%;display:none" src="{3}">'
    "<style>{4}</style></div>"
)
_STYLE = Markup(
    "[data-jp-theme-light=false] .tk-light,.vscode-dark .tk-light,[theme=dark] .tk-light{display:none}"
    "[data-jp-theme-light=false] .tk-dark,.vscode-dark .tk-dark,[theme=dark] .tk-dark{display:inline!important}"
)
"""The dark themes of JupyterLab and Notebook, of VS Code, and of Colab. Where styles are dropped, as in a notebook
that is not trusted, the light picture is shown."""


class NotebookFigure(Figure):
    """A matplotlib figure that notebooks show dark in a dark theme; `figure.dark()` gives that form, to save it.

    With a dark style of matplotlib (`plt.style.use("dark_background")`) it is dark everywhere.
    """

    def __init__(self, *args: Any, description: str = "plot", **options: Any) -> None:
        """description: what the picture shows, for those who cannot see it."""
        super().__init__(*args, **options)
        self.description = description

    def dark(self) -> NotebookFigure:
        """A copy in light greys on dark grey; colours stay as they are.

        >>> results.plot().dark().savefig("dark.png")  # doctest: +SKIP
        """
        figure: NotebookFigure = pickle.loads(pickle.dumps(self))
        figure.draw_without_rendering()  # makes all ticks
        for artist in figure.findobj(lambda artist: artist.get_gid() != FIXED):
            if isinstance(
                artist, (Figure, Axes)
            ):  # whose colour is that of a patch, which is an artist as well
                continue
            names = [n for n in _COLOURS if hasattr(artist, f"get_{n}") and hasattr(artist, f"set_{n}")]
            colours = [getattr(artist, f"get_{name}")() for name in names]  # all, since some follow others
            for name, colour in zip(names, map(_with_greys_inverted, colours), strict=True):
                if colour is not None:
                    getattr(artist, f"set_{name}")(colour)
        return figure

    @property
    def shown_width(self) -> int:
        """Pixels of a page."""
        return round(float(self.get_size_inches()[0]) * _SHOWN_DPI)

    def png_url(self) -> str:
        """A picture, as a URL that holds it."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=_SAVED_DPI)
        return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """A picture for each theme, and the plain one for what shows no HTML."""
        if to_rgba_array(self.get_facecolor())[0, :3].mean() < 0.5:  # of a dark style
            return {}
        urls = self.png_url(), self.dark().png_url()
        return {"text/html": markup(_HTML, self.description, self.shown_width, *urls, _STYLE)}


def _with_greys_inverted(colour: Any) -> Any:
    """A colour of matplotlib, or several; None where there is no grey that can be seen."""
    try:
        rgba = to_rgba_array(colour)
    except (TypeError, ValueError):  # no colour, such as "auto"
        return None
    grey = (np.ptp(rgba[:, :3], axis=1) < 0.02) & (rgba[:, 3] > 0)
    if not grey.any():
        return None
    rgba[grey, :3] = _WHITE + (_BLACK - _WHITE) * rgba[grey, :3]
    return rgba if np.ndim(colour) == 2 else tuple(rgba[0])
