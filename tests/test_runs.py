import dataclasses
from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import toolkit as tk
from toolkit.analysis.determinism.repeats import gather
from toolkit.core.completion import Completion, Usage
from toolkit.store.rows import StoredCompletion
from toolkit.store.store import Store

LETTERS = [bytes([i]) for i in range(128)]
OTHER = [bytes([127 - i]) for i in range(128)]
NAN, INF = float("nan"), float("inf")
ACROSS = "system_fingerprint"


def system(name, tokenizer="letters"):
    return tk.Fingerprint({"model": "by-hand", "tokenizer": tokenizer, "dtype": name})


def choice(text, top=None, index=0, ids=True):
    """A token for each letter; `top` has, for each step, a dict letter → log probability, the chosen one first."""
    arrays = {}
    if top is not None:
        arrays = {
            "logprobs": np.array([next(iter(step.values())) for step in top], np.float32),
            "top_ids": np.array([[ord(c) for c in sorted(s, key=lambda c: -s[c])] for s in top], np.int32),
            "top_logprobs": np.array([sorted(step.values(), reverse=True) for step in top], np.float32),
        }
    known = np.array([ord(c) for c in text] if ids else [], np.int32)
    return tk.Choice(index, text, "stop", token_ids=known, **arrays)


def gathered(answers, vocabularies=None, across=ACROSS, table=lambda t: t):
    """Runs of (request, system, choice or choices) in a store in memory, in that order."""
    store, again, rows = Store(":memory:"), {}, []
    for asked, name, made in answers:
        spelt = (vocabularies or {}).get(name)
        record = system(name, "letters" if spelt is None else name)
        store.begin_run("s", record, LETTERS if spelt is None else spelt or None)
        request = tk.Request.chat(asked, temperature=0).resolve({})
        repeat = again[asked, name] = again.get((asked, name), -1) + 1
        choices = made if isinstance(made, tuple) else (made,)
        tokens = sum(len(c.text) for c in choices)
        done = Completion(request, choices, Usage(1, tokens), "by-hand", record.id, "x", 1.0)
        store.add([StoredCompletion(done, repeat)])
        rows += [
            {
                "request": request.key,
                "system_fingerprint": record.id,
                "repeat": repeat,
                "choice": c.index,
                "text": c.text,
                "finish_reason": "stop",
                "completion_tokens": len(c.text),
                "name": name,
            }
            for c in choices
        ]
    return gather(table(pd.DataFrame(rows)), store, across)


def of(*texts, **options):
    """The runs of one request: texts of system a, or (system, text)."""
    pairs = [t if isinstance(t, tuple) else ("a", t) for t in texts]
    made = [("q", name, t if isinstance(t, tk.Choice) else choice(t)) for name, t in pairs]
    (runs,) = gathered(made, **options)[1]
    return runs


# What is gathered


def test_runs_side_by_side():
    names, (runs,) = gathered([("q", n, choice(t)) for n, t in [("a", "xyz"), ("b", "x"), ("a", "xyw")]])
    assert names == [system("a").id, system("b").id]
    assert runs.rows.tolist() == [0, 1, 2]
    assert runs.system.tolist() == [0, 1, 0]
    assert runs.length.tolist() == [3, 1, 3]
    assert runs.ids.tolist() == [[*map(ord, "xyz"), -1], [ord("x"), -1, -2, -2], [*map(ord, "xyw"), -1]]
    assert len(set(runs.output.tolist())) == 3
    assert runs.counts.sum(axis=1).tolist() == [2, 1]
    one, other, third = runs.output
    assert runs.fork[one, third] == 2
    assert runs.fork[one, other] == runs.fork[other, third] == 1
    assert runs.fork.diagonal().tolist() == [4] * 3
    assert runs.logprobs is runs.top_ids is runs.top_logprobs is None


