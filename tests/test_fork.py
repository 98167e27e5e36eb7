import dataclasses

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.stats import entropy

import toolkit as tk
from toolkit.core.choice import Choice
from toolkit.core.request import Request

LETTERS = [bytes([i]) for i in range(128)]


def choice(text="", logprobs=None, top=None, vocabulary=LETTERS, **more):
    """A choice of one token for each letter; `top` has, for each step, a dict letter → log probability."""
    arrays = {}
    if top is not None:
        pairs = [sorted(step.items(), key=lambda kv: -kv[1]) for step in top]
        shape = (len(top), len(top[0]) if top else 0)
        arrays["top_ids"] = np.array([[ord(c) for c, _ in step] for step in pairs], np.int32).reshape(shape)
        arrays["top_logprobs"] = np.array([[p for _, p in step] for step in pairs], np.float32).reshape(shape)
        logprobs = (
            [step.get(c, -9.0) for c, step in zip(text, top, strict=True)] if logprobs is None else logprobs
        )
    if logprobs is not None:
        arrays["logprobs"] = np.array(logprobs, np.float32)
    ids = np.array([ord(c) for c in text], np.int32)
    return Choice(0, text, "stop", None, ids, vocabulary=lambda: vocabulary, **{**arrays, **more})


@pytest.mark.parametrize(
    ("a", "b", "at", "shared"),
    [
        ("abc", "abc", None, 3),
        ("abc", "xbc", 0, 0),
        ("abc", "abx", 2, 2),
        ("abc", "axc", 1, 1),
        ("ab", "abc", 2, 2),
        ("abc", "ab", 2, 2),
        ("", "abc", 0, 0),
        ("abc", "", 0, 0),
        ("", "", None, 0),
    ],
)
def test_where_they_part(a, b, at, shared):
    found = tk.fork(choice(a), choice(b))
    assert (found.at, found.shared, len(found.drift)) == (at, shared, shared)
    assert found.alignment().loc[lambda t: t["what"] == "equal", "text_a"].str.cat().startswith(a[:shared])


def two():
    """The same two tokens, then "c" against "d"; worked by hand below."""
    a = choice("abc", top=[{"a": -0.1, "x": -2.4}, {"b": -0.5, "y": -1.0}, {"c": -0.7, "d": -0.8}])
    b = choice("abd", top=[{"a": -0.1, "x": -2.4}, {"b": -0.25, "y": -1.5}, {"d": -0.6, "c": -0.9}])
    return tk.fork(a, b)


def test_drift_margins_and_ties_as_worked_by_hand():
    found = two()
    assert found.drift == pytest.approx([0, 0.25])
    assert found.largest_drift == pytest.approx(0.25)
    assert found.identical == 0.5
    assert found.margins == pytest.approx((0.1, 0.3))
    assert found.near_ties == 0  # margins 2.3 and 0.5 are both over 0.25
    # log r: 0, 0.25, and of "c" -0.9 + 0.7 = -0.2.
    expected = {
        "k1": -(0 + 0.25 - 0.2) / 3,
        "k2": (0.0625 + 0.04) / 2 / 3,
        "k3": (np.exp(0.25) - 1 - 0.25 + np.exp(-0.2) - 1 + 0.2) / 3,
    }
    assert found.divergence() == pytest.approx(expected, rel=1e-6)


def test_near_ties_are_shared_steps_that_the_drift_could_turn():
    tops = [{"a": -0.1, "x": -0.15}, {"b": -0.1, "x": -0.9}, {"c": -0.1, "x": -0.3}, {"d": -1.0, "x": -1.1}]
    a = choice("abcd", top=tops)
    drifted = [{k: p + 0.22 * (k == "c") for k, p in step.items()} for step in tops]
    found = tk.fork(a, choice("abce", top=[*drifted[:3], {"e": -1.0, "d": -1.2}]))
    assert found.largest_drift == pytest.approx(0.22)
    assert found.near_ties == pytest.approx(2 / 3)  # 0.05 and 0.2 of 0.05, 0.8, 0.2


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        (-0.5, -0.5, 1),
        (-0.5, np.nextafter(np.float32(-0.5), np.float32(0)), 0.5),
        (np.nan, np.nan, 1),
        (-np.inf, -np.inf, 1),
    ],
)
def test_identical_is_bitwise(one, other, share):
    def build(p):
        return choice("ab", logprobs=[p, -1], top=[{"a": -0.5, "x": -2}, {"b": -1, "x": -2}])

    assert tk.fork(build(one), build(other)).identical == share


