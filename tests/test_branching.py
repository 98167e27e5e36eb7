"""Branches of real answers, against transformers' teacher-forced log probabilities of the same tokens."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

import toolkit as tk
from toolkit.core.choice import ARRAYS, Choice
from toolkit.core.request import Request
from toolkit.engines.branching import _token_ids, branches
from toolkit.store.rows import StoredCompletion
from toolkit.store.store import Store

ASKED = "Is a tomato a fruit?"
END = 2
"""<|im_end|>, the default model's end of text."""


@pytest.fixture(scope="module")
def tomato(engine):
    """A tomato is indeed a fruit. It"""
    return engine.chat(ASKED, temperature=0, max_tokens=8, top_logprobs=5)


@pytest.fixture(scope="module")
def paris(engine):
    """The capital of France is Paris.<|im_end|>"""
    return engine.chat("What is the capital of France?", temperature=0, max_tokens=10, top_logprobs=5)


@pytest.fixture
def asked(engine, monkeypatch):
    """All requests that reach the engine."""
    seen, generate = [], type(engine).generate

    def spy(self, requests):
        requests = list(requests)
        seen.extend(requests)
        return generate(self, requests)

    monkeypatch.setattr(type(engine), "generate", spy)
    return seen


def check(c, forced, choice=0, first=0):
    """The whole arrays of a choice, from a step on, are the reference's."""
    own = c.choices[choice]
    expected = forced(c.prompt_token_ids, own.token_ids)
    steps = np.arange(len(own.token_ids))
    found = expected[steps, own.token_ids]
    low = 1 + (expected > found[:, None] + 1e-3).sum(axis=-1)
    high = (expected > found[:, None] - 1e-3).sum(axis=-1)
    part = slice(first, None)
    assert {len(getattr(own, name)) for name in ARRAYS} == {len(steps)}
    assert np.abs(found - own.logprobs)[part].max() < 1e-3
    assert ((low <= own.ranks) & (own.ranks <= high))[part].all()
    named = np.take_along_axis(expected, own.top_ids, -1)
    best = -np.sort(-expected, axis=-1)[:, : own.top_ids.shape[1]]
    assert np.abs(named - own.top_logprobs)[part].max(initial=0) < 1e-3
    assert np.abs(best - own.top_logprobs)[part].max(initial=0) < 1e-3


def as_text(c, ids):
    return b"".join(map(c.choices[0].token_bytes, ids)).decode("utf-8", "replace")


# The same token


@pytest.mark.parametrize("as_id", [True, False])
def test_the_same_token_at_each_step_gives_the_same_answer(engine, paris, as_id):
    forks = [(paris, 0, at, t.id if as_id or t.id == END else t.text) for at, t in enumerate(paris.tokens)]
    for (_, _, at, _), b in zip(forks, branches(engine, forks), strict=True):
        assert (b.text, b.finish_reason, b.choices[0].prefix_tokens) == (paris.text, "stop", at + 1)
        assert np.array_equal(b.token_ids, paris.token_ids)
        assert np.array_equal(b.ranks, paris.ranks)
        assert np.array_equal(b.top_ids[:, 0], paris.top_ids[:, 0])
        for name in ("logprobs", "top_logprobs"):
            assert np.allclose(getattr(b, name), getattr(paris, name), atol=1e-4)
            # What came before the fork is not computed again.
            assert getattr(b, name)[: at + 1].tobytes() == getattr(paris, name)[: at + 1].tobytes()
        assert np.array_equal(b.prompt_token_ids, paris.prompt_token_ids)


def test_branches_do_not_change_their_parent(engine, tomato):
    before = {name: getattr(tomato, name).copy() for name in ARRAYS}
    engine.branch(tomato, 0, tomato.tokens[0].top[1][0])
    for name, array in before.items():
        assert np.array_equal(getattr(tomato, name), array)


# Another token


