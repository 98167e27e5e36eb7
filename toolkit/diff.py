"""Diff: what a text has that another has not, in words or in any other pieces."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_LETTER = "[\u3040-\u30ff\u3400-\u9fff]"
_WORD = re.compile(rf"\s+|{_LETTER}|(?:(?!{_LETTER})\w)+|[^\w\s]")
"""White space, words and signs; of scripts that put no spaces, single letters."""
_EDGE = 60
"""Characters that stay at each end of a long stretch that is left out."""

Piece = tuple[str, str, bool]
"""What it is (an op of a `Diff`, or "gap": a remark on what is left out), the text, and whether a search found it."""


@dataclass(frozen=True)
class Diff:
    """What turns one text into another."""

    ops: tuple[tuple[str, str], ...]
    """(op, text), in order: "equal" is in both, "delete" in the first alone, "insert" in the second alone, "rest" is
    what of the second was not compared, since the two are too long."""
    whole: bool
    """Whether all was compared; what of the first was not is in no op."""


def words(text: str) -> list[str]:
    """A text in words, signs and white space; joined they are the text.

    >>> words("It's 5 km.")
    ['It', "'", 's', ' ', '5', ' ', 'km', '.']
    """
    return _WORD.findall(text)


def diff(a: Sequence[str], b: Sequence[str], most: int = 3000) -> Diff:
    """What turns a into b, both in pieces (`words`, or the texts of tokens). White space alone never holds two
    changes apart.

    most: pieces of each that are compared, from the first difference on: time grows with their square.

    >>> diff(words("a red fox"), words("a quick fox")).ops
    (('equal', 'a '), ('delete', 'red'), ('insert', 'quick'), ('equal', ' fox'))
    """
    head = _alike(zip(a, b, strict=False))
    tail = _alike(zip(reversed(a[head:]), reversed(b[head:]), strict=False))
    end_a, end_b = len(a) - tail, len(b) - tail
    cut = max(end_a, end_b) - head > most
    if cut:
        end_a, end_b = min(end_a, head + most), min(end_b, head + most)
    changes = _changes(a[head:end_a], b[head:end_b])
    rest = ("rest" if cut else "equal", "".join(b[end_b:]))
    found = [("equal", "".join(b[:head])), *changes, rest]
    return Diff(tuple((op, text) for op, text in found if text), not cut)


def _alike(pairs: Iterable[tuple[str, str]]) -> int:
    """How many pairs are equal, from the first on."""
    count = 0
    for one, other in pairs:
        if one != other:
            break
        count += 1
    return count


def _changes(a: Sequence[str], b: Sequence[str]) -> list[tuple[str, str]]:
    # White space is junk to the matcher: matches may contain it, and are never sought by it.
    matcher = difflib.SequenceMatcher(str.isspace, a, b)
    found: list[tuple[str, str]] = []
    gone = added = ""
    for op, a_from, a_to, b_from, b_to in matcher.get_opcodes():
        was, now = "".join(a[a_from:a_to]), "".join(b[b_from:b_to])
        if op == "equal" and not ((gone or added) and now.isspace() and b_to < len(b) and a_to < len(a)):
            found += [("delete", gone), ("insert", added), ("equal", now)]
            gone = added = ""
        else:
            gone, added = gone + was, added + now
    return [*found, ("delete", gone), ("insert", added)]


def marked(ops: Iterable[tuple[str, str]], spans: Iterable[tuple[int, int]]) -> list[Piece]:
    """The ops of a diff as pieces, those within some spans of the second text marked. Spans: (from, to) in
    characters, in order, without overlaps."""
    edges = [edge for span in spans for edge in span]
    found: list[Piece] = []
    at = place = 0  # characters of the second text so far; edges passed
    for op, text in ops:
        if op == "delete":
            found.append((op, text, False))
            continue
        done, end = 0, at + len(text)
        while place < len(edges) and edges[place] <= end:
            found.append((op, text[done : edges[place] - at], place % 2 == 1))
            done, place = edges[place] - at, place + 1
        found.append((op, text[done:], place % 2 == 1))
        at = end
    return [piece for piece in found if piece[1]]


def brief(pieces: Sequence[Piece], most: int) -> list[Piece]:
    """Pieces as a table has room for them: what is long and the same in both is left out but for its ends, and what
    is past `most` characters is cut; each time it is said how much."""
    telling = any(hit or op in ("delete", "insert") for op, _, hit in pieces)
    found: list[Piece] = []
    left = most
    for place, (op, text, hit) in enumerate(pieces):
        if telling and op == "equal" and not hit and len(text) > 3 * _EDGE:
            last = place == len(pieces) - 1
            before, after = text[:_EDGE], "" if last else text[-_EDGE:]
            gone = len(text) - len(before) - len(after)
            parts: list[Piece] = [
                (op, before, hit),
                ("gap", f"⋯ {gone:,} characters ⋯", False),
                (op, after, hit),
            ]
        else:
            parts = [(op, text, hit)]
        for kind, shown, on in parts:
            found.append((kind, shown if kind == "gap" else shown[: max(0, left)], on))
            left -= 0 if kind == "gap" else len(shown)
        if left < 0:
            more = -left + sum(len(text) for op, text, _ in pieces[place + 1 :] if op != "delete")
            found.append(("gap", f"… {more:,} more characters", False))
            break
    return [piece for piece in found if piece[1]]
