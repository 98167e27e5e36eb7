import pytest
from hypothesis import given, settings, strategies as st

from toolkit.analysis.text_diff import brief, diff, marked, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It's 5 km.\n", ["It", "'", "s", " ", "5", " ", "km", ".", "\n"]),
        ("  a", ["  ", "a"]),
        ("東京は都 ok", ["東", "京", "は", "都", " ", "ok"]),
        ("naïve_x", ["naïve_x"]),
        ("", []),
    ],
)
def test_words(text, found):
    assert words(text) == found


@pytest.mark.parametrize(
    ("a", "b", "ops"),
    [
        (
            "a red fox",
            "a quick fox",
            [("equal", "a "), ("delete", "red"), ("insert", "quick"), ("equal", " fox")],
        ),
        ("same", "same", [("equal", "same")]),
        ("", "new", [("insert", "new")]),
        ("old", "", [("delete", "old")]),
        ("", "", []),
        ("Paris.", "Paris, France.", [("equal", "Paris"), ("insert", ", France"), ("equal", ".")]),
        # White space alone holds no changes apart.
        (
            "one two end",
            "three four end",
            [("delete", "one two"), ("insert", "three four"), ("equal", " end")],
        ),
        ("a b", "a c", [("equal", "a "), ("delete", "b"), ("insert", "c")]),
    ],
)
def test_what_differs(a, b, ops):
    found = diff(words(a), words(b))
    assert list(found.ops) == ops
    assert found.whole


TEXTS = st.lists(st.sampled_from(["a", "b", "cat", " ", "\n", ".", "the"]), max_size=40)


LETTERS = st.lists(st.sampled_from("ab.c "), max_size=40)


@settings(max_examples=3 * settings.default.max_examples, deadline=None)
@given(TEXTS, TEXTS, st.integers(1, 50))
def test_the_ops_give_both_texts_back(a, b, most):
    found = diff(a, b, most)
    assert "".join(text for op, text in found.ops if op != "delete") == "".join(b)
    if found.whole:
        assert "".join(text for op, text in found.ops if op != "insert") == "".join(a)
    assert all(text for _, text in found.ops)


@settings(max_examples=3 * settings.default.max_examples, deadline=None)
@given(LETTERS, LETTERS)
def test_as_many_words_as_can_be_are_equal(a, b):
    equal = sum(len(text.replace(" ", "")) for op, text in diff(a, b).ops if op == "equal")
    a, b = ([piece for piece in pieces if piece != " "] for pieces in (a, b))
    longest = [0] * (len(b) + 1)
    for one in a:  # the table as textbooks have it
        row = [0]
        for j, other in enumerate(b):
            row.append(longest[j] + 1 if one == other else max(longest[j + 1], row[j]))
        longest = row
    assert equal == longest[-1]


def test_two_changes_of_a_repetitive_text_stay_two():
    a = words(" ".join(f"{i % 7} {i % 3}" for i in range(600)))
    b = [*a[:100], "X", *a[101:-100], "Y", *a[-99:]]
    assert [op for op, _ in diff(a, b).ops] == ["equal", "delete", "insert"] * 2 + ["equal"]


def test_long_texts_are_compared_as_far_as_they_may_and_it_is_said():
    a, b = [f"a{i} " for i in range(50)], [f"b{i} " for i in range(50)]
    found = diff(["same ", *a], ["same ", *b], most=10)
    assert [op for op, _ in found.ops] == ["equal", "delete", "insert", "rest"]
    assert found.ops[-1][1].startswith("b10 ")
    assert not found.whole
    # What is equal at both ends does not count.
    assert diff([*a, "x", *a], [*a, "y", *a], most=1).whole


@pytest.mark.parametrize(
    ("ops", "spans", "pieces"),
    [
        ([("equal", "abcd")], [(1, 3)], [("equal", "a", False), ("equal", "bc", True), ("equal", "d", False)]),
        (
            [("equal", "ab"), ("delete", "xx"), ("insert", "cd")],
            [(1, 3)],
            [("equal", "a", False), ("equal", "b", True), ("delete", "xx", False), ("insert", "c", True),
             ("insert", "d", False)],
        ),
        ([("equal", "ab")], [(0, 1), (1, 2)], [("equal", "a", True), ("equal", "b", True)]),
        ([("equal", "ab")], [], [("equal", "ab", False)]),
    ],
)  # fmt: skip
def test_what_a_search_finds_is_marked(ops, spans, pieces):
    assert marked(ops, spans) == pieces


def test_a_brief_form_keeps_what_differs_in_sight():
    pieces = [("equal", "x" * 1000, False), ("insert", "new", False), ("equal", "y" * 1000, False)]
    shown = brief(pieces, 600)
    assert [op for op, _, _ in shown] == ["equal", "gap", "equal", "insert", "equal", "gap"]
    assert shown[1][1] == "⋯ 880 characters ⋯"
    assert shown[3] == ("insert", "new", False)
    assert shown[-1][1] == "⋯ 940 characters ⋯"
    assert brief([("equal", "x" * 1000, False)], 600)[-1] == ("gap", "… 400 more characters", False)
    assert (
        brief([("insert", "x" * 700, False), ("insert", "y" * 5, False)], 600)[-1][1]
        == "… 105 more characters"
    )
    assert brief(pieces[:2], 5000) != pieces[:2]
    assert brief(pieces[1:2], 600) == pieces[1:2]


def test_what_was_taken_out_leaves_room_for_what_is_there_and_what_is_left_out_is_counted():
    gone, there = "x" * 5000, "y" * 1000
    shown = brief([("delete", gone, False), ("insert", there, False), ("gap", "⋯", False)], 600, 50)
    assert [op for op, _, _ in shown] == ["delete", "gap", "delete", "insert", "gap"]
    assert shown[1][1] == "⋯ 4,880 characters ⋯"
    assert len(shown[3][1]) == 480
    assert shown[-1][1] == "… 570 more characters"
    assert brief([("equal", "x", False)], 600, 50)[-1][1] == "… 50 more characters"
    assert brief([("insert", there[:500], False), ("delete", gone[:150], False)], 600)[-1][:2] == (
        "delete",
        gone[:150],
    )
