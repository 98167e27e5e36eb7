import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import toolkit as tk
from toolkit.analysis.determinism.report import determinism
from toolkit.core.completion import Completion, Usage
from toolkit.display.plots.determinism import plot_determinism as picture
from toolkit.store.rows import Cell, StoredCompletion
from toolkit.store.store import Store
from toolkit.widgets.determinism import DeterminismView

LETTERS = [bytes([i]) for i in range(128)]
NAN = float("nan")
HOSTILE = "</td><script>alert(1)</script>"


def system(name, **more):
    return tk.Fingerprint(
        {"model": "by-hand", "tokenizer": "letters", "dtype": name, "revision": SALT, **more}
    )


def in_order(salt):
    """A table has systems in the order of their ids: here a before b, and c before d."""
    a, b, c, d = (system(name, revision=salt).id for name in "abcd")
    return a < b and c < d


SALT = 0
SALT = next(salt for salt in range(99) if in_order(salt))


def choice(text, logprobs=True, top=2, shift=0.0, index=0, ids=True):
    """A token for each letter, of log probability −0.5 + shift, then "z" at −0.75 + shift, then others by −1."""
    given = {}
    steps, places = len(text), np.arange(top)
    if logprobs and ids:
        falls = np.where(places > 1, -places, -0.5 - 0.25 * places).astype(np.float32) + np.float32(shift)
        others = np.array([ord("z") - k for k in range(top)], np.int32)
        given["logprobs"] = np.full(steps, -0.5 + shift, np.float32)
        given["top_ids"] = np.tile(others, (steps, 1))
        given["top_ids"][:, :1] = [[ord(c)] for c in text] if top else np.zeros((steps, 0))
        given["top_logprobs"] = np.tile(falls, (steps, 1))
    known = np.array([ord(c) for c in text] if ids else [], np.int32)
    return tk.Choice(index, text, "stop", token_ids=known, **given)


def stored(asked, store=None, sweep="s", vocabulary=LETTERS, **sampling):
    """Results of {prompt: {system: runs}}: a run is a text, a Choice, several, or None for an error."""
    store = store or Store(":memory:")
    options = {"temperature": 0, **sampling}
    requests, cells = [], []
    for row, (prompt, systems) in enumerate(asked.items()):
        request = tk.Request.chat(prompt, **options).resolve({})
        for name, runs in systems.items():
            record = name if isinstance(name, tk.Fingerprint) else system(name)
            store.begin_run(sweep, record, vocabulary)
            answers = [completion(request, record.id, run) for run in runs]
            store.add([StoredCompletion(answer, repeat) for repeat, answer in enumerate(answers)])
        requests.append(request)
        cells.append(Cell(request.key, 99, {"row": row}))
    body = {"rows": [{"word": prompt} for prompt in asked], "prompts": ["{word}"]}
    store.define(sweep, body, requests, cells)
    return tk.results(store)


def completion(request, fingerprint, run):
    if run is None:
        failed = (tk.Choice(0, "", "error"),)
        return Completion(request, failed, Usage(), "by-hand", fingerprint, "", 1.0, error="too long")
    choices = run if isinstance(run, tuple) else (choice(run) if isinstance(run, str) else run,)
    tokens = sum(len(c.text) for c in choices)
    return Completion(request, choices, Usage(1, tokens), "by-hand", fingerprint, "x", 1.0)


def said(results, *replaced, **options):
    """The sentences, with the ids of systems by their names."""
    found = "\n".join(results.determinism(**options).sentences())
    for name in replaced or ("a", "b"):
        found = found.replace(system(name).id, name.upper())
    return found.split("\n")


# Worked by hand


def five():
    """Of the first prompt A gives xyz thrice, xyw and xaz: A's agreement is 6/20. B gives xyw, xyw."""
    return stored({"q": {"a": ["xyz", "xyz", "xyw", "xaz", "xyz"], "b": ["xyw", choice("xyw", shift=0.125)]}})


def test_requests_by_hand():
    found = five().determinism().requests.set_index("system_fingerprint")
    a, b = (found.loc[system(n).id] for n in "ab")
    assert (a["runs"], a["unique"], a["same"], a["differ"], a["random"]) == (5, 3, False, 2, False)
    assert (a["modal_share"], a["agreement"]) == (0.6, 6 / 20)
    assert a["effective"] == pytest.approx(25 / 11)
    assert (a["fork"], a["margin"]) == (1, 0.25)
    assert (a["drift"], a["ulps"], a["bitwise"], a["near_ties"]) == (0, 0, 1, 0)
    assert (a["tokens_std"], a["top1_std"]) == (0, 0)
    assert (a["setting"], a["sampling"]) == ("greedy", "greedy")
    # Two of the four runs beside the mode differ from it.
    assert a["bound"] == pytest.approx(0.9024, abs=1e-4)
    assert (b["runs"], b["unique"], b["same"], b["differ"], b["agreement"]) == (2, 1, True, 0, 1)
    assert np.isnan([b["fork"], b["margin"]]).all()
    # −0.5 against −0.375: four of the eight binades' floats; all three steps drift alike, none by over its margin.
    assert (b["drift"], b["ulps"], b["bitwise"], b["near_ties"]) == (0.125, 2**22, 0, 0)
    assert b["top1_std"] == pytest.approx(np.std(np.exp([-0.5, -0.375]), ddof=1))
    assert b["bound"] == pytest.approx(0.95)  # of one run that could have differed


def test_between_by_hand():
    found = five().determinism().between
    (row,) = found.to_dict("records")
    assert [row["a"], row["b"]] == [system("a").id, system("b").id]
    assert (row["requests"], row["forked"], row["share_forked"], row["bound"]) == (1, 1, 1, 1)
    # Of B's xyw one of A's five; within A 6/20, within B 1.
    assert row["agreement"] == pytest.approx(1 / 5)
    assert row["effect"] == pytest.approx((6 / 20 + 1) / 2 - 1 / 5)
    assert 0.1 < row["p"] <= 1
    assert (row["first_fork"], row["fork_median"], row["margin"], row["drift"]) == (2, 2, 0.25, 0)
    assert (row["bitwise"], row["near_ties"], row["k1"], row["k2"], row["k3"]) == (1, 0, 0, 0, 0)
    assert row["differ"] == "these 2 fingerprints differ in dtype (a, b)"