@pytest.mark.parametrize("at", [0, 3, 7])
@pytest.mark.parametrize("place", [1, 4])
def test_another_of_the_likeliest_by_id_and_by_text(engine, tomato, forced, asked, at, place):
    token, text, logprob = tomato.tokens[at].top[place]
    by_id, by_text = branches(engine, [(tomato, 0, at, token), (tomato, 0, at, text)])
    assert by_id.token_ids.tolist() == by_text.token_ids.tolist()
    assert by_id.token_ids[: at + 1].tolist() == [*tomato.token_ids[:at], token]
    assert by_id.text == by_text.text == as_text(by_id, by_id.token_ids)
    assert by_id.logprobs[at] == np.float32(logprob)
    assert by_id.ranks[at] == place + 1
    assert by_id.choices[0].logprobs_mode == "raw_logprobs"
    check(by_id, forced)
    assert all(r.sampling.prompt_logprobs is None for r in asked)  # nothing is computed twice
    assert by_id.notes["branch"] == {"of": tomato.id, "choice": 0, "at": at, "token": text}


@pytest.mark.parametrize(
    ("at", "token"), [(1, " zebra"), (4, 30_000), (3, " by no means a"), (0, "日本"), (8, " and also")]
)
def test_what_is_not_among_the_likeliest(engine, tomato, forced, at, token):
    b = engine.branch(tomato, at, token)
    ids = engine.tokenizer.hf.encode(token) if isinstance(token, str) else [token]
    assert b.token_ids[: at + len(ids)].tolist() == [*tomato.token_ids[:at], *ids]
    assert (b.choices[0].prefix_tokens, b.prompt) == (at + len(ids), None)
    assert b.text.startswith(as_text(tomato, tomato.token_ids[:at]) + as_text(tomato, ids))
    assert (b.ranks[at : at + len(ids)] > 5).any()
    check(b, forced)


def test_a_text_stands_for_one_of_the_likeliest_where_it_is_one():
    """A tokenizer may cut the text of a token in several: among the likeliest it is that token."""
    ids = np.array([[5, 7]], np.int32)
    own = Choice(
        0,
        "",
        "stop",
        None,
        ids[0, :1],
        top_ids=ids,
        vocabulary=lambda: [b""] * 5 + [b"x", b"", "né".encode()],
    )
    engine = SimpleNamespace(encode=lambda request: (0, 1, 2), vocabulary=[b""] * 8)
    assert _token_ids(engine, own, 0, "né") == (7,)
    assert _token_ids(engine, own, 0, "n") == (1, 2)
    assert _token_ids(engine, own, 1, "né") == (1, 2)  # after the end nothing is listed


def test_what_comes_after_the_end(engine, paris, tomato, forced):
    went_on = engine.branch(paris, len(paris.token_ids), "\n")
    assert went_on.token_ids[: len(paris.token_ids)].tolist() == paris.token_ids.tolist()
    check(went_on, forced)
    cut = engine.branch(tomato, 8, "s")
    assert len(cut.token_ids) == 8 + tomato.request.sampling.max_tokens
    assert cut.notes["branch"]["counted anew"] == ["max_tokens"]


# The end of the text


@pytest.mark.parametrize(("at", "known"), [(7, True), (1, False)])
@pytest.mark.parametrize("token", [END, "<|im_end|>"])
def test_the_end_of_the_text_asks_nothing(engine, paris, asked, at, known, token):
    assert (END in paris.top_ids[at]) == known
    b = engine.branch(paris, at, token)
    assert asked == []
    assert b.text == as_text(paris, paris.token_ids[:at])
    assert (b.finish_reason, b.choices[0].stop_reason, b.choices[0].prefix_tokens) == ("stop", None, at + 1)
    assert b.token_ids.tolist() == [*paris.token_ids[:at], END]
    assert b.logprobs[:at].tobytes() == paris.logprobs[:at].tobytes()
    assert np.isfinite(b.logprobs[at]) == known
    assert (b.ranks[at] > 0) == known
    assert b.usage == tk.Usage()
    assert b.id != paris.id
    assert b.created >= paris.created
    assert b.notes["branch"]["of"] == paris.id
    assert tk.logprobs(b).unknown.tolist() == [0 if known else 1]


