import html
import re
import warnings

import numpy as np
import pytest
from hypothesis import given, strategies as st

import toolkit as tk
from toolkit.core.choice import Choice

LETTERS = [bytes([i]) for i in range(128)]


def answer(text, probabilities=None, reason="stop", vocabulary=LETTERS, **more):
    """A choice of one token for each letter, each with its probability (0.5)."""
    shares = [0.5] * len(text) if probabilities is None else probabilities
    return Choice(
        0, text, reason, None, np.array([ord(c) for c in text], np.int32),
        np.log(np.array(shares, np.float32)), vocabulary=lambda: vocabulary, **more,
    )  # fmt: skip


def colours():
    """red .4 (twice), rex .1, blue .3; "re" is shared by the first two."""
    return [
        answer("red", [0.5, 1, 0.8]),
        answer("blue", [0.3, 1, 1, 1]),
        answer("red", [0.5, 1, 0.8]),
        answer("rex", [0.5, 1, 0.2], "length"),
    ]


def test_different_answers_with_their_probabilities():
    tree = tk.tree(colours())
    table = tree.frame()
    assert table.columns.tolist() == [
        "text", "probability", "logprob", "count", "finish_reason", "tokens", "forks",
    ]  # fmt: skip
    assert table["text"].tolist() == ["red", "blue", "rex"]
    assert table["probability"].tolist() == pytest.approx([0.4, 0.3, 0.1])
    assert table["logprob"].tolist() == pytest.approx(np.log([0.4, 0.3, 0.1]))
    assert table["count"].tolist() == [2, 1, 1]
    assert table["finish_reason"].tolist() == ["stop", "stop", "length"]
    assert table["tokens"].tolist() == [3, 4, 3]
    assert table["forks"].tolist() == [(0, 2), (0,), (0, 2)]
    assert (len(tree), len(tree.choices)) == (3, 4)
    assert tree.explored == pytest.approx(0.7)  # without what was cut


def test_branches_of_each_fork():
    table = tk.tree(colours()).forks()
    assert table.columns.tolist() == ["step", "before", "token", "probability", "answers", "not_taken"]
    assert table[["step", "before", "token", "answers"]].values.tolist() == [
        [0, "", "r", 3],
        [0, "", "b", 1],
        [2, "re", "d", 2],
        [2, "re", "x", 1],
    ]
    assert table["probability"].tolist() == pytest.approx([0.5, 0.3, 0.8, 0.2])
    assert table["not_taken"].tolist() == pytest.approx([0.2, 0.2, 0, 0], abs=1e-6)


def test_nothing_is_left_where_rounding_gives_more_than_one():
    tree = tk.tree([answer("a", [0.6]), answer("b", [0.41])])
    assert tree.forks()["not_taken"].tolist() == [0, 0]


def test_nodes_are_runs_between_forks():
    root = tk.tree(colours()).root
    assert (root.text, root.probability, root.joint, root.members) == ("", 1, 1, (0, 1, 2, 3))
    red, blue = root.children
    assert (red.text, red.first, red.last, red.members, red.ended) == ("re", 0, 2, (0, 2, 3), ())
    assert [n.text for n in red.children] == ["d", "x"]
    assert [n.ended for n in red.children] == [(0, 2), (3,)]
    assert (blue.text, blue.token_ids, blue.children) == ("blue", tuple(b"blue"), ())
    assert [n.text for n in root.walk()] == ["", "re", "d", "x", "blue"]
    assert red.probability == pytest.approx(0.5)
    assert red.children[1].joint == pytest.approx(0.1)


def test_a_single_answer():
    tree = tk.tree(answer("red", [0.5, 1, 0.8]))
    assert (len(tree), tree.root.text, tree.root.children) == (1, "red", ())
    assert tree.explored == pytest.approx(0.4)
    assert tree.frame()["forks"].tolist() == [()]
    assert tree.forks().empty
    assert tree.forks().columns.tolist()[0] == "step"
    assert (
        repr(tree) == "Tree(1 answers, 1 different; those that ended have probability 40% together)\n100% red"
    )


def test_an_answer_that_is_the_beginning_of_another():
    cut, whole = answer("re", [0.5, 1], "length"), answer("red", [0.5, 1, 0.8])
    tree = tk.tree([cut, whole, cut])
    assert tree.frame()[["text", "count", "forks"]].values.tolist() == [["re", 2, ()], ["red", 1, (2,)]]
    assert tree.frame()["probability"].tolist() == pytest.approx([0.5, 0.4])
    assert tree.explored == pytest.approx(0.4)
    assert repr(tree).splitlines()[1:] == ["100% ×2 re", "└─ 80% d"]
    # Of one that ended there (a stop string), what goes on from it is a part: it is not counted twice.
    ended = answer("re", [0.5, 1])
    assert tk.tree([ended, whole]).explored == pytest.approx(0.5)
    assert repr(tk.tree([ended, whole])).splitlines()[1:] == ["100% ×1 re", "└─ 80% d"]


