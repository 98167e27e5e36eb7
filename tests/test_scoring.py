"""Scores of given texts, against transformers' own forward pass given the same token ids."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from transformers import AutoTokenizer

import toolkit as tk
from toolkit import models
from toolkit.core.choice import Choice
from toolkit.core.request import Request
from toolkit.engines.scoring import _windows, prefix_choice
from toolkit.tokenizers.huggingface import Tokenizer

TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Capital of France?"}]
LONG = (
    "The quick brown fox jumps over the lazy dog. Pack my box with five dozen liquor jugs; how vexingly quick "
    "daft zebras jump! Sphinx of black quartz, judge my vow. In 1815, on a wet June night, an old man of 83 wrote "
    "naïve café notes about 日本 and 🎉 to nobody in particular, sealed them, and lost them."
)


@pytest.fixture(scope="module")
def theirs():
    return AutoTokenizer.from_pretrained(models.path())


@pytest.fixture(scope="module")
def ours():
    return Tokenizer(models.path())


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


def check(found, expected, top=0):
    """Log probabilities, ranks and the most likely tokens of a choice are those of the (T, V) reference."""
    steps = np.arange(len(found.token_ids))
    own = expected[steps, found.token_ids]
    assert found.logprobs.dtype == np.float32
    assert np.abs(own - found.logprobs).max() < 1e-3
    # Those within 1e-3 of each other may swap.
    low, high = (
        1 + (expected > own[:, None] + 1e-3).sum(axis=-1),
        (expected > own[:, None] - 1e-3).sum(axis=-1),
    )
    assert ((low <= found.ranks) & (found.ranks <= high)).all()
    assert found.top_ids.shape == found.top_logprobs.shape == (len(steps), top)
    assert np.abs(-np.sort(-expected, axis=-1)[:, :top] - found.top_logprobs).max(initial=0) < 1e-3
    named = np.take_along_axis(expected, found.top_ids, -1)
    assert np.abs(named - found.top_logprobs).max(initial=0) < 1e-3


@pytest.mark.parametrize(
    ("text", "top"), [("The capital of France is", 5), ("def fib(n):\n    return", 0), ("日本の首都は", 1)]
)
def test_after_plain_text(engine, theirs, forced, text, top):
    continuations = [" Paris", " a large city in Europe.", "\n", "東京です 🎉", " Zxqvy"]
    for one, found in zip(continuations, engine.score(text, continuations, top_logprobs=top), strict=True):
        prompt, whole = theirs.encode(text), theirs.encode(text + one)
        assert whole[: len(prompt)] == prompt  # of these the tokens of the prompt stay the same
        assert found.token_ids.tolist() == whole[len(prompt) :]
        assert (found.text, found.finish_reason, found.prefix_tokens) == (one, "scored", len(found.token_ids))
        assert found.logprobs_mode == "raw_logprobs"
        check(found, forced(prompt, found.token_ids), top)


@pytest.mark.parametrize("kind", [list, tuple, np.array])
def test_after_token_ids(engine, theirs, forced, kind):
    prompt, ids = theirs.encode("The capital of France is"), theirs.encode(" Paris, France")
    by_text, by_ids = engine.score(kind(prompt), [" Paris, France", kind(ids)], top_logprobs=2)
    for found in (by_text, by_ids):
        assert found.token_ids.tolist() == ids
        assert found.text == " Paris, France"
        check(found, forced(prompt, ids), 2)


@pytest.mark.parametrize(
    "turns",
    [TURNS, tuple(TURNS), tk.Prompt("Capital of {x}?", system="Be brief.").render({"x": "France"})],
    ids=["list", "tuple", "rendered"],
)
def test_after_messages(engine, theirs, forced, turns):
    prompt = theirs.apply_chat_template(TURNS, add_generation_prompt=True, return_dict=False)
    for one, found in zip(["Paris", "Rome."], engine.score(turns, ["Paris", "Rome."]), strict=True):
        assert found.token_ids.tolist() == theirs.encode(one)
        check(found, forced(prompt, found.token_ids))


def test_documents(engine, theirs, forced):
    texts = ["Once upon a time, there was a fox.", LONG, theirs.encode("Same ids.")]
    for prompt in (None, ""):
        for text, found in zip(texts, engine.score(prompt, texts, top_logprobs=3), strict=True):
            ids = theirs.encode(text) if isinstance(text, str) else text
            assert found.token_ids.tolist() == ids
            assert found.text == (text if isinstance(text, str) else "Same ids.")
            assert np.isnan(found.logprobs[0])
            assert np.isnan(found.top_logprobs[0]).all()
            assert found.ranks[0] == 0
            rest = {
                n: getattr(found, n)[1:]
                for n in ("token_ids", "logprobs", "ranks", "top_ids", "top_logprobs")
            }
            check(Choice(0, "", "", **rest), forced(ids[:1], ids[1:]), 3)


def test_perplexity_of_a_document(engine, theirs, forced):
    (found,) = tk.logprobs(engine.score(None, [LONG])).perplexity
    ids = theirs.encode(LONG)
    own = forced(ids[:1], ids[1:])[np.arange(len(ids) - 1), ids[1:]]
    assert found == pytest.approx(np.exp(-own.mean()), rel=1e-3)


def test_the_sum_is_that_of_the_answer_itself(engine):
    """What the model says by itself and what is scored are the same numbers."""
    c = engine.chat(TURNS, temperature=0, max_tokens=12, top_logprobs=4)
    (found,) = engine.score(TURNS, [c.token_ids], top_logprobs=4)
    assert np.allclose(found.logprobs, c.logprobs, atol=1e-4)
    assert np.array_equal(found.ranks, c.ranks)
    assert np.array_equal(found.top_ids[:, 0], c.top_ids[:, 0])


# Where the prompt ends and the continuation begins


@pytest.mark.parametrize(
    ("text", "one"),
    [
        ("The capital of France is ", "Paris"),  # the space would be the first letter of " Paris"
        ("The capital of Fra", "nce"),
        ("def f", "oo(x)"),
    ],
)
def test_a_continuation_that_would_change_the_prompts_tokens_is_cut_by_itself(
    engine, theirs, forced, text, one
):
    prompt, whole = theirs.encode(text), theirs.encode(text + one)
    assert whole[: len(prompt)] != prompt
    (found,) = engine.score(text, [one])
    assert found.token_ids.tolist() == theirs.encode(one)
    assert found.text == one
    check(found, forced(prompt, found.token_ids))


def test_a_space_in_the_continuation_is_likelier_than_at_the_end_of_the_prompt(engine):
    """Why the docstring says to put it there."""
    (good,) = engine.score("The capital of France is", [" Paris"])
    (bad,) = engine.score("The capital of France is ", ["Paris"])
    assert good.logprobs.sum() > bad.logprobs.sum() + 1


@settings(max_examples=150)
@given(before=st.text(min_size=1, max_size=12), after=st.text(min_size=1, max_size=12))
def test_the_tokens_of_prompt_and_continuation_are_their_text(ours, before, after):
    request = Request(prompt=before, prefix=after)
    ids = (*ours.encode(request), *ours.prefix(request))
    single = {token[0] for token in ours.vocabulary if len(token) == 1}  # a few bytes this vocabulary lacks
    expected = bytes(byte for byte in (before + after).encode() if byte in single)
    assert b"".join(ours.vocabulary[i] for i in ids) == expected
    assert ours.encode(request) == ours.encode(Request(prompt=before))


@settings(max_examples=100)
@given(words=st.lists(st.text("abc ", min_size=1, max_size=6), min_size=2, max_size=5), data=st.data())
def test_whatever_is_cut_off_a_text_between_its_tokens_keeps_them(ours, words, data):
    ids = ours.encode(Request(prompt="".join(words)))
    at = data.draw(st.integers(1, len(ids)))
    before, after = (b"".join(ours.vocabulary[i] for i in part).decode() for part in (ids[:at], ids[at:]))
    request = Request(prompt=before, prefix=after or None)
    if ours.encode(request) == ids[:at]:
        assert ours.prefix(request) == ids[at:]


def test_a_tokenizer_that_begins_texts_with_a_space_adds_none_within_one(tmp_path):
    """As SentencePiece's do: "b" alone is "▁b", and after "a" it is "b"."""
    from tokenizers import Tokenizer as Backend, decoders, pre_tokenizers
    from tokenizers.models import Unigram
    from transformers import PreTrainedTokenizerFast

    backend = Backend(Unigram([("<unk>", 0.0), ("▁", -1.0), ("a", -1.0), ("b", -1.0)], unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    backend.decoder = decoders.Metaspace(prepend_scheme="always")
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>").save_pretrained(tmp_path)
    own = Tokenizer(str(tmp_path))
    assert own.encode(Request(prompt="a")) == (1, 2)
    assert own.prefix(Request(prompt="a", prefix="b")) == (3,)
    assert own.prefix(Request(prompt="a", prefix=" b")) == (1, 3)
    assert own.prefix(Request(prompt=(1, 2), prefix="b")) == (1, 3)  # of ids no text is known


# Many at once


def test_order_and_duplicates_are_kept_and_each_is_asked_once(engine, asked):
    texts = [" Rome", " Paris", " Rome", " Paris", " Oslo"]
    found = engine.score("The capital of France is", texts)
    assert [c.text for c in found] == texts
    assert found[0].logprobs == found[2].logprobs
    assert len({float(c.logprobs[0]) for c in found}) == 3
    assert len(asked) == 3


def test_nothing_to_score_gives_nothing(engine):
    assert engine.score("a", []) == engine.score(None, []) == []


def test_any_iterable_of_texts_will_do(engine):
    import pandas as pd

    texts = [" Paris", " Rome"]
    expected = [c.logprobs.tolist() for c in engine.score("Capital:", texts)]
    for many in (tuple(texts), iter(texts), pd.Series(texts), np.array(texts)):
        assert [c.logprobs.tolist() for c in engine.score("Capital:", many)] == expected


# Windows


@given(tokens=st.integers(0, 400), size=st.integers(2, 60))
def test_windows_score_each_token_once_after_enough_context(tokens, size):
    windows = list(_windows(tokens, size))
    scored = [i for _, begin, end in windows for i in range(begin, end)]
    assert scored == list(range(1, tokens))
    for first, begin, end in windows:
        assert 0 <= first < begin < end
        assert end - first <= size
        assert begin - first >= min(begin, size // 2)
    assert len(windows) <= 1 + -(-tokens // (size - size // 2))


def test_a_document_longer_than_the_window(engine, theirs, forced, monkeypatch, asked):
    monkeypatch.setattr(type(engine), "window", property(lambda self: 25))
    ids = theirs.encode(LONG)
    assert len(ids) > 3 * 24
    (found,) = engine.score(None, [LONG], top_logprobs=2)
    assert found.token_ids.tolist() == ids
    assert found.text == LONG
    assert all(engine.count(r) + r.sampling.max_tokens <= 25 for r in asked)
    contexts = 0
    for first, begin, end in _windows(len(ids), 24):
        contexts += 1
        part = slice(begin, end)
        arrays = {
            n: getattr(found, n)[part] for n in ("token_ids", "logprobs", "ranks", "top_ids", "top_logprobs")
        }
        check(Choice(0, "", "", **arrays), forced(ids[first:begin], ids[part]), 2)
    assert len(asked) == contexts > 3


def test_documents_of_many_lengths_come_in_order(engine, monkeypatch):
    monkeypatch.setattr(type(engine), "window", property(lambda self: 9))
    texts = ["word", " word" * 30, "Two words", " word" * 8, "word"]
    found = engine.score(None, texts)
    assert [c.text for c in found] == texts
    assert [np.isnan(c.logprobs).sum() for c in found] == [1] * 5


@pytest.mark.parametrize("top", [0, 3])
def test_a_document_of_one_token(engine, top, asked):
    (found,) = engine.score(None, ["word"], top_logprobs=top)
    assert len(found.token_ids) == 1
    assert np.isnan(found.logprobs).all()
    assert found.top_ids.shape == found.top_logprobs.shape == (1, top)
    assert (found.ranks.tolist(), found.text, asked) == ([0], "word", [])


def test_logprobs_of_a_prompt_are_raw_whatever_the_mode(engine):
    arrays = {"logprobs": np.zeros(2, np.float32)}
    ids = np.zeros(2, np.int32)
    whole = Choice(
        0, "", "", token_ids=ids, prefix_tokens=1, logprobs_mode="processed_logprobs", vocabulary=lambda: [b"a"],
        **arrays,
    )  # fmt: skip
    part = prefix_choice(whole)
    assert (part.text, part.logprobs_mode, len(part.logprobs)) == ("a", "raw_logprobs", 1)


# Wrong use


@pytest.mark.parametrize(
    ("prompt", "continuations", "error", "message"),
    [
        ("a", " b", TypeError, "continuations must be a list of texts, got ' b': put it into brackets"),
        (None, "document", TypeError, "continuations must be a list of texts, got 'document'"),
        ("a", 3, TypeError, "continuations must be a list of texts, got 3"),
        ("a", [" b", ""], ValueError, "there is nothing to score in '': give each continuation some text"),
        ("a", [[]], ValueError, r"there is nothing to score in \[\]"),
        (None, [""], ValueError, "there is nothing to score in ''"),
        ("a", [1, 2], TypeError, "each continuation must be a text or a list of token ids, got 1"),
        ("a", [None], TypeError, "each continuation must be a text or a list of token ids, got None"),
        ("a", [["b"]], ValueError, r"must be a string or a list of token ids, got \['b'\]"),
        ("a", [[1, -2]], ValueError, r"must be a string or a list of token ids, got \[1, -2\]"),
        ("a", ["\ud800"], ValueError, "is not valid Unicode"),
        (5, ["b"], ValueError, "prompt must be a string or a list of token ids, got 5"),
        ([], ["b"], ValueError, "prompt is empty"),
        ({"role": "user", "content": "x"}, ["b"], ValueError, "prompt must be a string or a list of token ids"),
        ([{"role": "wizard", "content": "x"}], ["b"], ValueError, "unknown role 'wizard'"),
        ("a", [[10**7]], tk.RequestError, "those of SmolLM2-135M-Instruct are 0 to 49151"),
        (None, [[10**7]], ValueError, r"the tokenizer does not know the tokens of \[10000000\]"),
        ("a " * 8190, ["b c"], tk.RequestError, "exceed the context window of .*, 8192 tokens"),
    ],
)  # fmt: skip
def test_wrong_use_is_refused(engine, prompt, continuations, error, message):
    with pytest.raises(error, match=message):
        engine.score(prompt, continuations)


def test_too_many_of_the_likeliest_are_refused(engine):
    with pytest.raises(tk.RequestError, match="top_logprobs must be 0 to 20 on this engine, got 21"):
        engine.score("a", ["b"], top_logprobs=21)
    with pytest.raises(ValueError, match="top_logprobs must be a whole number"):
        engine.score("a", ["b"], top_logprobs="all")


def test_a_text_without_tokens_is_refused(engine):
    """A few single bytes (control characters, unused planes) are not in this vocabulary."""
    single = {token[0] for token in engine.vocabulary if len(token) == 1}
    lost = next(chr(i) for i in range(128) if i not in single)
    for prompt in ("a", None, TURNS):
        with pytest.raises(ValueError, match="there is nothing to score"):
            engine.score(prompt, [lost])


def test_an_engine_that_refused_one_goes_on(engine):
    with pytest.raises(tk.RequestError):
        engine.score("a", [" b", [10**7], " c"])
    assert [c.text for c in engine.score("a", [" b"])] == [" b"]