def test_one_batch_for_many(engine, tomato, asked):
    options = tomato.tokens[0].top
    found = branches(engine, [(tomato, 0, 0, i) for i, _, _ in options[1:]] + [(tomato, 0, 2, END)] * 2)
    assert [b.token_ids[0] for b in found[:4]] == [i for i, _, _ in options[1:]]
    assert [b.finish_reason for b in found[4:]] == ["stop"] * 2
    assert len(asked) == 4


# Of what


def test_a_branch_of_a_branch(engine, tomato, forced):
    first = engine.branch(tomato, 3, " not")
    second = engine.branch(first, 5, " but")
    third = engine.branch(second, 1, " fruit")
    assert second.token_ids[:5].tolist() == first.token_ids[:5].tolist()
    assert second.notes["branch"]["of"] == first.id
    assert second.logprobs[:5].tobytes() == first.logprobs[:5].tobytes()
    for b in (first, second, third):
        assert len(b.token_ids) == 8  # max_tokens is that of the whole, however often it is branched
        check(b, forced)


def test_a_choice_of_several(engine, forced):
    c = engine.chat(ASKED, n=3, temperature=1.2, seed=5, max_tokens=6, top_logprobs=3)
    b = engine.branch(c, 2, " maybe", choice=2)
    assert b.token_ids[:2].tolist() == c.choices[2].token_ids[:2].tolist()
    assert (len(b.choices), b.choices[0].index, b.request.sampling.n) == (1, 0, 1)
    assert b.notes["branch"] == {
        "of": c.id, "choice": 2, "at": 2, "token": " maybe", "counted anew": ["seed"],
    }  # fmt: skip
    check(b, forced)


@pytest.mark.parametrize("echo", [True, False])
def test_a_legacy_completion(engine, forced, echo):
    c = engine.complete("def fib(n):", echo=echo, temperature=0, max_tokens=8, top_logprobs=3)
    before = "def fib(n):" if echo else ""
    b = engine.branch(c, 3, " return")
    assert b.text == before + as_text(c, b.token_ids)
    assert b.text.startswith(before + as_text(c, c.token_ids[:3]) + " return")
    check(b, forced)
    assert b.prompt is c.prompt
    assert (b.prompt is not None) == echo
    ended = engine.branch(c, 3, "<|im_end|>")
    assert ended.text == before + as_text(c, c.token_ids[:3])
    assert ended.prompt is c.prompt


def test_a_completion_from_a_store_or_a_file(engine, tomato, db, tmp_path, forced):
    results = tk.sweep(ASKED, tk.grid(temperature=0, max_tokens=8, top_logprobs=5)).run(engine, db)
    from_file = tk.Results.from_jsonl(results.to_jsonl(tmp_path / "run.jsonl"))
    direct, *loaded = branches(engine, [(c, 0, 3, " a") for c in (tomato, results[0], from_file[0])])
    for b in loaded:
        assert b.token_ids.tolist() == direct.token_ids.tolist()
        assert b.text == direct.text
        check(b, forced)


def test_a_branch_goes_into_a_store(engine, tomato, db):
    with Store(db) as store:
        store.begin_run("s", engine.fingerprint, engine.vocabulary)
        for b in (engine.branch(tomato, 3, " a"), engine.branch(tomato, 3, END)):
            store.add([StoredCompletion(b, 0)])
            again = store.completion(b.request.key, b.system_fingerprint, 0)
            assert again.request == b.request
            assert (again.usage, again.notes, again.text) == (b.usage, b.notes, b.text)
            assert again.choices[0].prefix_tokens == b.choices[0].prefix_tokens
            for name in ARRAYS:
                assert np.array_equal(getattr(again, name), getattr(b, name), equal_nan=name[-1] == "s"), name


def test_without_logprobs(engine):
    c = engine.chat(ASKED, temperature=0, max_tokens=6)
    b = engine.branch(c, 1, " zebra")
    assert b.text.startswith("A zebra")
    assert len(b.token_ids) == 6
    assert (b.logprobs, b.ranks, b.top_ids) == (None, None, None)
    assert engine.branch(c, 1, END).logprobs is None