def test_the_ks_are_those_of_a_fork_without_its_last_step():
    a, b = choice("xyz"), choice("xyz", shift=-0.25)
    (row,) = stored({"q": {"a": [a], "b": [b]}}).determinism().between.to_dict("records")
    # log r = −0.25 at each of three tokens; margin 0.25 is not below the drift of 0.25.
    by_hand = {"k1": 0.25, "k2": 0.03125, "k3": np.exp(-0.25) - 1 + 0.25}
    assert {n: row[n] for n in by_hand} == pytest.approx(by_hand)
    assert tk.fork(a, b).divergence() == pytest.approx(by_hand)
    assert (row["drift"], row["bitwise"], row["near_ties"]) == (0.25, 0, 0)


def test_forks_by_hand():
    found = five().determinism()
    frame = found.forks
    assert frame["step"].tolist() == [1, 2]  # of A alone xyz and xaz or xyw, both once; of A and B
    assert frame[["token_a", "token_b"]].to_numpy().tolist() == [["y", "a"], ["z", "w"]]
    assert frame[["runs_a", "runs_b"]].to_numpy().tolist() == [[3, 1], [3, 2]]
    assert frame["margin_a"].tolist() == frame["margin_b"].tolist() == [0.25, 0.25]
    assert [found.fork(i).at for i in range(2)] == [1, 2]
    assert found.fork(1).candidates()["taken"].tolist().count("b") == 1
    with pytest.raises(IndexError):
        found.fork(2)


def test_cells_of_the_matrix_by_hand():
    asked = {
        "q": {"a": ["xy", "xy", "xz"], "b": ["xw"]},
        "r": {"a": ["x"], "b": ["x"]},
        "s": {"b": ["x", "x"]},
    }
    found = stored(asked).determinism()
    a, b = (system(name).id for name in "ab")
    rows = found.agreements.to_numpy(object).tolist()
    assert [row[:2] + row[3:] for row in rows] == [[a, a, 1, 1], [a, b, 2, 1], [b, b, 1, 0]]
    assert [row[2] for row in rows] == pytest.approx([1 / 3, 1 / 2, 1])
    within, between = found.forked(a), found.forked(b, a)
    assert [found.forks.index[found.forks["b"] == name].tolist() for name in (a, b)] == [[0], [1]]
    assert (within.index.tolist(), between.index.tolist()) == ([0], [1])
    (row,) = between.to_dict("records")
    assert [row[n] for n in ("prompt", "a", "b", "token_a", "token_b")] == ["q", a, b, "y", "w"]
    assert [row[n] for n in ("runs_a", "all_a", "runs_b", "all_b")] == [2, 3, 1, 1]
    assert found.texts(1) == ("xy", "xw")
    assert len(found.forked(b)) == 0
    with pytest.raises(KeyError, match="'none' is not in these results"):
        found.forked("none")


def test_what_a_forked_request_was():
    asked = {"q": {"a": ["x", "y"]}}
    found = stored(asked, temperature=1, seed=3).determinism(by=["temperature", "row.word"])
    assert found.forked(system("a").id)[["prompt", "temperature", "row.word"]].to_numpy().tolist() == [
        ["q", 1, "q"]
    ]
    for prompt, said in (("once upon", "once upon"), ((1, 2, 3), "3 token ids")):
        request = tk.Request(prompt=prompt).resolve({})
        found.store.define("more", {"rows": [], "prompts": ["?"]}, [request], [])
        assert found._fork_table.prompt(request.key) == said


def test_fingerprints_are_told_apart_by_what_any_two_differ_in():
    records = [system("a", threads=4), system("b", threads=4), system("a")]
    table = stored({"q": {record: ["x"] for record in records}}).determinism().fingerprint_differences()
    told = {name: dict(row) for name, row in table.iterrows()}
    absent = "not there"
    expected = [("a", 4), ("b", 4), ("a", absent)]
    assert [tuple(told[r.id][n] for n in ("dtype", "threads")) for r in records] == expected
    assert stored({"q": {"a": ["x"]}}).determinism().fingerprint_differences().shape == (1, 0)


def test_the_end_of_an_answer_is_no_token():
    found = stored({"q": {"a": ["xy", "xy", "xyz"]}}).determinism()
    (row,) = found.forks.to_dict("records")
    assert (row["step"], row["token_a"], row["token_b"]) == (2, None, "z")
    assert np.isnan(row["margin_a"])
    assert row["margin_b"] == 0.25


def test_matrix_survival_drift_and_spread_by_hand():
    found = five().determinism()
    assert found.matrix().to_numpy() == pytest.approx(np.array([[0.3, 0.2], [0.2, 1]]))
    # Of A's ten pairs four fork at 1 (with xaz), three at 2, and three are the same.
    a = found.survival(system("a").id)
    assert a["survival"].tolist() == pytest.approx([1, 1, 0.6, 0.3])
    assert a["at_risk"].tolist() == [10, 10, 6, 0]
    # With B's only pair, which is the same.
    assert found.survival()["survival"].tolist() == pytest.approx([1, 1, 7 / 11, 4 / 11])
    assert found.survival()["low"].isna().all()  # one request
    # Of A's with B's ten pairs two fork at 1, six at 2, two are the same.
    both = found.survival(system("a").id, system("b").id)
    assert both["survival"].tolist() == pytest.approx([1, 1, 0.8, 0.2])
    drift = found.drift()
    assert drift["pairs"].tolist() == [6, 5, 2]
    assert drift["largest"].tolist() == [0.125, 0.125, 0]
    assert drift["median"].tolist() == [0, 0, 0]
    spread = found.spread()
    assert (spread["fork"], spread["forked"], spread["std_tokens"]) == (1, 1, 0)
    assert np.isnan(spread["std_accuracy"])
    one = np.exp([-0.5] * 6 + [-0.375])
    assert spread["std_top1"] == pytest.approx(one.std(ddof=1))
    with pytest.raises(KeyError, match="system_fingerprint 'fp_none' is not in these results: fp_"):
        found.survival("fp_none")


