"""Exploring the real model's other answers."""

import heapq

import numpy as np
import pytest

import toolkit as tk
from toolkit.core.request import Request
from toolkit.experiments import explore

ASKED = "Is a tomato a fruit?"


@pytest.fixture(scope="module")
def start(engine):
    return engine.chat(ASKED, temperature=0, max_tokens=6, top_logprobs=3)


@pytest.fixture(scope="module")
def tree(engine):
    return tk.explore(engine, ASKED, width=3, depth=4, budget=14, max_tokens=6)


def test_one_round_takes_the_best_of_all_beginnings(engine, start, forced):
    """Against all candidates along the greedy answer, their joint probabilities by the reference."""
    tree = tk.explore(engine, start, width=3, depth=4, budget=7)
    assert len(tree.choices) == len(tree) == 7
    assert tree.choices[0].token_ids.tolist() == start.token_ids.tolist()
    ids = start.token_ids.tolist()
    expected = forced(start.prompt_token_ids, ids)
    candidates = {}
    for step in range(4):
        for token in np.argsort(-expected[step])[:3].tolist():
            if token != ids[step]:
                before = expected[np.arange(step), ids[:step]].sum()
                candidates[(*ids[:step], token)] = before + expected[step, token]
    assert len(candidates) == 8
    best = sorted(candidates, key=candidates.get, reverse=True)[:6]
    assert [tuple(c.token_ids[: c.prefix_tokens].tolist()) for c in tree.choices[1:]] == best


def test_each_answer_is_a_greedy_end_of_its_beginning(engine, start, tree, forced):
    for c in tree.choices[1:]:
        expected = forced(start.prompt_token_ids, c.token_ids)
        assert expected[c.prefix_tokens :].argmax(axis=-1).tolist() == c.token_ids[c.prefix_tokens :].tolist()
        own = expected[np.arange(len(c.token_ids)), c.token_ids]
        assert np.abs(own - c.logprobs).max() < 1e-3


def test_budget_depth_and_width_are_kept_and_no_two_answers_are_the_same(tree):
    assert len(tree.choices) == len(tree) == 14
    assert len({tuple(c.token_ids.tolist()) for c in tree.choices}) == 14
    for c in tree.choices[1:]:
        assert 1 <= c.prefix_tokens <= 4
        assert c.token_ids[c.prefix_tokens - 1] in c.top_ids[c.prefix_tokens - 1]
        assert c.top_ids.shape[1] == 3
        assert len(c.token_ids) <= 6
    for node in tree.root.walk():
        assert len(node.children) <= 3
        assert node.last < 4 or not node.children
    assert tree.forks()["step"].max() < 4


def test_every_round_takes_the_best_that_are_left(tree):
    """The search once more, by hand: of all roads that leave the answers found before, the eight likeliest."""
    made = {tuple(c.token_ids[: c.prefix_tokens].tolist()): c for c in tree.choices[1:]}
    greedy = tree.choices[0]
    roads, taken, order = [], [], [(greedy, 0)]

    def note(choice, first):
        for step in range(first, min(4, len(choice.token_ids))):
            for token, p in zip(choice.top_ids[step], choice.top_logprobs[step], strict=True):
                if token != choice.token_ids[step]:
                    before = choice.logprobs[:step].astype(np.float64).sum()
                    ids = (*choice.token_ids[:step].tolist(), int(token))
                    heapq.heappush(roads, (-(before + p), ids))

    for choice, first in order:
        note(choice, first)
    while len(taken) < 13:
        found = [heapq.heappop(roads)[1] for _ in range(min(8, 13 - len(taken)))]
        taken += found
        for ids in found:
            note(made[ids], len(ids))
    assert list(made) == taken


def test_a_budget_of_one_is_the_answer_itself(engine, start):
    tree = tk.explore(engine, ASKED, budget=1, max_tokens=6)
    assert [c.token_ids.tolist() for c in tree.choices] == [start.token_ids.tolist()]


def test_all_roads_may_be_taken(engine):
    tree = tk.explore(engine, ASKED, width=2, depth=2, budget=50, max_tokens=3)
    assert len(tree) == len(tree.choices) == 4  # both tokens at both steps
    assert {tuple(n.text for n in node.children) for node in tree.root.walk() if node.children}


def test_options_go_to_the_chat(engine):
    tree = tk.explore(
        engine, ASKED, width=2, budget=3, depth=2, max_tokens=3, temperature=1, seed=1, top_logprobs=6
    )
    assert all(c.top_ids.shape[1] == 6 for c in tree.choices)
    again = tk.explore(
        engine, ASKED, width=2, budget=3, depth=2, max_tokens=3, temperature=1, seed=1, top_logprobs=6
    )
    assert [c.text for c in again.choices] == [c.text for c in tree.choices]