def test_identical_looks_at_the_whole_top_k():
    tops = [{"a": -0.5, "x": -2}, {"b": -1, "x": -2}]
    other_value = [tops[0], {"b": -1, "x": -2.5}]
    other_token = [{"a": -0.5, "y": -2}, {"b": -1, "z": -2}]
    a = choice("ab", top=tops)
    assert tk.fork(a, choice("ab", top=tops)).identical == 1
    assert tk.fork(a, choice("ab", top=other_value)).identical == 0.5
    assert tk.fork(a, choice("ab", top=other_token)).identical == 0
    assert np.isnan(tk.fork(a, choice("ab", top=[{"a": -0.5}, {"b": -1}])).identical)  # top 1 against top 2
    assert np.isnan(tk.fork(a, choice("ab")).identical)
    assert np.isnan(tk.fork(a, choice("xb", top=[{"x": -1, "a": -2}] * 2)).identical)  # nothing is shared


def test_what_is_not_known_is_nan():
    bare, known = choice("abc"), choice("abd", top=[{c: -0.1, "x": -2.0} for c in "abd"])
    for pair in ((bare, bare), (bare, known), (known, bare)):
        found = tk.fork(*pair)
        if pair != (known, bare):
            assert np.isnan(found.margins[0])
        assert np.isnan([found.largest_drift, found.identical, found.near_ties]).all()
        assert np.isnan(found.drift).all()
        assert np.isnan(list(found.divergence().values())).all()
        assert "drift" not in found.sentence()
    empty = tk.fork(choice("", top=[]), choice("", top=[]))
    assert np.isnan([empty.largest_drift, empty.identical, empty.near_ties, *empty.margins]).all()
    assert empty.sentence() == "the same 0 tokens"
    assert tk.fork(choice("a", logprobs=[np.nan]), choice("a", logprobs=[-1])).drift.tolist() != [0]


def test_of_the_fork_itself_k_counts_only_what_b_lists():
    a = choice("c", top=[{"c": -0.7, "d": -0.8}])
    listed, not_listed = choice("d", top=[{"d": -0.6, "c": -0.9}]), choice("d", top=[{"d": -0.6, "e": -0.9}])
    assert tk.fork(a, listed).divergence()["k1"] == pytest.approx(0.2)
    assert np.isnan(tk.fork(a, not_listed).divergence()["k1"])
    # Where b has ended there is nothing to compare.
    assert np.isnan(tk.fork(a, choice("", top=[])).divergence()["k1"])


@pytest.mark.parametrize(
    ("p", "q"), [((0.5, 0.3, 0.2), (0.4, 0.35, 0.25)), ((0.7, 0.2, 0.06, 0.04), (0.25, 0.25, 0.25, 0.25))]
)
def test_k1_and_k3_are_unbiased_for_the_divergence_of_a_from_b(p, q):
    """Schulman 2020: samples of a, log r = log q − log p; the exact KL by SciPy."""
    p, q = np.array(p), np.array(q)
    letters, n = "abcd"[: len(p)], 4000
    rng = np.random.default_rng(7)
    tops = [dict(zip(letters, np.log(x), strict=True)) for x in (p, q)]
    pairs = zip(rng.choice(len(p), n, p=p), rng.choice(len(q), n, p=q), strict=True)
    forks = [
        tk.fork(choice(letters[x], top=[tops[0]]), choice(letters[y], top=[tops[1]])).divergence()
        for x, y in pairs
    ]
    log_r = np.log(q) - np.log(p)
    exact = {"k1": entropy(p, q), "k2": (p * log_r**2).sum() / 2, "k3": entropy(p, q)}
    for name, value in exact.items():
        drawn = np.array([f[name] for f in forks])
        assert abs(drawn.mean() - value) < 4 * drawn.std() / np.sqrt(n), name
    assert all(f["k3"] >= -1e-7 for f in forks)
    k1, k3 = (np.std([f[name] for f in forks]) for name in ("k1", "k3"))
    assert k3 < k1