def test_the_margin_is_where_the_first_fork_is():
    """The commonest two part at 2, but one run left at 0, where the margin was 1."""
    wide = choice("xyz")
    margins = wide.top_logprobs.copy()
    margins[:, 1] = margins[:, 0] - [1, 2, 3]
    wide = dataclasses.replace(wide, top_logprobs=margins)
    found = stored({"q": {"a": [wide, wide, wide, "xyw", "xyw", "a"]}}).determinism().requests
    assert (found.at[0, "fork"], found.at[0, "margin"]) == (0, 1)


def test_tar_and_accuracy_by_hand():
    """Three prompts, three runs each; right are 3, 1 and 0 of them. Answers are the first letters."""
    results = stored(
        {"q": {"a": ["xa", "xb", "xc"]}, "r": {"a": ["x", "y", "y"]}, "s": {"a": ["y", "y", "y"]}}
    )
    found = results.determinism(score=lambda row: row["text"].startswith("x"), parse=lambda text: text[0])
    (row,) = found.within.to_dict("records")
    assert (row["requests"], row["repeated"], row["runs"]) == (3, 3, 9)
    assert row["same"] == row["best"] - row["worst"] == row["spread"] == pytest.approx(1 / 3)
    assert row["same_answer"] == pytest.approx(2 / 3)
    assert (row["accuracy"], row["best"], row["worst"]) == pytest.approx((4 / 9, 2 / 3, 1 / 3))
    assert row["agreement"] == pytest.approx((0 + 1 / 3 + 1) / 3)
    assert row["unique"] == 3
    assert row["differ"] == 3
    assert row["same_low"] < 1 / 3 < row["same_high"]
    assert row["agreement_low"] <= row["agreement"] <= row["agreement_high"]


@pytest.mark.parametrize(
    ("answers", "same"),
    [
        ({"x": 1, "y": 1}, True),
        ({"x": 1, "y": 1.0}, True),
        ({"x": {"p": 1, "q": [2]}, "y": {"q": [2], "p": 1}}, True),
        ({"x": [1, 2], "y": [1, 3]}, False),
        ({"x": None, "y": None}, False),  # a failure never agrees, not even with another
        ({"x": 1, "y": None}, False),
        ({"x": NAN, "y": NAN}, False),
        ({"x": "1", "y": 1}, False),
    ],
)
def test_answers_agree_whatever_the_words(answers, same):
    found = stored({"q": {"a": ["x", "y", "x"]}}).determinism(parse=answers.get)
    assert found.requests["same_answer"].tolist() == [same]
    assert found.within["same_answer"].tolist() == [same]


def test_a_mean_of_scores_over_systems():
    results = stored({"q": {"a": ["x"], "b": ["y"]}, "r": {"a": ["x"], "b": ["x"]}})
    found = results.determinism(score=lambda row: row["text"] == "x")
    assert found.spread()["std_accuracy"] == pytest.approx(np.std([1, 0.5], ddof=1))
    # Single runs cannot tell the best from the worst.
    assert found.within[["best", "worst", "spread"]].isna().all(axis=None)


# What must not be claimed


def test_single_runs_bound_nothing():
    """A thousand of them are no thousand repeats."""
    found = stored({f"q{i}": {"a": ["x"]} for i in range(20)}).determinism()
    assert found.within["bound"].tolist() == [1]
    assert found.requests["bound"].tolist() == [1] * 20
    assert found.within["same"].isna().all()
    assert found.matrix().isna().all(axis=None)
    assert found.survival().empty
    assert found.survival().columns.tolist() == ["at_risk", "forked", "survival", "low", "high"]


def test_among_single_runs_only_repeated_ones_count():
    asked = {f"q{i}": {"a": ["x"]} for i in range(8)} | {"r": {"a": ["x", "x"]}, "s": {"a": ["x", "y"]}}
    (row,) = stored(asked).determinism().within.to_dict("records")
    assert (row["requests"], row["repeated"], row["runs"], row["same"], row["differ"]) == (10, 2, 12, 0.5, 1)
    assert row["bound"] == pytest.approx(0.9747, abs=1e-4)  # one of two, not one of twelve
    assert said(stored(asked)) == [
        "A (by-hand): 1 of 2 requests with several runs (of 10) gave different outputs over 4 runs, up to 2 of one "
        "request, first at token 0. At 95 % confidence no more than 98 % of such requests and of such runs do. An "
        "equal fingerprint does not prove equal output. 8 were asked once, which tells nothing of repeats."
    ]


@pytest.mark.parametrize(
    ("requests", "runs", "of_runs", "of_requests"),
    [
        # The runs of one request resemble each other: 20 requests without a difference, however many runs.
        (20, 16, 1 - 0.05 ** (1 / 20), 1 - 0.05 ** (1 / 20)),
        (20, 3, 1 - 0.05 ** (1 / 20), 1 - 0.05 ** (1 / 20)),
        (2, 200, 1 - 0.05 ** (1 / 2), 1 - 0.05 ** (1 / 2)),
        # Of one request only its own further runs are bounded, and of requests nothing but the one.
        (1, 10, 1 - 0.05 ** (1 / 10), 0.95),
        (1, 90, 1 - 0.05 ** (1 / 90), 0.95),
    ],
)
def test_bounds_are_over_requests(requests, runs, of_runs, of_requests):
    asked = {f"q{i}": {"a": ["x"] * runs} for i in range(requests)}
    (row,) = stored(asked).determinism().within.to_dict("records")
    assert row["bound"] == pytest.approx(of_runs, rel=1e-4)
    assert row["bound_requests"] == pytest.approx(of_requests)


def test_two_systems_of_one_request_are_no_two_requests():
    """The band of the survival curve is over requests."""
    found = stored({"q": {"a": ["x", "y"], "b": ["x", "x"]}}).determinism().survival()
    assert found["survival"].tolist() == [1, 0.5]
    assert found["low"].isna().all()