def test_requests_and_choices_are_apart():
    two = (choice("ab"), choice("ac", index=1))
    names, made = gathered([("q", "a", two), ("r", "a", choice("ab")), ("q", "a", two)])
    assert len(names) == 1
    assert [(r.choice, r.rows.tolist()) for r in made] == [(0, [0, 3]), (1, [1, 4]), (0, [2])]
    assert made[0].request == made[1].request != made[2].request
    assert all(r.counts.shape == (1, 1) for r in made)


def test_a_completion_counts_once_and_an_error_not_at_all():
    answers = [("q", "a", choice("x")), ("q", "a", choice("y"))]

    def shown_twice(table):
        failed = table.assign(finish_reason="error", text="")
        return pd.concat([failed, table, table.assign(sweep="another")], ignore_index=True)

    (runs,) = gathered(answers, table=shown_twice)[1]
    assert runs.rows.tolist() == [2, 3]
    assert gathered(answers, table=lambda t: t.assign(finish_reason="error")) == ([], [])


def test_systems_are_whatever_a_column_says():
    """One completion may stand on two rungs; a missing value is a system too."""
    answers = [("q", "a", choice("x")), ("q", "b", choice("y"))]

    def rungs(table):
        return pd.concat([table.assign(rung=["alone", None]), table.iloc[:1].assign(rung="batch")])

    names, (runs,) = gathered(answers, across="rung", table=rungs)
    assert [n if isinstance(n, str) else "missing" for n in names] == ["alone", "missing", "batch"]
    assert runs.system.tolist() == [0, 1, 2]
    assert runs.output[0] == runs.output[2] != runs.output[1]


@pytest.mark.parametrize(
    ("texts", "vocabularies", "by_tokens"),
    [
        ([("a", "xy"), ("b", "xz")], {}, True),
        ([("a", "xy"), ("b", "xz")], {"a": LETTERS, "b": LETTERS}, True),  # two hashes of one vocabulary
        ([("a", "xy"), ("b", "xz")], {"a": LETTERS, "b": []}, True),  # as `fork` takes what is not known
        ([("a", "xy"), ("b", "xz")], {"a": LETTERS, "b": OTHER}, False),
        ([("a", "xy"), ("b", choice("xz", ids=False))], {}, False),
        ([("a", choice("xy", ids=False)), ("b", choice("xz", ids=False))], {}, False),
    ],
)
def test_texts_are_compared_where_token_ids_cannot_be(texts, vocabularies, by_tokens):
    runs = of(*texts, ("a", "xy"), vocabularies=vocabularies)
    assert runs.output[0] == runs.output[2] != runs.output[1]
    assert bool(runs.ids.size) == by_tokens
    assert runs.length.tolist() == [2, 2, 2]
    assert runs.first_fork() == pytest.approx(1 if by_tokens else NAN, nan_ok=True)
    assert runs.shared([0], [1]).tolist() == [1 if by_tokens else 0]


def test_texts_are_compared_to_the_last_character():
    runs = of(choice("x", ids=False), choice("x\0", ids=False), choice("x", ids=False))
    assert runs.counts.tolist() == [[2, 1]]


def test_one_request_of_two_tokenizers_takes_the_steps_of_no_other():
    spelt = {"a": LETTERS, "b": OTHER}
    answers = [("q", "a", choice("x")), ("q", "b", choice("x")), ("r", "a", choice("x"))]
    both, alone = gathered(answers, spelt)[1]
    assert (both.ids.size, alone.ids.tolist()) == (0, [[ord("x"), -1]])


@pytest.mark.parametrize(
    ("texts", "modes"),
    [
        (["x", "y", "y"], [1]),
        (["y", "x"], [1]),  # of equally common outputs that of the lowest number
        ([("a", "y"), ("b", "x"), ("a", "y"), ("b", "y")], [0, 1]),
        ([("a", "x"), ("b", "x"), ("b", "y"), ("b", "y")], [0, 2]),
    ],
)
def test_the_commonest_output_of_each_system(texts, modes):
    assert of(*texts).modes.tolist() == modes


def test_a_system_that_has_none_has_no_mode():
    _, (first, _) = gathered([("q", "a", choice("x")), ("r", "b", choice("x"))])
    assert first.modes.tolist() == [0, -1]
    assert first.counts.tolist() == [[1], [0]]