def test_with_logprobs_of_the_answer_only(engine, forced):
    c = engine.chat(ASKED, temperature=0, max_tokens=6, logprobs=True)
    b = engine.branch(c, 1, c.tokens[1].text)
    assert b.token_ids.tolist() == c.token_ids.tolist()
    assert b.top_ids.shape == (6, 0)
    check(b, forced)


# Under the same settings


def test_max_tokens_is_that_of_the_whole(engine, tomato, asked):
    forks = [(tomato, 0, at, tomato.tokens[at].top[1][0]) for at in range(8)]
    for b in branches(engine, forks):
        assert (len(b.token_ids), b.finish_reason) == (8, "length")
        assert b.text == as_text(b, b.token_ids)
    assert len(asked) == 7  # the last token leaves nothing to ask


def test_min_tokens_is_that_of_the_whole(engine):
    options = {"temperature": 0, "max_tokens": 12, "top_logprobs": 3}
    free = engine.chat("What is the capital of France?", **options)
    held = engine.chat("What is the capital of France?", **options, min_tokens=10)
    assert len(free.token_ids) == 8
    same, other = branches(engine, [(held, 0, 6, int(held.token_ids[6])), (held, 0, 3, " Europe")])
    assert same.token_ids.tolist() == held.token_ids.tolist()
    assert same.request.sampling.min_tokens == 3
    assert len(other.token_ids) >= 10


def test_a_branch_within_what_was_given_may_be_as_long_as_the_whole(engine):
    c = engine.chat(ASKED, prefix="A tomato is", temperature=0, max_tokens=4, top_logprobs=2)
    b = engine.branch(c, 1, " fruit")
    assert b.text.startswith("A fruit")
    assert len(b.token_ids) == len(c.token_ids) == 7
    assert b.request.sampling.min_tokens == 0
    ended = engine.branch(c, 1, END)
    assert ended.finish_reason == "stop"
    assert np.isnan(ended.logprobs).all()


def test_penalties_and_the_seed_count_from_the_fork_on_and_the_notes_say_so(engine):
    c = engine.chat(ASKED, temperature=0.7, seed=3, frequency_penalty=0.5, max_tokens=6, top_logprobs=1)
    b = engine.branch(c, 2, " has")
    assert b.notes["branch"]["counted anew"] == ["frequency_penalty", "seed"]
    assert b.request.sampling.frequency_penalty == 0.5
    greedy = engine.chat(ASKED, temperature=0, seed=3, max_tokens=3, top_logprobs=1)
    assert "counted anew" not in engine.branch(greedy, 1, " has").notes["branch"]


def test_prompt_logprobs_are_kept_and_not_asked_again(engine, asked):
    c = engine.chat(ASKED, temperature=0, max_tokens=4, top_logprobs=2, prompt_logprobs=1)
    b = engine.branch(c, 1, c.tokens[1].top[1][0])
    assert b.prompt is c.prompt
    assert asked[-1].sampling.prompt_logprobs is None


@pytest.mark.parametrize("included", [False, True])
def test_a_token_that_completes_a_stop_string_ends_the_answer(engine, asked, included):
    c = engine.chat(
        ASKED, temperature=0, max_tokens=8, top_logprobs=5, stop=[" ve", "t."], include_stop_str_in_output=included
    )  # fmt: skip
    asked.clear()
    b = engine.branch(c, 5, " vegetable")
    assert asked == []
    assert (b.finish_reason, b.choices[0].stop_reason) == ("stop", " ve")
    assert b.text == "A tomato is indeed a" + (" ve" if included else "")
    # One that begins before the fork.
    b = engine.branch(c, 6, ".")
    assert (b.finish_reason, b.choices[0].stop_reason) == ("stop", "t.")
    assert b.text == c.text == "A tomato is indeed a frui" + ("t." if included else "")
    assert asked == []