def test_an_empty_answer_and_others():
    tree = tk.tree([answer("", []), answer("a", [0.25])])
    assert tree.frame()["text"].tolist() == ["", "a"]
    assert tree.root.joint == 1
    assert tree.forks()["not_taken"].tolist() == pytest.approx([0.75])


def test_calls_have_ended_too():
    assert tk.tree(answer("red", [0.5, 1, 0.8], "tool_calls")).explored == pytest.approx(0.4)


def test_what_was_given_in_front_is_not_counted():
    begun = [answer("re" + end, [np.nan, np.nan, p], prefix_tokens=2) for end, p in (("d", 0.8), ("x", 0.1))]
    tree = tk.tree(begun)
    assert (tree.root.text, tree.root.joint) == ("re", 1)
    assert tree.frame()["probability"].tolist() == pytest.approx([0.8, 0.1])
    assert tree.explored == pytest.approx(0.9)
    assert tk.tree(answer("red", [np.nan, 0.5, 0.5])).explored == pytest.approx(0.25)


def test_what_is_not_known_further_on_is_nan():
    tree = tk.tree([answer("red", [0.5, 1, np.nan]), answer("rex", [0.5, 1, 0.2])])
    table = tree.frame()
    assert table["text"].tolist() == ["rex", "red"]
    assert np.isnan(table["probability"][1])
    assert np.isnan(table["logprob"][1])
    assert tree.explored == pytest.approx(0.1)
    assert "└─ ? d" in repr(tree)
    assert tree.forks()["not_taken"].isna().all()
    assert tree.plot().axes


def test_long_answers_have_a_logprob_where_the_probability_is_too_small_for_a_number():
    a, b = answer("a" * 2000), answer("a" * 1999 + "b")
    table = tk.tree([a, b]).frame()
    assert table["probability"].tolist() == [0, 0]
    assert table["logprob"].tolist() == pytest.approx([2000 * np.log(0.5)] * 2)


def test_of_completions_all_choices(made):
    tree = tk.tree([made(n=3, top_logprobs=1), made(top_logprobs=1)])
    assert (len(tree.choices), len(tree)) == (4, 1)
    assert tree.root.members == (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("what", "error", "message"),
    [
        (lambda made: made(), ValueError, "has no log probabilities: ask with logprobs=True"),
        (lambda made: made(error="too long"), ValueError, "is an error and has no tokens.*too long"),
        (lambda made: [], ValueError, "there is no completion: give at least one"),
        (lambda made: "text", TypeError, "logprobs takes a completion, a choice or an iterable of them"),
        (lambda made: 5, TypeError, "logprobs takes a completion, a choice or an iterable of them"),
    ],
)
def test_wrong_use_is_refused(made, what, error, message):
    with pytest.raises(error, match=message):
        tk.tree(what(made))


def test_answers_to_different_prompts_make_no_tree(made):
    import dataclasses

    one = made(top_logprobs=1)
    other = dataclasses.replace(one, prompt_token_ids=np.array([9], np.int32))
    with pytest.raises(ValueError, match="these completions answer different prompts"):
        tk.tree([one, other])
    assert len(tk.tree(iter([one, one]))) == 1


# Properties


