"""TokensView: how a text is split into tokens, by one tokenizer or by two side by side."""

from __future__ import annotations

from typing import Any

from toolkit.analysis.tokens import Tokens
from toolkit.display.markup import Markup, joined, markup
from toolkit.widgets.base import View, assets, command, escaped, plain, visible
from toolkit.widgets.logprobs import boxed_html

_PAGE = 400
"""Pieces of a text that are sent at once."""
_MAX_TOKEN = 80
"""Characters of one token that are shown."""
_MAX_EDITED = 20_000
"""Characters of a text that can be edited; a longer one would take too long to tokenize at every keystroke."""


class TokensView(View):
    """The tokens of a text with their IDs, bytes and positions, and the counts of tokens, characters and bytes. The
    text can be edited and is then tokenized again, in the same way as `tokens`.

    other: the same text by another tokenizer, shown beside it: `toolkit.tokens(text, "gpt-4o")`. Raises ValueError
    if it is of another text.
    """

    _esm, _css = assets("colored_tokens", "tokens")

    def __init__(self, tokens: Tokens, other: Tokens | None = None) -> None:
        self._set_sides((tokens,) if other is None else (tokens, other))
        long = len(tokens.text) > _MAX_EDITED
        editable = None if long else tokens.text
        super().__init__({"text": editable, "max_chars": _MAX_EDITED, "sides": self._sides_content()})

    def _set_sides(self, sides: tuple[Tokens, ...]) -> None:
        self._sides = sides
        pairs = (sides, sides[::-1]) if len(sides) > 1 else ()
        self._same = [side.same(other) for side, other in pairs]

    @property
    def tokens(self) -> Tokens:
        """The tokens of the text as last edited."""
        return self._sides[0]

    @property
    def other(self) -> Tokens | None:
        """The tokens of the other tokenizer."""
        return self._sides[1] if len(self._sides) > 1 else None

    @command
    def tokenize(self, text: str) -> list[dict[str, Any]]:
        """The sides for another text."""
        if len(text) > _MAX_EDITED:
            raise ValueError(f"the text has {len(text):,} characters; here it can have {_MAX_EDITED:,}")
        self._set_sides(tuple(side.cut(text) for side in self._sides))
        sides = self._sides_content()
        # For other views of this widget, and for the saved notebook.
        self.content = plain({**self.content, "text": text, "sides": sides})
        return sides

    @command
    def pieces(self, side: int, first: int) -> list[dict[str, Any]]:
        """A page of the pieces of a side: their text, their character range, their tokens, and whether the other side
        has the same boundaries."""
        tokens, same = self._sides[side], self._same[side] if self._same else None
        return [
            {
                "text": visible(text, _MAX_TOKEN),
                "from": int(tokens.first[a]),
                "to": int(tokens.last[b - 1]),
                "same": None if same is None else bool(same[a:b].all()),
                "tokens": [
                    {
                        "at": i,
                        "id": int(tokens.ids[i]),
                        "bytes": visible(str(tokens.bytes[i]), _MAX_TOKEN),
                        "hex": tokens.bytes[i][:_MAX_TOKEN].hex(" "),
                    }
                    for i in range(a, b)
                ],
            }
            for a, b, text in tokens.pieces[first : first + _PAGE]
        ]

    def _sides_content(self) -> list[dict[str, Any]]:
        return [
            {
                "name": visible(side.tokenizer, 200),
                "counts": side.counts(),
                "compared": self._comparison(number),
                "total": len(side.pieces),
                "pieces": self.pieces(number, 0),
            }
            for number, side in enumerate(self._sides)
        ]

    def _comparison(self, number: int) -> str:
        """A side compared with the other one, in words."""
        if not self._same:
            return ""
        first, side = self._sides[0], self._sides[number]
        extra = len(side) - len(first)
        share = f" ({'−' if extra < 0 else '+'}{100 * abs(extra) / len(first):.0f} %)" if len(first) else ""
        kind = "fewer" if extra < 0 else "more"
        difference = f"{abs(extra):,} {kind}{share} than the first" if extra else "as many as the first"
        shared = f"{self._same[number].sum():,} of them are the other's too, the rest is dotted"
        return f"{difference}; {shared}" if number else shared

    def html(self) -> Markup:
        style = "vertical-align:top;text-align:left;padding:0 1em 0 0;white-space:normal"
        sides = map(self._side_html, range(len(self._sides)))
        cells = joined(markup('<td style="{}">{}</td>', style, side) for side in sides)
        return markup('<table style="width:100%;table-layout:fixed"><tr>{}</tr></table>', cells)

    def _side_html(self, number: int) -> Markup:
        side, comparison = self._sides[number], self._comparison(number)
        html = side.beside(self._sides[1 - number]) if comparison else side._repr_html_()
        # The HTML has the counts of tokens and characters already.
        note = "; ".join(filter(None, [", ".join(side.counts()[2:]), comparison]))
        return markup("{}<small>{}</small>", boxed_html(html), escaped(note))

    def text(self) -> str:
        text = "\n\n".join(map(self._side_text, range(len(self._sides))))
        return visible(text, len(text))

    def _side_text(self, number: int) -> str:
        side = self._sides[number]
        summary = "; ".join(filter(None, [", ".join(side.counts()), self._comparison(number)]))
        return f"{side.tokenizer}: {summary}\n{side!r}"