NONE_DIFFERS = "none differs from the others of its request"
BITS = f"{NONE_DIFFERS}, and all stored log probabilities have the same bits"
TWO_RUNS = (
    "At 95 % confidence less than 95 % of further runs of this request do: were it more, 2 equal runs would be rarer "
    "than 1 in 20."
)
UNSEEDED = (
    "Sampled without a seed, so that runs differ by design: {}. "
    "Give a seed, or temperature 0, to see what the system does."
)
FORKED = "these 2 fingerprints differ in dtype (a, b)."
ONE, FIRST, SECOND = "A (by-hand)", "A (dtype a)", "B (dtype b)"
SINGLE = "one run of each of {}, so that nothing is known of repeats: ask with repeats=."
NO_FORK = (
    "At 95 % confidence less than 95 % of such requests fork: were it more, 1 request without a fork would be rarer "
    "than 1 in 20."
)
EQUAL = "An equal fingerprint does not prove equal output."
CASES = {
    "one run each": (
        {"q": {"a": ["x"]}, "r": {"a": ["x"]}},
        {},
        [f"{ONE}: {SINGLE.format('2 requests')}"],
    ),
    "one run": ({"q": {"a": ["x"]}}, {}, [f"{ONE}: {SINGLE.format('1 request')}"]),
    "no difference": (
        {"q": {"a": ["xy"] * 21}, "r": {"a": ["z"] * 21}},
        {},
        # 1 − 0.05^(1/2) = 0.7764: two requests, whose runs resemble each other
        [
            f"{ONE}: 2 requests, 42 runs, {BITS}. At 95 % confidence less than 78 % of such requests and of such "
            "runs do: were it more, 2 requests without a difference would be rarer than 1 in 20."
        ],
    ),
    "no difference of one request": (
        {"q": {"a": ["xy"] * 10}},
        {},
        # 1 − 0.05^(1/10) = 0.2589
        [
            f"{ONE}: 1 request, 10 runs, {BITS}. At 95 % confidence less than 26 % of further runs of this request "
            "do: were it more, 10 equal runs would be rarer than 1 in 20."
        ],
    ),
    "no difference but in bits": (
        {"q": {"a": ["x", choice("x", shift=0.125)]}},
        {},
        [
            f"{ONE}: 1 request, 2 runs, {NONE_DIFFERS}, though log probabilities differ by up to 0.12 nats. "
            f"{TWO_RUNS}"
        ],
    ),
    "forks within": (
        {"q": {"a": ["xy", "xy", "xz"]}, "r": {"a": ["x", "x", "x"]}},
        {},
        [
            f"{ONE}: 1 of 2 requests gave different outputs over 6 runs, up to 2 of one request, first at token 1. "
            f"At 95 % confidence no more than 98 % of such requests and 94 % of such runs do. {EQUAL}"
        ],
    ),
    "forks between": (
        {"q": {"a": ["xy"], "b": ["xz"]}, "r": {"a": ["x"], "b": [choice("x", shift=-0.25)]}},
        {},
        [
            f"{FIRST}: {SINGLE.format('2 requests')}",
            f"{SECOND}: {SINGLE.format('2 requests')}",
            f"A and B: {FORKED} 1 of 2 requests forks, first at token 1; median margin there 0.25 nats; log "
            "probabilities differ by up to 0.25 nats.",
        ],
    ),
    "no fork between": (
        {"q": {"a": ["x", "x"], "b": ["x", "x"]}},
        {},
        [
            f"{FIRST}: 1 request, 2 runs, {BITS}. {TWO_RUNS}",
            f"{SECOND}: 1 request, 2 runs, {BITS}. {TWO_RUNS}",
            f"A and B: {FORKED} None of 1 request forks: the commonest outputs are the same; p = 1 that runs of one "
            f"system differ as much. {NO_FORK}",
        ],
    ),
    "nothing in common": (
        {"q": {"a": ["x"]}, "r": {"b": ["x"]}},
        {},
        [
            f"{FIRST}: {SINGLE.format('1 request')}",
            f"{SECOND}: {SINGLE.format('1 request')}",
            f"A and B: {FORKED} No request was asked of both.",
        ],
    ),
    "unseeded": (
        {"q": {"a": ["x", "y"], "b": ["x"]}},
        {"temperature": 1},
        [
            f"{FIRST}: 1 of 1 request gave several outputs over 2 runs, up to 2 of one request, as draws without a "
            "seed do.",
            f"{SECOND}: {SINGLE.format('1 request')}",
            f"A and B: {FORKED} None of 1 request forks: the commonest outputs are the same. {NO_FORK}",
            UNSEEDED.format("1 of 1 request"),
        ],
    ),
    "unseeded and equal": (
        {"q": {"a": ["x", "x"]}},
        {"temperature": 1},
        [
            f"{ONE}: 1 request, 2 runs, {BITS}. {TWO_RUNS} Nothing fixes what they draw.",
            UNSEEDED.format("1 of 1 request"),
        ],
    ),
    "seeded": (
        {"q": {"a": ["x", "x"]}},
        {"temperature": 1, "seed": 3},
        [f"{ONE}: 1 request, 2 runs, {BITS}. {TWO_RUNS}"],
    ),
    "errors are left out": (
        {"q": {"a": ["x", None, "x"]}, "r": {"a": [None]}},
        {},
        [f"{ONE}: 1 request, 2 runs, {BITS}. {TWO_RUNS}"],
    ),
    "no logprobs": (
        {"q": {"a": [choice("x", logprobs=False)] * 2, "b": [choice("x", logprobs=False)] * 2}},
        {},
        [
            f"{FIRST}: 1 request, 2 runs, {NONE_DIFFERS}. {TWO_RUNS}",
            f"{SECOND}: 1 request, 2 runs, {NONE_DIFFERS}. {TWO_RUNS}",
            f"A and B: {FORKED} None of 1 request forks: the commonest outputs are the same; p = 1 that runs of one "
            f"system differ as much. {NO_FORK}",
        ],
    ),
    "no token ids": (
        {"q": {"a": [choice("x", ids=False), choice("y", ids=False)], "b": [choice("y", ids=False)]}},
        {},
        [
            f"{FIRST}: 1 of 1 request gave different outputs over 2 runs, up to 2 of one request. {EQUAL}",
            f"{SECOND}: {SINGLE.format('1 request')}",
            f"A and B: {FORKED} 1 of 1 request forks.",
        ],
    ),
    "several choices": (
        {"q": {"a": [(choice("x"), choice("y", index=1)), (choice("x"), choice("z", index=1))]}},
        {"temperature": 1, "n": 2, "seed": 1},
        [
            f"{ONE}: 1 of 2 choices gave different outputs over 4 runs, up to 2 of one choice, first at token 0. "
            f"At 95 % confidence no more than 98 % of such choices and of such runs do. {EQUAL}"
        ],
    ),
    "lists of two lengths": (
        {"q": {"a": ["x", choice("x", top=3)]}},
        {},
        [
            f"{ONE}: 1 request, 2 runs, {NONE_DIFFERS}, though log probabilities of other tokens are not all the "
            f"same. {TWO_RUNS}"
        ],
    ),
    "no lists": (
        {"q": {"a": [choice("x", top=0)] * 2}},
        {},
        [f"{ONE}: 1 request, 2 runs, {BITS}. {TWO_RUNS}"],
    ),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("asked", "sampling", "expected"), CASES.values(), ids=CASES)