def test_what_the_answer_begins_with_stays(engine):
    begun = "A tomato is of course"
    tree = tk.explore(engine, ASKED, prefix=begun, width=2, depth=3, budget=5, max_tokens=5)
    assert len(tree) == 5
    assert all(c.text.startswith(begun) for c in tree.choices)
    given = tree.choices[0].prefix_tokens
    assert given == 5
    assert {c.prefix_tokens for c in tree.choices[1:]} <= {given + 1, given + 2, given + 3}
    table = tree.frame()
    assert table["probability"].notna().all()
    own = tree.choices[0].logprobs[given:].astype(np.float64).sum()
    assert table.set_index("text").loc[tree.choices[0].text, "logprob"] == pytest.approx(own)


def test_from_a_branch_what_was_chosen_stays(engine, start):
    b = engine.branch(start, 1, " zebra")
    tree = tk.explore(engine, b, width=2, depth=3, budget=4)
    assert len(tree) == 4
    assert all(c.text.startswith("A zebra") for c in tree.choices)


def test_the_end_of_the_text_and_stop_strings_are_answers(engine):
    tree = tk.explore(engine, "Say hi.", width=4, depth=3, budget=12, max_tokens=8, stop=["!"])
    assert len(tree) == 12
    for c in tree.choices:
        assert "!" not in c.text
        raw = b"".join(map(c.token_bytes, c.token_ids.tolist())).decode("utf-8", "replace")
        assert ("!" in raw or c.token_ids[-1] == 2) == (c.finish_reason == "stop")
        assert len(c.token_ids) <= 8
    assert 0 < tree.explored < 1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"width": 0}, ValueError, "width must be a whole number from 1 up, got 0"),
        ({"depth": 0}, ValueError, "depth must be a whole number from 1 up, got 0"),
        ({"budget": 0}, ValueError, "budget must be a whole number from 1 up, got 0"),
        ({"budget": 2.5}, ValueError, "budget must be a whole number, got 2.5"),
        ({"width": 30}, tk.RequestError, "top_logprobs must be 0 to 20 on this engine, got 30"),
        ({"temprature": 1}, TypeError, "did you mean 'temperature'"),
        ({"n": 3}, TypeError, "explore makes its own answers, up to budget: leave n out"),
        ({"max_tokens": 9000}, tk.RequestError, "exceed the context window"),
        (
            {"response_format": {"type": "choice", "choice": ["yes", "no"]}},
            ValueError,
            "a completion constrained by response_format or a forced tool call",
        ),
    ],
)
def test_wrong_use_is_refused(engine, options, error, message):
    with pytest.raises(error, match=message):
        tk.explore(engine, ASKED, **{"max_tokens": 3, **options})


def test_completions_that_cannot_be_explored(engine, start, made):
    with pytest.raises(
        ValueError, match="the completion lists 3 tokens at each step, and width is 4: ask with "
    ):
        tk.explore(engine, start, width=4)
    bare = engine.chat(ASKED, temperature=0, max_tokens=2)
    with pytest.raises(ValueError, match="the completion lists 0 tokens at each step, and width is 3"):
        tk.explore(engine, bare)
    with pytest.raises(ValueError, match="this completion is an error and has no tokens: too long"):
        tk.explore(engine, made(error="too long", top_logprobs=3))
    with pytest.raises(TypeError, match="a completion has its settings already: leave out seed, temperature"):
        tk.explore(engine, start, seed=1, temperature=1)
    with pytest.raises(ValueError, match="has another tokenizer"):
        tk.explore(engine, made(top_logprobs=3))


def test_an_interrupt_gives_the_tree_so_far(engine, start, monkeypatch, capsys):
    rounds, real = [], explore.branches

    def interrupted(engine, forks):
        rounds.append(len(forks))
        if len(rounds) == 2:
            raise KeyboardInterrupt
        return real(engine, forks)

    monkeypatch.setattr(explore, "branches", interrupted)
    tree = tk.explore(engine, start, width=3, depth=4, budget=16)
    assert rounds == [8, 7]
    assert len(tree) == 9
    assert capsys.readouterr().err.endswith("interrupted: the tree has 9 of 16 answers\n")


def test_messages_and_rendered_prompts(engine):
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hi."}]
    rendered = tk.Prompt("Say {x}.", system="Be brief.").render({"x": "hi"})
    first, second = (
        tk.explore(engine, asked, width=2, depth=1, budget=2, max_tokens=2) for asked in (turns, rendered)
    )
    assert [c.text for c in first.choices] == [c.text for c in second.choices]


def test_of_a_text_to_continue(engine):
    (c,) = engine.generate(
        [Request(prompt="Once upon", sampling=tk.Sampling(temperature=0, max_tokens=4, top_logprobs=2))]
    )
    tree = tk.explore(engine, c, width=2, depth=2, budget=3)
    assert len(tree) == 3
    assert len({choice.text for choice in tree.choices}) == 3
