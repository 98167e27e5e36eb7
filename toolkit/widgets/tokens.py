"""TokensView: how a text is cut into tokens, by one tokenizer or by two side by side."""

from __future__ import annotations

from typing import Any

from toolkit.tokens import Tokens
from toolkit.widgets.logprobs import inside
from toolkit.widgets.view import View, assets, visible

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
        return self._shown()

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
        first = self._sides[0]
        return [
            {
                "name": visible(side.tokenizer, 200),
                "tokens": len(side),
                "characters": len(side.text),
                "bytes": len(side.text.encode()),
                "more": len(side) - len(first),
                "same": int(self._same[number].sum()) if self._same else None,
                "total": len(side.pieces),
                "pieces": self.do_pieces(number, 0),
            }
            for number, side in enumerate(self._sides)
        ]

    def html(self) -> str:
        cell = "vertical-align:top;text-align:left;padding:0 1em 0 0;white-space:normal"
        cells = "".join(f'<td style="{cell}">{inside(side._repr_html_())}</td>' for side in self._sides)
        return f'<table style="width:100%;table-layout:fixed"><tr>{cells}</tr></table>'

    def text(self) -> str:
        sides = (
            f"{len(side):,} tokens, {len(side.text):,} characters; {side.tokenizer}\n{side!r}"
            for side in self._sides
        )
        shown = "\n\n".join(sides)
        return visible(shown, len(shown))