# Forks and pairs against all pairs of runs

answers = st.lists(
    st.tuples(st.sampled_from("ab"), st.text("xyz", min_size=1, max_size=5)), min_size=1, max_size=7
)


def parted(one, other):
    """The first step at which two texts differ, or only one goes on; None for the same."""
    if one == other:
        return None
    steps = (s for s in range(max(len(one), len(other))) if one[s : s + 1] != other[s : s + 1])
    return next(steps)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(answers)
def test_forks_and_pairs_are_those_of_all_pairs_of_runs(found):
    runs = of(*found)
    texts = [text for _, text in found]
    for i, j in product(range(len(texts)), repeat=2):
        step = parted(texts[i], texts[j])
        assert (runs.output[i] == runs.output[j]) == (step is None)
        assert runs.shared([i], [j]).tolist() == [len(texts[i]) if step is None else step]
        if step is not None:
            assert runs.fork[runs.output[i], runs.output[j]] == step
    wide = max(map(len, texts))
    for one, other in product(range(runs.systems), repeat=2):
        a, b = (np.flatnonzero(runs.system == s) for s in (one, other))
        forked, ended = np.zeros(wide), np.zeros(wide)
        for i, j in combinations(a, 2) if one == other else product(a, b):
            step = parted(texts[i], texts[j])
            if step is None:
                ended[len(texts[i]) - 1] += 1
            else:
                forked[step] += 1
        pairs = runs.pairs(one, other)
        assert [p.tolist() for p in pairs] == [forked.tolist(), ended.tolist()]
        if one == other:
            first = np.flatnonzero(forked)
            expected = first[0] if len(first) else NAN
            assert runs.first_fork(one) == pytest.approx(expected, nan_ok=True)
    steps = [s for i, j in combinations(texts, 2) if (s := parted(i, j)) is not None]
    assert runs.first_fork() == pytest.approx(min(steps, default=NAN), nan_ok=True)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(answers, st.randoms())
def test_the_order_of_runs_changes_nothing(found, draw):
    mixed = draw.sample(found, len(found))
    one, other = of(*found), of(*mixed)
    names = [list(dict.fromkeys(name for name, _ in order)) for order in (found, mixed)]
    rows = [names[1].index(name) for name in names[0]]
    assert other.counts[rows].tolist() == one.counts.tolist()
    assert other.fork.tolist() == one.fork.tolist()
    assert [mixed[other.modes[r]] for r in rows] == [found[m] for m in one.modes]


# Numbers beside numbers

STEPS = [{"a": -0.1, "x": -2.4}, {"b": -0.5, "y": -1.0}, {"c": -0.7, "d": -0.8}]
OTHERS = [{"a": -0.1, "x": -2.4}, {"b": -0.25, "y": -1.5}, {"d": -0.6, "c": -0.9}]


def test_numbers_side_by_side_by_hand_and_as_a_fork_has_them():
    runs = of(choice("abc", STEPS), choice("abd", OTHERS))
    found = runs.compared([0], [1])
    assert found.within.tolist() == [[True, True, False]]
    assert found.drift[0].tolist() == pytest.approx([0, 0.25, NAN], nan_ok=True)
    assert found.same.tolist() == [[True, False, False]]
    assert found.ulps[0, 0] == found.ulps[0, 2] == 0
    # From −0.25 to −0.5 the exponent grows by one: all 2^23 floats of that binade.
    assert found.ulps[0, 1] == 2**23
    assert found.margin[0].tolist() == pytest.approx([2.3, 0.5, NAN], nan_ok=True)
    fork = tk.fork(choice("abc", STEPS), choice("abd", OTHERS))
    assert found.largest_drift == pytest.approx(fork.largest_drift)
    assert found.drift[0, :2].tolist() == pytest.approx(fork.drift.tolist())
    assert found.same.sum() / found.within.sum() == fork.identical
    assert (runs.margin(0, 2), runs.margin(1, 2)) == pytest.approx(fork.margins)
    back = runs.compared([1], [0])
    assert back.drift[0, 1] == pytest.approx(-0.25)


