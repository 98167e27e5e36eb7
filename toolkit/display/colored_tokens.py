"""Tokens coloured by a value, as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from toolkit.display.markup import Markup, joined, markup

Doubles = npt.NDArray[np.float64]
TEXTS = 20
"""Most texts on a page of coloured tokens."""
_MAX_PIECES = 4000
"""Most pieces shown of one text; a piece is mostly one token."""
_MAX_CHARACTERS = 1000
"""Most characters shown of one piece: no token is longer, but a piece need not be a token."""
_COLOUR = "213,94,0"
"""Okabe and Ito's vermillion: one hue, so that only its strength varies; transparent, so that the text of a light or
dark theme stays readable on it."""
_LEGEND = {
    "probability": "probability 1 plain, 0 full",
    "rank": "rank 1 plain, 100 and over full",
    "surprisal": "surprisal 0 plain, 8 nats and over full",
    "entropy": "entropy 0 plain, 4 nats and over full (upper bound)",
}


def strength(values: Doubles, by: str) -> Doubles:
    """How strongly to colour each value: 0 for the expected, 1 for the most surprising; 0 for unknown values."""
    with np.errstate(divide="ignore", invalid="ignore"):
        strengths: Doubles = {
            "probability": 1 - values,
            "rank": np.log10(np.maximum(values, 1)) / 2,
            "surprisal": values / 8,
            "entropy": values / 4,
        }[by]
    return np.asarray(np.clip(np.nan_to_num(strengths), 0, 1))


def text(pieces: Sequence[tuple[str, Doubles, str]], by: str) -> Markup:
    """A text from (piece, its tokens' values, its tooltip)."""
    marks = joined(_mark(piece, values, title, by) for piece, values, title in pieces[:_MAX_PIECES])
    omitted = sum(len(values) for _, values, _ in pieces[_MAX_PIECES:])
    rest = f" … and {omitted:,} more tokens" if omitted else ""
    style = "white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.8;margin:0 0 .6em 0"
    return markup('<div style="{}">{}{}</div>', style, marks, rest)


def _mark(piece: str, values: Doubles, title: str, by: str) -> Markup:
    alpha = 0.75 * float(strength(values, by).max(initial=0))
    piece = piece if len(piece) <= _MAX_CHARACTERS else f"{piece[:_MAX_CHARACTERS]}…"
    content = piece.replace("\n", "⏎\n")
    style = f"background:rgba({_COLOUR},{alpha:.2f});border-radius:2px;box-shadow:inset 0 -1px 0 #8884"
    return markup('<span style="{}" title="{}">{}</span>', style, f"{piece!r}: {title}", content)


def page(texts: Iterable[Markup], by: str, total: int) -> Markup:
    """Texts one below the other, with a legend of the colour."""
    rest = markup("<p>… and {} more texts</p>", f"{total - TEXTS:,}") if total > TEXTS else ""
    return markup("<div>{}{}<small>colour by {}: {}</small></div>", joined(texts), rest, by, _LEGEND[by])