def test_sentences(asked, sampling, expected):
    results = stored(asked, **sampling)
    assert said(results) == expected
    assert repr(results.determinism()).count("\n") == len(expected) - 1


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_called_deterministic_and_no_agreement_is_without_its_bound(name):
    asked, sampling, _ = CASES[name]
    for sentence in said(stored(asked, **sampling)):
        assert "determinis" not in sentence.lower()
        if "none differs" in sentence or "None of" in sentence:
            assert "At 95 % confidence less than" in sentence
            assert "would be rarer than 1 in 20" in sentence
        if "gave different outputs" in sentence:
            assert "does not prove equal output" in sentence


def test_what_other_tokens_say_is_not_called_a_drift_of_zero():
    drifted = choice("x")
    top = drifted.top_logprobs.copy()
    top[0, 1] -= 1
    drifted = dataclasses.replace(drifted, top_logprobs=top)
    (told,) = said(stored({"q": {"a": ["x", drifted]}}))
    assert "though log probabilities of other tokens are not all the same" in told
    *_, between = said(stored({"q": {"a": ["x"], "b": [drifted]}}))
    assert "the same; log probabilities of other tokens are not all the same" in between


def test_a_bound_is_rounded_up():
    # 1 − 0.05^(1/20) = 0.1391, which 14 % holds and 13 % does not; of 2 runs 0.95.
    (told,) = said(stored({"q": {"a": ["x"] * 20}}))
    assert "less than 14 % of further runs of this request" in told
    # 1 − 0.05^(1/8) = 0.3123…: rounded to the nearest it were 31 %.
    assert "less than 32 % of further runs" in said(stored({"q": {"a": ["x"] * 8}}))[0]


# By setting


def studied(store=None):
    """Greedy and seeded answers that are all equal, unseeded ones that are not, and one request asked once."""
    store = store or Store(":memory:")
    stored({"q": {"a": ["xy"] * 4}, "r": {"a": ["z"] * 4}}, store, "greedy")
    stored({"once": {"a": ["x"]}}, store, "greedy, once")
    stored({"q": {"a": ["xy"] * 4}, "r": {"a": ["x"] * 4}}, store, "seeded", temperature=0.8, seed=7)
    drawn = {"q": {"a": ["xy", "xz", "xw", "xy"]}, "r": {"a": ["x", "y", "z", "w"]}}
    return stored(drawn, store, "drawn", temperature=0.8)


EQUAL_PAIR = (
    "At 95 % confidence less than 78 % of such requests and of such runs do: were it more, 2 requests without a "
    "difference would be rarer than 1 in 20."
)
BY_SETTING = [
    f"temperature 0 (greedy): 2 requests with several runs (of 3), 8 runs, {BITS}. {EQUAL_PAIR} One was asked once, "
    "which tells nothing of repeats.",
    f"temperature 0.8 (seeded): 2 requests, 8 runs, {BITS}. {EQUAL_PAIR}",
    "temperature 0.8 (sampled without a seed): 2 of 2 requests gave several outputs over 8 runs, up to 4 of one "
    "request, as draws without a seed do.",
]


def test_the_report_leads_with_a_line_a_setting():
    assert said(studied(), by="temperature") == [
        *BY_SETTING,
        f"All settings together, {ONE}: 2 of 6 requests with several runs (of 7) gave different outputs over 24 "
        "runs, up to 4 of one request, first at token 0. 2 of them differ by design, without a seed. One was asked "
        "once, which tells nothing of repeats.",
        UNSEEDED.format("2 of 7 requests"),
    ]


@pytest.mark.parametrize(
    ("by", "labels"),
    [
        ([], ["greedy", "seeded", "sampled without a seed"]),
        (
            ["row.word"],
            [
                "row.word q (greedy)",
                "row.word r (greedy)",
                "row.word once (greedy)",
                "row.word q (seeded)",
                "row.word r (seeded)",
                "row.word q (sampled without a seed)",
                "row.word r (sampled without a seed)",
            ],
        ),
        (
            ["temperature"],
            [
                "temperature 0 (greedy)",
                "temperature 0.8 (seeded)",
                "temperature 0.8 (sampled without a seed)",
            ],
        ),
        (
            ["temperature", "seed"],
            [
                "temperature 0, no seed (greedy)",
                "temperature 0.8, seed 7 (seeded)",
                "temperature 0.8, no seed (sampled without a seed)",
            ],
        ),
    ],
)
def test_by_changes_the_sentences(by, labels):
    found = studied().determinism(by=by)
    sentences = found.sentences()
    assert [sentence.split(":")[0] for sentence in sentences[: len(labels)]] == labels
    assert sentences[len(labels)].startswith("All settings together")
    assert found.settings["setting"].tolist() == labels


def test_a_difference_that_a_seed_should_have_prevented_is_not_by_design():
    store = Store(":memory:")
    stored({"q": {"a": ["x", "y"]}}, store, "greedy")
    results = stored({"q": {"a": ["x", "y"]}}, store, "drawn", temperature=1)
    greedy, drawn, pooled, _ = said(results, by="temperature")
    assert greedy.startswith("temperature 0 (greedy): 1 of 1 request gave different outputs")
    assert drawn.startswith("temperature 1 (sampled without a seed): 1 of 1 request gave several outputs")
    assert (
        f"2 of 2 requests gave different outputs over 4 runs, up to 2 of one request, first at token 0. 1 of them "
        f"differs by design, without a seed. {EQUAL}" in pooled
    )


def test_forks_have_their_setting():
    found = studied().determinism(by="temperature")
    assert set(found.forks["setting"]) == {"temperature 0.8 (sampled without a seed)"}
    assert ">setting</th>" in found._repr_html_()
    assert ">temperature 0.8 (sampled without a seed)</td>" in found._repr_html_()
    alone = stored({"q": {"a": ["x", "y"]}}).determinism()
    assert alone.first_forks(3).columns[0] == "prompt"
    assert "setting" not in alone.first_forks(3)