def test_candidates_are_the_tokens_of_both_lists():
    table = two().candidates()
    assert table.columns.tolist() == ["id", "text", "logprob_a", "logprob_b", "difference", "taken"]
    assert table["text"].tolist() == ["c", "d"]
    assert table["logprob_a"].tolist() == pytest.approx([-0.7, -0.8])
    assert table["logprob_b"].tolist() == pytest.approx([-0.9, -0.6])
    assert table["difference"].tolist() == pytest.approx([-0.2, 0.2])
    assert table["taken"].tolist() == ["a", "b"]


def test_candidates_that_one_of_the_two_does_not_list():
    a = choice("s", logprobs=[-5], top=[{"c": -0.7, "d": -0.8}])  # a sampled token outside the top k
    b = choice("e", top=[{"e": -0.6, "c": -0.9}])
    table = tk.fork(a, b).candidates().set_index("text")
    assert table.index.tolist() == ["c", "d", "s", "e"]
    assert table["taken"].to_dict() == {"c": "", "d": "", "s": "a", "e": "b"}
    assert table.loc["s", "logprob_a"] == -5
    assert table["logprob_b"].isna().to_dict() == {"c": False, "d": True, "s": True, "e": False}
    ended = tk.fork(a, choice("", top=[])).candidates()
    assert ended["taken"].tolist() == ["", "", "a"]
    assert ended["logprob_b"].isna().all()
    none = tk.fork(a, a).candidates()
    assert none.empty
    assert none.columns.tolist() == two().candidates().columns.tolist()
    bare = tk.fork(choice("a"), choice("b")).candidates()
    assert bare["taken"].tolist() == ["a", "b"]
    assert bare[["logprob_a", "logprob_b"]].isna().all(axis=None)


texts = st.text("abcd", max_size=14)


@given(texts, texts)
def test_the_alignment_joins_back_to_both_texts(a, b):
    table = tk.fork(choice(a), choice(b)).alignment()
    assert "".join(table["text_a"]) == a
    assert "".join(table["text_b"]) == b
    for side, text in (("a", a), ("b", b)):
        firsts, lasts = table[f"first_{side}"].tolist(), table[f"last_{side}"].tolist()
        assert [0, *lasts] == [*firsts, len(text)]
    equal = table[table["what"] == "equal"]
    assert (equal["text_a"] == equal["text_b"]).all()
    assert set(table["what"]) <= {"equal", "replace", "delete", "insert"}


@given(texts, texts)
def test_a_fork_is_the_end_of_the_common_beginning(a, b):
    found, back = tk.fork(choice(a), choice(b)), tk.fork(choice(b), choice(a))
    assert found.shared == max(n for n in range(len(a) + 1) if b.startswith(a[:n]))
    assert (found.at is None) == (a == b)
    assert found.at == back.at


def test_an_alignment_goes_on_after_the_fork():
    table = tk.fork(choice("abcde"), choice("abxde")).alignment()
    assert table["what"].tolist() == ["equal", "replace", "equal"]
    assert table["text_a"].tolist() == ["ab", "c", "de"]
    assert table["text_b"].tolist() == ["ab", "x", "de"]


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (choice("ab"), choice("ab"), "the same 2 tokens"),
        (choice("ab", logprobs=[-1, -1]), choice("ab", logprobs=[-1, -1.5]), "the same 2 tokens; the largest drift "
         "is 0.5 nats"),
        (choice("ab"), choice("a"), "1 shared tokens, then at step 1 a says 'b' and b says the end "
         "(margin unknown and unknown nats)"),
        (two().a, two().b, "2 shared tokens, then at step 2 a says 'c' and b says 'd' (margin 0.1 and 0.3 nats); "
         "the largest drift before it is 0.25 nats"),
    ],
)  # fmt: skip
def test_sentences(a, b, said):
    found = tk.fork(a, b)
    assert found.sentence() == said
    assert repr(found) == f"Fork({said})"


