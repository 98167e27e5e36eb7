"""Diff: what a text has that another has not, in words or in any other pieces."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

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
    found = filter(itemgetter(1), [("equal", "".join(b[:head])), *changes, rest])
    ops = ((op, "".join(text for _, text in same)) for op, same in groupby(found, itemgetter(0)))
    return Diff(tuple(ops), not cut)


def _alike(pairs: Iterable[tuple[str, str]]) -> int:
    """How many pairs are equal, from the first on."""
    count = 0
    for one, other in pairs:
        if one != other:
            break
        count += 1
    return count


def _changes(a: Sequence[str], b: Sequence[str]) -> Iterator[tuple[str, str]]:
    # Words alone are matched: white space would find a match anywhere.
    in_a, in_b = ([i for i, piece in enumerate(pieces) if not piece.isspace()] for pieces in (a, b))
    pairs = _common([a[i] for i in in_a], [b[j] for j in in_b])
    from_a = from_b = 0
    for i, j in [*((in_a[m], in_b[n]) for m, n in pairs), (len(a), len(b))]:
        yield from _between(a[from_a:i], b[from_b:j])
        yield "equal", "".join(a[i : i + 1])
        from_a, from_b = i + 1, j + 1


def _between(a: Sequence[str], b: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What turns a into b, which have white space alone in common."""
    head = _alike(zip(a, b, strict=False))
    tail = _alike(zip(reversed(a[head:]), reversed(b[head:]), strict=False))
    end_a, end_b = len(a) - tail, len(b) - tail
    yield "equal", "".join(b[:head])
    yield "delete", "".join(a[head:end_a])
    yield "insert", "".join(b[head:end_b])
    yield "equal", "".join(b[end_b:])


def _common(a: Sequence[str], b: Sequence[str]) -> list[tuple[int, int]]:
    """Places in a and b of a longest common subsequence (Hyyrö 2004: a row of the usual table is one number, whose
    bits are 0 where the next piece of a makes it longer). difflib would leave frequent words out, and so show all
    between two changes of a repetitive text as changed; told not to, it takes a minute."""
    places: dict[str, int] = {}
    for i, piece in enumerate(a):
        places[piece] = places.get(piece, 0) | 1 << i
    every = (1 << len(a)) - 1
    rows = [every]
    for piece in b:
        fits = rows[-1] & places.get(piece, 0)
        rows.append(((rows[-1] + fits) | (rows[-1] - fits)) & every)
    found = []
    i, j = len(a), len(b)
    while i and j:
        if rows[j] >> (i - 1) & 1:
            i -= 1
        elif not rows[j - 1] >> (i - 1) & 1:
            j -= 1
        else:
            i, j = i - 1, j - 1
            found.append((i, j))
    return found[::-1]


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


def brief(pieces: Sequence[Piece], most: int, beyond: int = 0) -> list[Piece]:
    """Pieces as a table has room for them: what is long and the same in both, or long and only in the first, is left
    out but for its ends, and what is past `most` characters is cut; each time it is said how much.

    beyond: characters that the second text has after the last piece.
    """
    telling = any(hit or op in ("delete", "insert") for op, _, hit in pieces)
    found: list[Piece] = []
    left = most
    for place, (op, text, hit) in enumerate(pieces):
        idle = op == "delete" or (telling and op == "equal" and not hit)
        last = op == "equal" and place == len(pieces) - 1
        for kind, shown, on in _ends(op, text, last) if idle else [(op, text, hit)]:
            found.append((kind, shown if kind in ("gap", "delete") else shown[: max(0, left)], on))
            left -= 0 if kind == "gap" else len(shown)
        if left < 0:
            beyond += sum(len(text) for op, text, _ in pieces[place + 1 :] if op not in ("delete", "gap"))
            beyond -= 0 if op == "delete" else left
            break
    cut = [("gap", f"… {beyond:,} more characters", False)] if beyond else []
    return [*(piece for piece in found if piece[1]), *cut]


def _ends(op: str, text: str, last: bool) -> list[Piece]:
    """The ends of a long text; of the last one only that which it begins with."""
    if len(text) <= 3 * _EDGE:
        return [(op, text, False)]
    before, after = text[:_EDGE], "" if last else text[-_EDGE:]
    gone = len(text) - len(before) - len(after)
    return [(op, before, False), ("gap", f"⋯ {gone:,} characters ⋯", False), (op, after, False)]
