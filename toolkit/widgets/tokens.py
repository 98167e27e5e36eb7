"""TokensView: how a text is cut into tokens, by one tokenizer or by two side by side."""

from __future__ import annotations

from typing import Any

from toolkit.tokens import Tokens
from toolkit.widgets.logprobs import inside
from toolkit.widgets.view import View, assets, escaped, plain, visible

_PAGE = 400
"""Pieces of a text that are sent at once."""
_TOKEN = 80
"""Characters of one token that are shown."""
_EDITED = 20_000
"""Characters of a text that can be edited; a longer one would be cut anew at every stroke for too long."""


class TokensView(View):
    """The tokens of a text with their ids, bytes and places; its tokens, characters and bytes counted. A text that is
    edited is cut anew, as `tokens` was.

    other: the same text by another tokenizer, shown beside it: `toolkit.tokens(text, "gpt-4o")`. Raises ValueError
    where it is of another text.
    """

    _esm, _css = assets("strip", "tokens")

    def __init__(self, tokens: Tokens, other: Tokens | None = None) -> None:
        self._take((tokens,) if other is None else (tokens, other))
        long = len(tokens.text) > _EDITED
        editable = None if long else tokens.text
        super().__init__({"text": editable, "most": _EDITED, "sides": self._shown()})

    def _take(self, sides: tuple[Tokens, ...]) -> None:
        self._sides = sides
        pairs = (sides, sides[::-1]) if len(sides) > 1 else ()
        self._same = [one.same(other) for one, other in pairs]

    @property
    def tokens(self) -> Tokens:
        """Those of the text as it was edited last."""
        return self._sides[0]

    @property
    def other(self) -> Tokens | None:
        """Those of the other tokenizer."""
        return self._sides[1] if len(self._sides) > 1 else None

    def do_cut(self, text: str) -> list[dict[str, Any]]:
        """The sides for another text."""
        if len(text) > _EDITED:
            raise ValueError(f"the text has {len(text):,} characters; here it can have {_EDITED:,}")
        self._take(tuple(side.cut(text) for side in self._sides))
        sides = self._shown()
        # Other views of this widget, and the notebook when it is saved, show the same.
        self.content = plain({**self.content, "text": text, "sides": sides})
        return sides

    def do_pieces(self, side: int, first: int) -> list[dict[str, Any]]:
        """A page of the pieces of a side: their text, the characters that they take, their tokens, and whether the
        other side cuts there too."""
        tokens, same = self._sides[side], self._same[side] if self._same else None
        return [
            {
                "text": visible(text, _TOKEN),
                "from": int(tokens.first[a]),
                "to": int(tokens.last[b - 1]),
                "same": None if same is None else bool(same[a:b].all()),
                "tokens": [
                    {
                        "at": i,
                        "id": int(tokens.ids[i]),
                        "bytes": visible(str(tokens.bytes[i]), _TOKEN),
                        "hex": tokens.bytes[i][:_TOKEN].hex(" "),
                    }
                    for i in range(a, b)
                ],
            }
            for a, b, text in tokens.pieces[first : first + _PAGE]
        ]

    def _shown(self) -> list[dict[str, Any]]:
        return [
            {
                "name": visible(side.tokenizer, 200),
                "counts": side.counts(),
                "compared": self._compared(number),
                "total": len(side.pieces),
                "pieces": self.do_pieces(number, 0),
            }
            for number, side in enumerate(self._sides)
        ]

    def _compared(self, number: int) -> str:
        """A side beside the other one, in words."""
        if not self._same:
            return ""
        first, side = self._sides[0], self._sides[number]
        more = len(side) - len(first)
        share = f" ({'−' if more < 0 else '+'}{100 * abs(more) / len(first):.0f} %)" if len(first) else ""
        kind = "fewer" if more < 0 else "more"
        than = f"{abs(more):,} {kind}{share} than the first" if more else "as many as the first"
        shared = f"{self._same[number].sum():,} of them are the other's too, the rest is dotted"
        return f"{than}; {shared}" if number else shared

    def html(self) -> str:
        cell = "vertical-align:top;text-align:left;padding:0 1em 0 0;white-space:normal"
        cells = "".join(f'<td style="{cell}">{self._side(i)}</td>' for i in range(len(self._sides)))
        return f'<table style="width:100%;table-layout:fixed"><tr>{cells}</tr></table>'

    def _side(self, number: int) -> str:
        side, compared = self._sides[number], self._compared(number)
        shown = side.beside(self._sides[1 - number]) if compared else side._repr_html_()
        # How many tokens and characters stands there already.
        more = "; ".join(filter(None, [", ".join(side.counts()[2:]), compared]))
        return f"{inside(shown)}<small>{escaped(more)}</small>"

    def text(self) -> str:
        shown = "\n\n".join(map(self._line, range(len(self._sides))))
        return visible(shown, len(shown))

    def _line(self, number: int) -> str:
        side = self._sides[number]
        told = "; ".join(filter(None, [", ".join(side.counts()), self._compared(number)]))
        return f"{side.tokenizer}: {told}\n{side!r}"