@pytest.mark.parametrize("included", [False, True])
def test_a_stop_string_that_begins_in_the_prefix_and_ends_after_it_is_seen(engine, forced, included):
    """ "uit. I" lies on " fruit", "." and " It"."""
    c = engine.chat(
        ASKED, temperature=0, max_tokens=9, top_logprobs=3, stop="uit. I", include_stop_str_in_output=included
    )  # fmt: skip
    assert (c.finish_reason, len(c.token_ids)) == ("stop", 8)
    steps = (4, 5, 6, 7)
    for at, b in zip(
        steps, branches(engine, [(c, 0, at, int(c.token_ids[at])) for at in steps]), strict=True
    ):
        assert (b.text, b.finish_reason, b.choices[0].stop_reason) == (c.text, "stop", "uit. I")
        assert b.token_ids.tolist() == c.token_ids.tolist()
        assert b.usage.completion_tokens == (7 - at if at < 7 else 0)
        check(b, forced)


def test_a_stop_token_ends_the_answer(engine, asked):
    c = engine.chat(ASKED, temperature=0, max_tokens=8, top_logprobs=3, stop_token_ids=[30])
    assert c.choices[0].stop_reason == 30
    asked.clear()
    b = engine.branch(c, 2, 30)
    assert (b.text, b.finish_reason, b.choices[0].stop_reason) == ("A tomato", "stop", 30)
    assert asked == []


def test_special_tokens_are_shown_where_they_were(engine):
    options = {"temperature": 0, "max_tokens": 13, "ignore_eos": True, "top_logprobs": 2}
    for shown in (True, False):
        c = engine.chat("Hi", **options, skip_special_tokens=not shown)
        end = c.token_ids.tolist().index(END)
        assert ("<|im_end|>" in c.text) == shown
        for b in branches(engine, [(c, 0, at, int(c.token_ids[at])) for at in (end - 1, end, end + 2)]):
            assert b.text == c.text
            assert b.token_ids.tolist() == c.token_ids.tolist()  # ignore_eos: it goes on after the end


def test_calls_are_read_from_the_whole_answer(engine):
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    begun = '<tool_call>\n{"name": "add", "arguments": {"a": 2, "b": 3}}\n</tool_call>'
    c = engine.chat("What is 2 + 3?", tools=[add], prefix=begun, temperature=0, max_tokens=8, top_logprobs=2)
    at = [t.text for t in c.tokens].index("2")
    b = engine.branch(c, at, "7")
    (call,) = b.tool_calls
    assert (call.name, call.arguments, b.finish_reason) == ("add", '{"a": 7, "b": 3}', "tool_calls")


# Within a character


def test_a_prefix_that_ends_within_a_character(engine, forced):
    c = engine.chat("Repeat after me: 🎉🎊🎉", temperature=0, max_tokens=10, top_logprobs=3)
    assert c.text == "🎉🎊🎉"
    assert c.tokens[0].bytes == b"\xf0\x9f"
    for b in branches(engine, [(c, 0, at, int(c.token_ids[at])) for at in range(9)]):
        assert b.text == c.text
        check(b, forced)
    other = engine.branch(c, 2, c.tokens[2].top[1][0])
    assert other.text == as_text(other, [i for i in other.token_ids if i != END])
    assert other.text[0] != "🎉"
    assert not other.text.startswith(("�", "user", "system"))
    unfinished = engine.branch(c, 1, " no")
    assert unfinished.text.startswith("� no")


@pytest.mark.parametrize(("stop", "text"), [("🎊", "🎉"), ("🎉🎊", ""), ("🎊🎉", "🎉")])
def test_a_stop_string_after_a_prefix_that_ends_within_a_character(engine, stop, text):
    c = engine.chat("Repeat after me: 🎉🎊🎉", temperature=0, max_tokens=12, top_logprobs=3, stop=stop)
    assert (c.text, c.finish_reason) == (text, "stop")
    steps = range(len(c.token_ids))  # the last token completes the stop string itself
    for b in branches(engine, [(c, 0, at, int(c.token_ids[at])) for at in steps]):
        assert (b.text, b.finish_reason, b.choices[0].stop_reason) == (text, "stop", stop)
        assert b.token_ids.tolist() == c.token_ids.tolist()
        assert len(b.logprobs) == len(b.top_ids) == len(b.token_ids)