def test_the_last_place_is_told():
    near = np.nextafter(np.float32(-0.5), np.float32(0))
    runs = of(choice("a", [{"a": -0.5, "x": -2}]), choice("a", [{"a": near, "x": -2}]))
    found = runs.compared([0], [1])
    assert found.ulps.tolist() == [[1]]
    assert not found.same.any()


@pytest.mark.parametrize(
    ("one", "other", "drift", "same"),
    [
        (-0.5, -0.5, 0, True),
        (NAN, NAN, NAN, True),
        (-INF, -INF, NAN, True),
        (-INF, -0.5, NAN, False),
        (-9999.0, -0.5, NAN, False),
        (-0.5, NAN, NAN, False),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_is_no_log_probability_does_not_drift(one, other, drift, same):
    found = of(choice("a", [{"a": one}]), choice("a", [{"a": other}])).compared([0], [1])
    assert found.drift[0, 0] == pytest.approx(drift, nan_ok=True)
    assert found.ulps.tolist() == [[0]]
    assert found.same.tolist() == [[same]]
    assert found.largest_drift == pytest.approx(drift, nan_ok=True)


@pytest.mark.parametrize(
    ("top", "same"),
    [
        ([{"a": -0.1, "x": -2.4}], True),
        ([{"a": -0.1, "x": -2.5}], False),
        ([{"a": -0.1, "y": -2.4}], False),
        ([{"a": -0.1}], False),  # a shorter list is not the same
    ],
)
def test_the_top_k_counts_for_the_bits(top, same):
    runs = of(choice("a", STEPS[:1]), choice("a", top))
    assert runs.top_ids.shape == runs.top_logprobs.shape == (2, 1, 2)
    assert runs.compared([0], [1]).same.tolist() == [[same]]
    assert runs.margin(0, 0) == pytest.approx(2.3)
    assert np.isnan(runs.margin(1, 0)) == (len(top[0]) == 1)


def test_a_run_without_lists_beside_one_that_has_them():
    bare = dataclasses.replace(choice("a", STEPS[:1]), top_ids=None, top_logprobs=None)
    runs = of(choice("a", STEPS[:1]), bare)
    found = runs.compared([0], [1])
    assert (found.drift.tolist(), found.same.tolist()) == ([[0]], [[False]])
    assert of(bare, bare).compared([0], [1]).same.tolist() == [[True]]
    assert np.isnan(of(bare, bare).margin(0, 0))


@pytest.mark.parametrize("top", [None, [{"a": -0.1}]])
def test_a_run_without_log_probabilities_leaves_nothing_to_compare(top):
    runs = of(choice("a", top), choice("a"))
    assert runs.compared([0], [1]) is None
    assert np.isnan(runs.margin(0, 0))


@pytest.mark.parametrize(("run", "step"), [(0, NAN), (1, 1), (0, 3)])
def test_no_margin_past_the_end(run, step):
    runs = of(choice("abc", STEPS), choice("a", STEPS[:1]))
    assert np.isnan(runs.margin(run, step))
    assert runs.margin(0, 1) == pytest.approx(0.5)


def test_arrays_of_the_store_are_those_of_its_completions(made, db):
    store = Store(db)
    record = system("a")
    store.begin_run("s", record, LETTERS)
    done = dataclasses.replace(made(n=2, top_logprobs=3), system_fingerprint=record.id)
    store.add([StoredCompletion(done, repeat) for repeat in range(2)])
    found = store.arrays([done.request.key, "unknown"])
    assert set(found) == {(done.request.key, record.id, r, c) for r in range(2) for c in range(2)}
    for (_, _, repeat, index), arrays in found.items():
        expected = store.completion(done.request.key, record.id, repeat).choices[index]
        for name, array in arrays.items():
            assert np.array_equal(array, getattr(expected, name)), name
            assert array.dtype == getattr(expected, name).dtype
    assert store.arrays([]) == {}