def test_two_systems_differ_by_setting():
    store = Store(":memory:")
    stored({"q": {"a": ["x"], "b": ["x"]}, "r": {"a": ["x"], "b": ["y"]}}, store, "greedy")
    results = stored({"q": {"a": ["x"], "b": ["y"]}}, store, "drawn", temperature=1)
    pair = next(sentence for sentence in said(results, by="temperature") if sentence.startswith("A and B"))
    assert pair.endswith(
        "By setting: temperature 0 (greedy) 1 of 2, temperature 1 (sampled without a seed) 1 of 1."
    )
    assert (
        said(results, by="temperature")[0]
        == f"temperature 0 (greedy), {FIRST}: {SINGLE.format('2 requests')}"
    )


def test_many_settings_are_counted():
    results = stored({f"q{i:02}": {"a": ["x", "x"]} for i in range(25)})
    sentences = results.determinism(by="row.word").sentences()
    assert sentences[20] == "… and 5 more settings: see the table `settings`."
    assert len(sentences) == 22
    assert len(results.determinism(by="row.word").settings) == 25
    assert results.determinism(by="row.word")._repr_html_().count("row.word q") == 2 * 20


UNWANTED = re.compile(r"\b(nan|NaN|NaT|inf|null)\b|<NA>|&lt;NA&gt;|\b[1-9]\d*\.\d{4,}|\b0\.0*[1-9]\d{4,}")
"""A missing value as a word, and more than four significant digits."""


@pytest.mark.parametrize("name", [*CASES, "by setting", "scored"])
def test_no_display_has_an_unknown_as_a_word_or_too_many_digits(name):
    if name in CASES:
        asked, sampling, _ = CASES[name]
        found = stored(asked, **sampling).determinism()
    else:
        score = {"score": lambda row: 1 / 3, "parse": lambda text: text} if name == "scored" else {}
        found = studied().determinism(**score)
    view = DeterminismView(found)
    for display in (
        repr(found),
        found._repr_html_(),
        view.text(),
        view.html(),
        json.dumps(view.content["settings"]),
    ):
        display = re.sub(r'style="[^"]*"', "", display)
        assert not UNWANTED.search(display), UNWANTED.search(display)


@pytest.mark.filterwarnings("error")
def test_the_picture_leads_with_the_settings():
    labels = [
        "temperature 0 (greedy)",
        "temperature 0.8 (seeded)",
        "temperature 0.8 (sampled without a seed)",
    ]
    first, survival, *rest = studied().determinism(by="temperature").plot().axes
    assert [label.get_text() for label in first.get_yticklabels()] == labels
    assert "by setting" in first.get_title()
    assert [line.get_label() for line in survival.lines] == labels
    assert len(rest) == 2  # of one system no matrix
    store = Store(":memory:")
    stored({"q": {"a": ["x", "x"], "b": ["x", "x"]}}, store, "greedy")
    results = stored({"q": {"a": ["x", "y"], "b": ["x", "y"]}}, store, "drawn", temperature=1)
    assert len(results.determinism(by="temperature").plot().axes) == 5


# Tables that are not one sweep on one system


def test_what_several_sweeps_and_cells_ask_counts_once():
    once = stored({"q": {"a": ["x", "x", "y"]}})
    store = once._store
    request = once[0].request
    store.define(
        "again", {"prompts": []}, [request], [Cell(request.key, 99, {}), Cell(request.key, 2, {"case": "c"})]
    )
    twice = tk.results(store)
    assert len(twice) == 8
    assert said(twice) == said(once)
    found = twice.determinism()
    assert found.requests["runs"].tolist() == [3]
    assert len(found.cells) == 1


def test_settings_are_those_of_the_system_that_they_stand_beside():
    models = [system("a", model="small"), system("b", model="large")]
    found = stored({"q": {models[0]: ["x", "x"], models[1]: ["y", "y"]}}).determinism(by="model")
    labels = found.requests.set_index("system_fingerprint")["model"].to_dict()
    assert labels == {models[0].id: "small", models[1].id: "large"}
    assert found.cells.index.tolist() == [(labels[name], name) for name in found.systems]
    assert found.cells.index.names == ["model", "system_fingerprint"]
    words = [f"model {labels[name]} (greedy)" for name in found.systems]
    assert found.forks["setting"].tolist() == [" and ".join(words)]
    assert [sentence.split(", ")[0] for sentence in found.sentences()[:2]] == words
    assert [line.get_label() for line in found.plot().axes[2].lines][:2] == words


def test_cells_are_settings():
    store = Store(":memory:")
    stored({"q": {"a": ["x", "y"]}}, store)
    results = stored({"q": {"a": ["x", "x"]}}, store, "t", temperature=1, seed=1)
    cells = results.determinism(by="temperature").cells
    assert cells["same"].to_dict() == {(0.0, system("a").id): 0, (1.0, system("a").id): 1}
    assert results.determinism().cells.index.names == ["sweep", "temperature", "system_fingerprint"]


def test_systems_may_be_anything_else():
    results = stored({"q": {"a": ["x", "x", "y"]}})
    table = results._table.assign(rung=["alone", "batch", "batch"])
    found = determinism(table, results._store, across="rung", difference=lambda a, b: f"{a}, not {b}")
    assert found.within.index.tolist() == ["alone", "batch"]
    assert found.sentences() == [
        f"rung alone: {SINGLE.format('1 request')}",
        "rung batch: 1 of 1 request gave different outputs over 2 runs, up to 2 of one request, first at token 0. "
        "An equal rung does not prove equal output.",
        "rung alone and rung batch: alone, not batch. None of 1 request forks: the commonest outputs are the same. "
        f"{NO_FORK}",
    ]
    assert found.survival("alone", "batch")["survival"].tolist() == [1, 0.5]
    mixed = table.set_axis([7, 7, 3])  # an index says nothing
    again = determinism(mixed, results._store, across="rung")
    assert again.sentences()[0] == found.sentences()[0]
    assert again.forks.equals(found.forks)
    assert again.fork(0).at == 0