# Wrong use


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"at": 9}, IndexError, "at must be from 0 to 8, got 9"),
        ({"at": -1}, IndexError, "at must be from 0 to 8, got -1"),
        ({"at": 1.5}, TypeError, "at must be a whole number, got 1.5"),
        ({"choice": 1}, IndexError, "choice must be from 0 to 0, got 1"),
        ({"choice": -1}, IndexError, "choice must be from 0 to 0, got -1"),
        ({"token": 49_152}, ValueError, "token must be text or an id from 0 to 49151, got 49152"),
        ({"token": -1}, ValueError, "token must be text or an id from 0 to 49151, got -1"),
        ({"token": 5.0}, ValueError, "token must be text or an id from 0 to 49151, got 5.0"),
        ({"token": True}, ValueError, "token must be text or an id from 0 to 49151, got True"),
        ({"token": None}, ValueError, "token must be text or an id from 0 to 49151, got None"),
        ({"token": ""}, ValueError, "the tokenizer has no tokens for ''"),
        ({"token": "\ud800"}, ValueError, "is not valid Unicode"),
    ],
)
def test_wrong_use_is_refused(engine, tomato, arguments, error, message):
    with pytest.raises(error, match=message):
        engine.branch(tomato, **{"at": 1, "token": " b", **arguments})


def picture():
    import base64
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (4, 4)).save(out, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda made: made(error="too long"), "this completion is an error and has no tokens: too long"),
        (
            lambda made: made(),
            "the completion of 'by-hand' has another tokenizer than 'SmolLM2-135M-Instruct'",
        ),
        (
            lambda made: made(response_format={"type": "object"}),
            "a completion constrained by response_format or a forced tool call",
        ),
        (
            lambda made: made(messages=picture()),
            "a completion of a request with images or a suffix cannot be branched",
        ),
        (
            lambda made: dataclasses.replace(made(), request=Request(prompt="a", suffix="b").resolve({})),
            "a completion of a request with images or a suffix cannot be branched",
        ),
    ],
    ids=["error", "tokenizer", "form", "images", "suffix"],
)
def test_what_cannot_be_branched(engine, made, build, message):
    with pytest.raises(ValueError, match=message):
        engine.branch(build(made), 0, "A")


def test_a_call_that_must_be_made_is_a_form(engine):
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    c = engine.chat("2 + 3?", tools=[add], tool_choice="required", temperature=0, max_tokens=3)
    with pytest.raises(ValueError, match="a completion constrained by response_format or a forced tool call"):
        engine.branch(c, 2, " b")


def test_a_completion_without_a_vocabulary_of_another_engine(engine, tomato):
    bare = dataclasses.replace(tomato.choices[0], vocabulary=None)
    same = dataclasses.replace(tomato, choices=(bare,))
    one, other = branches(engine, [(same, 0, 3, " a"), (tomato, 0, 3, " a")])
    assert one.text == other.text
    other = dataclasses.replace(same, system_fingerprint="fp_0000000000", model="elsewhere")
    with pytest.raises(ValueError, match="the completion of 'elsewhere' has another tokenizer"):
        engine.branch(other, 3, " a")
    known = dataclasses.replace(
        tomato, system_fingerprint="fp_0000000000"
    )  # another dtype, the same tokenizer
    assert engine.branch(known, 3, " a").system_fingerprint == engine.fingerprint.id


def test_what_the_engine_refuses(engine):
    c = engine.chat("Hi", temperature=0, max_tokens=3, top_logprobs=0)
    asked = dataclasses.replace(c.request, sampling=c.request.sampling.with_(max_tokens=8190))
    with pytest.raises(tk.RequestError, match="exceed the context window"):
        engine.branch(dataclasses.replace(c, request=asked), 1, " b")
