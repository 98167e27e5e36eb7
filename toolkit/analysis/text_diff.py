"""Diff: the differences of two texts, in words or other pieces."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

_UNSPACED = "[\u3040-\u30ff\u3400-\u9fff]"
_WORD = re.compile(rf"\s+|{_UNSPACED}|(?:(?!{_UNSPACED})\w)+|[^\w\s]")
"""White space, words and punctuation; single letters of scripts without spaces."""
_EDGE = 60
"""Characters that are kept at each end of a long omitted stretch."""
Piece = tuple[str, str, bool]
"""(kind, text, hit): an op of a `Diff` or "gap" (a note on omitted text), its text, whether a search matched it."""


@dataclass(frozen=True)
class Diff:
    """The edits that turn one text into another."""

    ops: tuple[tuple[str, str], ...]
    """(op, text), in order: "equal" is in both, "delete" only in the first, "insert" only in the second, "rest" is
    the part of the second that was not compared, since the texts are too long."""
    whole: bool
    """Whether everything was compared; the uncompared part of the first text is in no op."""


def words(text: str) -> list[str]:
    """Splits a text into words, punctuation and white space; joined they are the text.

    >>> words("It's 5 km.")
    ['It', "'", 's', ' ', '5', ' ', 'km', '.']
    """
    return _WORD.findall(text)


def diff(a: Sequence[str], b: Sequence[str], most: int = 3000) -> Diff:
    """The edits that turn a into b, both in pieces (`words`, or the texts of tokens). White space alone never
    separates two changes.

    most: pieces of each that are compared, from the first difference on: time is quadratic in it.

    >>> diff(words("a red fox"), words("a quick fox")).ops
    (('equal', 'a '), ('delete', 'red'), ('insert', 'quick'), ('equal', ' fox'))
    """
    head = _common_prefix(zip(a, b, strict=False))
    tail = _common_prefix(zip(reversed(a[head:]), reversed(b[head:]), strict=False))
    end_a, end_b = len(a) - tail, len(b) - tail
    cut = max(end_a, end_b) - head > most
    if cut:
        end_a, end_b = min(end_a, head + most), min(end_b, head + most)
    changes = _changes(a[head:end_a], b[head:end_b])
    rest = ("rest" if cut else "equal", "".join(b[end_b:]))
    nonempty = filter(itemgetter(1), [("equal", "".join(b[:head])), *changes, rest])
    ops = ((op, "".join(text for _, text in group)) for op, group in groupby(nonempty, itemgetter(0)))
    return Diff(tuple(ops), not cut)


def _common_prefix(pairs: Iterable[tuple[str, str]]) -> int:
    """The number of leading pairs that are equal."""
    count = 0
    for first, second in pairs:
        if first != second:
            break
        count += 1
    return count


def _changes(a: Sequence[str], b: Sequence[str]) -> Iterator[tuple[str, str]]:
    # Only words are matched: white space would match anywhere.
    in_a, in_b = ([i for i, piece in enumerate(pieces) if not piece.isspace()] for pieces in (a, b))
    pairs = _common_subsequence([a[i] for i in in_a], [b[j] for j in in_b])
    from_a = from_b = 0
    for i, j in [*((in_a[m], in_b[n]) for m, n in pairs), (len(a), len(b))]:
        yield from _replacement(a[from_a:i], b[from_b:j])
        yield "equal", "".join(a[i : i + 1])
        from_a, from_b = i + 1, j + 1


def _replacement(a: Sequence[str], b: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The edits that turn a into b, which have only white space in common."""
    head = _common_prefix(zip(a, b, strict=False))
    tail = _common_prefix(zip(reversed(a[head:]), reversed(b[head:]), strict=False))
    end_a, end_b = len(a) - tail, len(b) - tail
    yield "equal", "".join(b[:head])
    yield "delete", "".join(a[head:end_a])
    yield "insert", "".join(b[head:end_b])
    yield "equal", "".join(b[end_b:])


def _common_subsequence(a: Sequence[str], b: Sequence[str]) -> list[tuple[int, int]]:
    """Positions in a and b of a longest common subsequence (Hyyrö 2004: a row of the usual table is one integer,
    whose bits are 0 where the next piece of a makes it longer). difflib would ignore frequent words, and so show
    everything between two changes of a repetitive text as changed; without that heuristic it takes a minute."""
    masks: dict[str, int] = {}
    for i, piece in enumerate(a):
        masks[piece] = masks.get(piece, 0) | 1 << i
    full = (1 << len(a)) - 1
    rows = [full]
    for piece in b:
        matches = rows[-1] & masks.get(piece, 0)
        rows.append(((rows[-1] + matches) | (rows[-1] - matches)) & full)
    pairs = []
    i, j = len(a), len(b)
    while i and j:
        if rows[j] >> (i - 1) & 1:
            i -= 1
        elif not rows[j - 1] >> (i - 1) & 1:
            j -= 1
        else:
            i, j = i - 1, j - 1
            pairs.append((i, j))
    return pairs[::-1]


def marked(ops: Iterable[tuple[str, str]], spans: Iterable[tuple[int, int]]) -> list[Piece]:
    """The ops of a diff as pieces, with those inside some spans of the second text marked as hits. spans: (from, to)
    in characters, in order, without overlaps."""
    edges = [edge for span in spans for edge in span]
    pieces: list[Piece] = []
    offset = passed = 0  # characters of the second text so far; number of edges passed
    for op, text in ops:
        if op == "delete":
            pieces.append((op, text, False))
            continue
        start, stop = 0, offset + len(text)
        while passed < len(edges) and edges[passed] <= stop:
            pieces.append((op, text[start : edges[passed] - offset], passed % 2 == 1))
            start, passed = edges[passed] - offset, passed + 1
        pieces.append((op, text[start:], passed % 2 == 1))
        offset = stop
    return [piece for piece in pieces if piece[1]]


def brief(pieces: Sequence[Piece], most: int, beyond: int = 0) -> list[Piece]:
    """Pieces shortened for a table: long stretches that are equal or only in the first text are cut to their ends,
    and text past `most` characters is cut; notes say how much was omitted.

    beyond: characters of the second text after the last piece.
    """
    has_marks = any(hit or op in ("delete", "insert") for op, _, hit in pieces)
    result: list[Piece] = []
    remaining = most
    for place, (op, text, hit) in enumerate(pieces):
        can_shorten = op == "delete" or (has_marks and op == "equal" and not hit)
        last = op == "equal" and place == len(pieces) - 1
        for kind, part, is_hit in _shortened(op, text, last) if can_shorten else [(op, text, hit)]:
            result.append((kind, part if kind in ("gap", "delete") else part[: max(0, remaining)], is_hit))
            remaining -= 0 if kind == "gap" else len(part)
        if remaining < 0:
            beyond += sum(len(text) for op, text, _ in pieces[place + 1 :] if op not in ("delete", "gap"))
            beyond -= 0 if op == "delete" else remaining
            break
    cut = [("gap", f"… {beyond:,} more characters", False)] if beyond else []
    return [*(piece for piece in result if piece[1]), *cut]


def _shortened(op: str, text: str, last: bool) -> list[Piece]:
    """The ends of a long text, with a note between them; only the beginning if it is the last piece."""
    if len(text) <= 3 * _EDGE:
        return [(op, text, False)]
    before, after = text[:_EDGE], "" if last else text[-_EDGE:]
    omitted = len(text) - len(before) - len(after)
    return [(op, before, False), ("gap", f"⋯ {omitted:,} characters ⋯", False), (op, after, False)]