def test_a_single_system_has_the_columns_of_several():
    alone, both = (stored({"q": {n: ["x"] for n in names}}).determinism().between for names in ("a", "ab"))
    assert len(alone) == 0
    assert alone.columns.tolist() == both.columns.tolist()


def test_p_values_are_corrected_over_all_pairs_of_systems():
    runs = {"a": ["x"] * 6, "b": ["y"] * 6, "c": ["y"] * 6}
    found = stored({f"q{i}": runs for i in range(3)}).determinism().between
    p = {frozenset((row["a"], row["b"])): row["p"] for _, row in found.iterrows()}
    a, b, c = (system(n).id for n in "abc")
    assert p == {frozenset((a, b)): 0.003, frozenset((a, c)): 0.003, frozenset((b, c)): 1}
    assert found["effect"].tolist().count(1) == 2


def test_answers_without_token_ids_have_no_steps():
    texts = [choice("x", ids=False), choice("yy", ids=False)]
    found = stored({"q": {"a": texts, "b": texts[:1]}}).determinism()
    assert found.forks["step"].isna().all()
    assert found.forks["token_a"].isna().all()
    assert found.survival().empty
    assert not found.drift()["pairs"].any()
    assert found.requests["tokens_std"].tolist()[0] == pytest.approx(np.std([1, 2], ddof=1))
    with pytest.raises(ValueError, match="no token ids that can be compared: read their texts"):
        found.fork(0)


def test_a_length_that_no_server_tells_does_not_spread():
    """Of several choices without token ids only the sum is told."""
    both = tuple(choice("x" * (i + 1), index=i, ids=False) for i in range(2))
    found = stored({"q": {"a": [both, both]}}, temperature=1, n=2, seed=1).determinism()
    assert found.requests["tokens_std"].isna().all()
    assert np.isnan(found.spread()["std_tokens"])


def test_a_given_beginning_has_no_log_probability():
    """What a prefix gives is NaN in the arrays; the rest is told all the same."""
    a, b = (choice("xyz", shift=shift) for shift in (0, 0.125))
    for one in (a, b):
        one.logprobs[0] = one.top_logprobs[0] = NAN
    found = stored({"q": {"a": [a, b]}}).determinism().requests
    assert found.at[0, "top1_std"] == pytest.approx(np.std(np.exp([-0.5, -0.375]), ddof=1))
    assert found.at[0, "drift"] == 0.125


@pytest.mark.parametrize("vocabulary", [None, [b"a"]])
def test_a_token_that_no_vocabulary_has_is_told_by_its_id(vocabulary):
    found = stored({"q": {"a": ["x", "x", "y"]}}, vocabulary=vocabulary).determinism().forks
    assert found[["token_a", "token_b"]].to_numpy().tolist() == [["token 120", "token 121"]]


# Properties