@st.composite
def sampled(draw):
    """Answers drawn from one made-up model: the probability of a letter depends on what is before it alone."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    known = {}

    def share(before):
        if before not in known:
            known[before] = rng.dirichlet([0.7] * 3)
        return known[before]

    made = []
    for _ in range(draw(st.integers(1, 12))):
        text, shares = "", []
        while len(text) < 6 and not text.endswith("$"):
            p = share(text)
            i = rng.choice(3, p=p)
            text += "ab$"[i]
            shares.append(p[i])
        made.append(answer(text, shares, "stop" if text.endswith("$") else "length"))
    return made


@given(sampled())
def test_every_answer_is_a_path_and_the_numbers_add_up(answers):
    tree = tk.tree(answers)
    paths = {}

    def walk(node, before):
        ids = before + node.token_ids
        assert node.first == len(before)
        assert node.last == len(ids)
        for i in node.ended:
            paths[i] = ids
        inside = [i for child in node.children for i in child.members]
        assert sorted([*node.ended, *inside]) == sorted(node.members)
        # A run goes as far as all share it, and then there is a fork or an end.
        assert len(node.children) != 1 or node.ended
        assert len({child.token_ids[0] for child in node.children}) == len(node.children)
        assert sum(child.probability for child in node.children) < 1 + 1e-5
        shares = [child.probability for child in node.children]
        assert shares == sorted(shares, reverse=True)
        for child in node.children:
            walk(child, ids)

    walk(tree.root, ())
    assert {i: list(ids) for i, ids in paths.items()} == {
        i: a.token_ids.tolist() for i, a in enumerate(answers)
    }
    table = tree.frame().set_index("text")
    assert table["count"].sum() == len(answers)
    assert len(tree) == len({a.text for a in answers})
    for a in answers:
        assert table.loc[a.text, "logprob"] == pytest.approx(a.logprobs.astype(np.float64).sum(), abs=1e-5)
        assert table.loc[a.text, "count"] == sum(a.text == other.text for other in answers)
    ended = {a.text: np.exp(a.logprobs.sum()) for a in answers if a.finish_reason == "stop"}
    assert tree.explored == pytest.approx(sum(ended.values()), abs=1e-5)
    assert tree.explored < 1 + 1e-5
    assert table["probability"].is_monotonic_decreasing
    for text, forks in table["forks"].items():
        others = [other for other in table.index if other != text]
        parts = {max(n for n in range(len(text) + 1) if o[:n] == text[:n]) for o in others}
        assert set(forks) == parts - {len(text)}


# For eyes


def test_it_shows_itself():
    assert repr(tk.tree(colours())).splitlines() == [
        "Tree(4 answers, 3 different; those that ended have probability 70% together)",
        "100% ",
        "├─ 50% re",
        "│  ├─ 80% ×2 d",
        "│  └─ 20% x",
        "└─ 30% blue",
    ]


def test_html_is_escaped():
    known = [b"<script>", b"</pre>", b"a\n"]
    answers = [
        Choice(0, "", "stop", None, np.array([2, i], np.int32), np.zeros(2, np.float32), vocabulary=lambda: known)
        for i in (0, 1)
    ]  # fmt: skip
    shown = tk.tree(answers)._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert shown.count("</pre>") == 1
    assert "a⏎" in shown
    text = html.unescape(re.sub("<[^>]*>", "", shown))
    assert "a⏎\n├─ 100% <script>" in text


def test_long_trees_are_cut_and_say_so():
    answers = [answer(chr(33 + i), [1 / 90]) for i in range(90)]
    lines = repr(tk.tree(answers)).splitlines()
    assert len(lines) == 62
    assert lines[-1] == "… and 31 more branches"
    assert "… and 31 more branches" in tk.tree(answers)._repr_html_()
    figure = tk.tree(answers).plot()
    assert figure.axes[0].get_title() == "the first 40 of 90 branches"


def test_the_plot_has_a_line_for_each_branch_as_thick_as_it_is_probable():
    figure = tk.tree(colours()).plot()
    (axis,) = figure.axes
    labels = [t.get_text() for t in axis.texts]
    assert {"50%", "80%", "20%", "30%", "re", "d", "x", "blue"} <= set(labels)
    widths = sorted(line.get_linewidth() for line in axis.lines)
    assert widths == pytest.approx(sorted(0.6 + 5 * p for p in (0.5, 0.3, 0.8, 0.2)))
    single = tk.tree(answer("red")).plot()
    assert [t.get_text() for t in single.axes[0].texts] == ["red"]


def test_the_plot_of_a_tree_of_many_forks_is_wide_enough(tmp_path):
    answers = [answer("abcdefghijklmnop"[:k] + "z" * 40) for k in range(15)]
    figure = tk.tree(answers).plot()
    (axis,) = figure.axes
    ends = [t.get_position()[0] + len(t.get_text()) for t in axis.texts]
    assert max(ends) <= axis.get_xlim()[1]
    assert figure.get_figwidth() / 11 == pytest.approx(axis.get_xlim()[1] / 150)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib's, when a layout does not fit
        figure.savefig(tmp_path / "tree.png")


def test_the_plot_takes_any_text(tmp_path):
    vocabulary = [b"$x^2$ \\frac{", "日本\n".encode(), b"\xf0\x9f", b"word " * 60]
    answers = [
        Choice(0, "", "stop", None, np.array([3, i, 3], np.int32), np.full(3, -0.5, np.float32),
               vocabulary=lambda: vocabulary)
        for i in range(4)
    ]  # fmt: skip
    tk.tree(answers).plot().savefig(tmp_path / "tree.png")
    assert (tmp_path / "tree.png").stat().st_size > 5000


def test_many_samples_of_a_real_model(engine, forced):
    c = engine.chat("Name a colour.", n=12, temperature=1, seed=1, max_tokens=4, top_logprobs=2)
    tree = tk.tree(c)
    assert tree.frame()["count"].sum() == 12
    for node in tree.root.children:
        ids = c.choices[node.members[0]].token_ids
        expected = forced(c.prompt_token_ids, ids)
        assert node.probability == pytest.approx(np.exp(expected[0, ids[0]]), rel=2e-3)
    assert tree.forks()["not_taken"].between(0, 1).all()