def test_html_is_escaped():
    vocabulary = [b"<script>", b"</td>&"]
    a, b = (
        Choice(0, "", "stop", None, np.array([i], np.int32), np.zeros(1, np.float32), vocabulary=lambda: vocabulary)
        for i in (0, 1)
    )  # fmt: skip
    shown = tk.fork(a, b)._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "&lt;/td&gt;&amp;" in shown
    assert shown.count("<tr") == 5  # both answers, the head, both candidates
    assert '<mark style="background:rgba(230,159,0,.45);color:inherit">&lt;script&gt;</mark>' in shown
    assert "<table" not in tk.fork(a, a)._repr_html_()


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (
            lambda made: (made(error="too long"), made()),
            ValueError,
            "is an error and has no tokens: too long",
        ),
        (
            lambda made: (made(), made(error="too long")),
            ValueError,
            "is an error and has no tokens: too long",
        ),
        (
            lambda made: (made(), dataclasses.replace(made(), prompt_token_ids=np.array([1, 2], np.int32))),
            ValueError,
            "the two completions answer different prompts",
        ),
        (
            lambda made: (made(), choice("a")),
            ValueError,
            "the two answers have different tokenizers",
        ),
        (lambda made: ("a", made()), TypeError, "fork compares two completions or choices, got 'a'"),
        (lambda made: (made(), None), TypeError, "fork compares two completions or choices, got None"),
    ],
)
def test_what_cannot_be_compared(made, build, error, message):
    with pytest.raises(error, match=message):
        tk.fork(*build(made))


def test_of_completions_the_first_choices(made):
    found = tk.fork(made(n=2, top_logprobs=2), made(top_logprobs=2))
    assert found.at is None
    assert found.identical == 1


# Real answers


def test_two_seeds(engine, forced):
    asked = "Name an animal, in one short sentence."
    a, b = (engine.chat(asked, temperature=1, seed=s, max_tokens=8, top_logprobs=20) for s in (1, 2))
    found = tk.fork(a, b)
    assert found.at is not None
    assert a.token_ids[: found.at].tolist() == b.token_ids[: found.at].tolist()
    # Where they part, both saw the same beginning: their lists are the same.
    expected = forced(a.prompt_token_ids, a.token_ids)[found.at]
    best = np.sort(expected)[::-1]
    assert found.margins == pytest.approx([best[0] - best[1]] * 2, abs=1e-3)
    table = found.candidates()
    both = table.dropna(subset=["logprob_a", "logprob_b"])
    assert len(both) >= 18
    assert np.allclose(both["logprob_a"], expected[both["id"]], atol=1e-3)
    assert both["difference"].abs().max() < 1e-3
    assert set(table["taken"]) == {"a", "b", ""}
    assert all(abs(k) < 1e-3 for k in found.divergence().values() if not np.isnan(k))


def test_greedy_alone_and_in_a_batch_are_the_same_to_rounding(engine):
    asked = "Name three animals."
    options = {"temperature": 0, "max_tokens": 8, "top_logprobs": 3}
    alone = engine.chat(asked, **options)
    others = [Request.chat(f"Tell me about the number {i}.", **options) for i in range(15)]
    batch = list(engine.generate([Request.chat(asked, **options), *others]))
    (together,) = [c for c in batch if c.request.messages[0]["content"] == asked]
    found = tk.fork(alone, together)
    assert found.at is None
    assert found.shared == len(alone.token_ids)
    assert found.largest_drift < 1e-3
    assert found.near_ties == 0
    assert max(found.divergence().values()) < 1e-3
    assert found.sentence().startswith(f"the same {found.shared} tokens; the largest drift is ")