asked = st.dictionaries(
    st.sampled_from("qrs"),
    st.dictionaries(
        st.sampled_from("ab"),
        st.lists(st.text("xyz", min_size=1, max_size=3), min_size=1, max_size=4),
        min_size=1,
    ),
    min_size=1,
)
slow = settings(max_examples=settings.default.max_examples // 4, suppress_health_check=[HealthCheck.too_slow])
RENAMED = {system("a").id: "A", system("b").id: "B", system("c").id: "B", system("d").id: "A"}
"""Of the second names the ids are in the other order."""


def numbers(found):
    """All of a report, whatever the order of its rows and the names of its systems."""
    parts = []
    for frame in (found.requests, found.within.reset_index(), found.cells.reset_index()):
        named = frame.replace(RENAMED).drop(columns=["row", "row.word"], errors="ignore")
        parts.append(named.sort_values([c for c in ("request", "system_fingerprint") if c in named]))
    parts.append(found.survival())
    return [part.round(9).to_json(orient="records") for part in parts]


@slow
@given(asked, st.randoms())
def test_the_order_of_requests_and_runs_and_the_names_of_systems_change_nothing(asked, draw):
    one = stored(asked).determinism()
    renamed = {"a": "d", "b": "c"}
    mixed = {
        prompt: {renamed[name]: draw.sample(runs, len(runs)) for name, runs in asked[prompt].items()}
        for prompt in draw.sample(list(asked), len(asked))
    }
    other = stored(mixed).determinism()
    assert numbers(other) == numbers(one)
    columns = [
        "forked",
        "low",
        "high",
        "bound",
        "agreement",
        "effect",
        "p",
        "first_fork",
        "fork_median",
        "bitwise",
    ]
    assert other.between[columns].to_json() == one.between[columns].to_json()
    assert (
        other.matrix()
        .rename(RENAMED)
        .rename(columns=RENAMED)
        .sort_index()
        .sort_index(axis=1)
        .equals(one.matrix().rename(RENAMED).rename(columns=RENAMED).sort_index().sort_index(axis=1))
    )


@slow
@given(asked)
def test_what_holds_for_all(asked):
    found = stored(asked).determinism()
    requests = found.requests
    assert ((requests["unique"] == 1) == requests["same"]).all()
    assert ((requests["unique"] == 1) == requests["fork"].isna()).all()
    several = requests[requests["runs"] > 1]
    assert ((several["agreement"] == 1) == several["same"]).all()
    assert ((several["agreement"] == 0) == (several["unique"] == several["runs"])).all()
    assert (requests["bound"] > requests["differ"] / requests["runs"]).all()
    assert requests["modal_share"].between(1 / requests["runs"], 1).all()
    assert (requests["effective"] <= requests["unique"] + 1e-9).all()
    survival = found.survival()["survival"]
    assert survival.diff().dropna().le(1e-12).all()
    assert survival.head(1).tolist() in ([], [1])
    between = found.between
    assert (
        (between["share_forked"] >= between["low"]) & (between["share_forked"] <= between["high"])
    ).sum() == (between["requests"] > 0).sum()
    assert len(found.forks) == requests["unique"].gt(1).sum() + between["forked"].sum()
    assert all(found.fork(i).at == step for i, step in enumerate(found.forks["step"]))


# Files, and wrong use


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_from_a_file_comes_the_same_report(kind, tmp_path):
    results = stored(
        {"q": {"a": ["xyz", "xyw", "xyz"], "b": ["xyw", choice("xyw", shift=0.125)]}, "r": {"a": ["x", "x"]}}
    )
    again = getattr(tk.Results, f"from_{kind}")(getattr(results, f"to_{kind}")(tmp_path / f"out.{kind}"))
    one, other = results.determinism(), again.determinism()
    assert other.sentences() == one.sentences()
    for name in ("requests", "within", "cells", "between"):
        pd.testing.assert_frame_equal(getattr(other, name), getattr(one, name), check_dtype=False)
    pd.testing.assert_frame_equal(other.survival(), one.survival())
    pd.testing.assert_frame_equal(other.drift(), one.drift())
    # A file has no vocabulary, so that tokens are told by their ids.
    words = ["token_a", "token_b"]
    pd.testing.assert_frame_equal(other.forks.drop(columns=words), one.forks.drop(columns=words))
    assert one.forks.at[0, "token_a"] == "z"
    assert other.forks.at[0, "token_a"] == f"token {ord('z')}"


def test_a_table_without_tokens_has_no_report(tmp_path):
    results = tk.Results.from_csv(five().to_csv(tmp_path / "out.csv"))
    with pytest.raises(
        ValueError, match="a table read from CSV has no tokens behind it: read Parquet or JSONL"
    ):
        results.determinism()


@pytest.mark.parametrize(
    "results",
    [tk.results(Store(":memory:")), stored({"q": {"a": [None]}}), five().filter(finish_reason="error")],
    ids=["no sweep", "only errors", "filtered"],
)
@pytest.mark.parametrize("options", [{}, {"parse": str}, {"score": bool}, {"by": "temperature"}])
def test_no_answer_no_report(results, options):
    with pytest.raises(
        ValueError, match="no answer is in these results: run the sweep first, or filter less"
    ):
        results.determinism(**options)


def test_an_unknown_column_names_the_nearest():
    with pytest.raises(KeyError, match="did you mean 'temperature'"):
        five().determinism(by="temprature")


# As it shows itself


def test_html_is_escaped():
    vocabulary = [*LETTERS[:120], HOSTILE.encode(), b"<b>&", *LETTERS[122:]]
    results = stored({HOSTILE: {"a": ["x", "x", "y"]}, "r": {"a": ["x", "x"]}}, vocabulary=vocabulary)
    found = results.determinism(by="row.word")
    assert found.forks.at[0, "token_a"] == HOSTILE
    assert HOSTILE in json.dumps(found.cells.index.tolist())
    for shown in (found._repr_html_(), found.fork(0)._repr_html_()):
        assert "<script" not in shown
        assert "&lt;script&gt;" in shown
        assert "&lt;b&gt;&amp;" in shown
    table = results._table.assign(rung=HOSTILE)
    named = determinism(table, results._store, across="rung", difference=lambda a, b: a)._repr_html_()
    assert "<script" not in named
    assert named.count("&lt;script&gt;") >= 3


def test_shows_what_a_person_looks_at_first():
    found = five().determinism()
    shown = found._repr_html_()
    assert shown.count("<li>") == 3
    assert shown.count("<table") == 3
    assert "<b>30.0 %</b><br>1 of 1 fork" in shown
    for name in ("requests", "agreement", "bound", "prompt", "token_a", "margin_b"):
        assert f">{name}</th>" in shown
    assert "<p>forks</p>" not in stored({"q": {"a": ["x", "x"]}}).determinism()._repr_html_()
    assert found.frame() is not found.requests
    assert found.frame().equals(found.requests)


PICTURES = {
    "two systems": {"q": {"a": ["xyz", "xyw", "xyz"], "b": ["xyw", choice("xyw", shift=0.125)]}},
    "one system": {"q": {"a": ["xy", "xz", "xy"]}, "r": {"a": ["x", "x"]}},
    "no fork": {"q": {"a": ["xy", choice("xy", shift=0.5)]}},
    "one token": {"q": {"a": ["x", "x"], "b": ["y"]}},
    "single runs": {"q": {"a": ["x"]}, "r": {"a": ["y"]}},
    "single runs of two": {"q": {"a": ["xy"], "b": ["xz"]}},
    "no logprobs": {"q": {"a": [choice(t, logprobs=False) for t in ("x", "y")]}},
    "top 0": {"q": {"a": [choice(t, top=0) for t in ("x", "x", "y")]}},
    "no token ids": {"q": {"a": [choice(t, ids=False) for t in ("x", "y")]}},
    "eight systems": {"q": {n: ["x", "x", n] for n in "abcdefgh"}},
}
UNKNOWN = {
    "curves": "no pair of runs whose token ids are known",
    "drift": "no shared token whose log probabilities are known",
    "margins": "no fork whose margin is known",
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("two systems", []),
        ("one system", []),
        ("no fork", ["margins"]),
        ("one token", []),
        ("single runs", ["curves", "drift", "margins"]),
        ("single runs of two", []),
        ("no logprobs", ["drift", "margins"]),
        ("top 0", ["margins"]),
        ("no token ids", ["curves", "drift", "margins"]),
        ("eight systems", []),
    ],
)
def test_every_panel_is_drawn_or_says_what_is_not_known(name, missing):
    figure = stored(PICTURES[name]).determinism().plot()
    figure.canvas.draw()
    heat, *panels = figure.axes
    said = [text.get_text() for axis in panels for text in axis.texts]
    assert said == [UNKNOWN[panel] for panel in missing]
    size = len(heat.get_xticks())
    assert len(heat.texts) == size * size
    for axis, panel in zip(panels, UNKNOWN, strict=True):
        assert axis.get_ylim()[0] == 0
        assert bool(axis.lines or axis.patches) == (panel not in missing)
        assert (axis.get_legend() is not None) == (panel not in missing and panel != "margins")


@pytest.mark.filterwarnings("error")
def test_a_margin_may_be_infinite():
    """Where a grammar allows one token only, the others have no probability at all."""
    curve = pd.DataFrame({"survival": [1.0, 0.5], "low": [1.0, 0.4], "high": [1.0, 0.6]})
    drift = pd.DataFrame(columns=["pairs", "median", "high", "largest"])
    figure = picture(np.array([[0.5]]), ["a"], {"a": curve}, drift, [np.inf, 0.25, NAN])
    assert sum(bar.get_height() for bar in figure.axes[3].patches) == 1
    assert figure.axes[0].texts[0].get_text() == "0.50"
