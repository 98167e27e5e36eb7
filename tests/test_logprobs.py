"""Log probabilities against transformers and hand-worked numbers; their bounds against the whole vocabulary."""

import html
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import assume, given, settings, strategies as st
from scipy.special import log_softmax

import toolkit as tk
from toolkit.analysis.entropy import _ROUNDING, entropy_bounds
from toolkit.analysis.logprobs import BY
from toolkit.core.choice import Choice, mode_of_prompt
from toolkit.core.fingerprint import Fingerprint
from toolkit.core.request import Request
from toolkit.store.rows import Cell, StoredCompletion
from toolkit.store.store import Store

CLOSE = 1e-3
PROMPTS = [
    "Hi",
    "What is the capital of France?",
    "Write a haiku about recursion.",
    "def fib(n):\n    return n if n < 2 else",
    "SELECT name FROM people WHERE",
    "for (int i = 0; i < 10; ++i) {",
    "Écris un poème sur la mer.",
    "Übersetze: 'Der Fuß schmerzt.'",
    "写一首关于春天的诗。",
    "日本語で自己紹介してください。",
    "Напиши короткую сказку.",
    "اكتب جملة عن القمر",
    "हिन्दी में एक वाक्य लिखो।",
    "🎉🎉🎉 what now?",
    "👩‍👩‍👧 and 🏳️‍🌈",
    "3.14159 * 2 = ?",
    "1, 1, 2, 3, 5, 8, 13,",
    '{"name": "Ada", "born": 1815}',
    "zzzz qqqq xkcd !!! ???",
    "\tTabs\n\nand   spaces",
]
WORDS = [b"the", b" cat", b" sat", b" on", b" mats", b"!"]


def by_hand(ids, logprobs, top=None, mode="raw_logprobs", ranks=None, vocabulary=WORDS, **fields):
    """A choice; top: for each token, (id, log probability) of the most likely ones."""
    pairs = np.array(top or [[]] * len(ids), np.float64)
    pairs = pairs.reshape(len(ids), pairs.size // 2 // max(len(ids), 1), 2)
    fields = {"text": "by hand", "finish_reason": "stop", **fields}
    return Choice(
        0,
        token_ids=np.array(ids, np.int32),
        logprobs=np.array(logprobs, np.float32),
        ranks=np.array(ranks if ranks is not None else [1] * len(ids), np.int32),
        top_ids=pairs[:, :, 0].astype(np.int32),
        top_logprobs=pairs[:, :, 1].astype(np.float32),
        logprobs_mode=mode,
        vocabulary=vocabulary and (lambda: vocabulary),
        **fields,
    )


def told(*shares):
    """(id, log probability) of tokens 0, 1, … with these probabilities."""
    with np.errstate(divide="ignore"):
        return list(enumerate(np.log(shares)))


def entropy(shares):
    shares = np.asarray(shares, np.float64)
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())


# Against transformers


@pytest.fixture(scope="module")
def answers(engine):
    """Sampled, so that chosen tokens are often not the best; in the order of PROMPTS."""
    options = {
        "temperature": 1,
        "max_tokens": 12,
        "ignore_eos": True,
        "top_logprobs": 20,
        "prompt_logprobs": 20,
    }
    asked = [Request.chat(p, seed=i, **options) for i, p in enumerate(PROMPTS)]
    found = {c.request.sampling.seed: c for c in engine.generate(asked)}
    return [found[i] for i in range(len(PROMPTS))]


def test_chosen_top_and_prompt_logprobs_and_ranks_equal_transformers(answers, reference):
    """Float32: within 1e-3 of log_softmax, in float64, of transformers' logits. Only ties within that bound may be
    ordered otherwise: the first rank that a token may have counts those that are likelier by more than the bound, the
    last one all that are not less likely by more than it; at place j of the top 20 may stand any token that is as
    likely as the j-th within the bound."""
    tokens = ranks_at_a_tie = places_at_a_tie = 0
    for c in answers:
        ids = np.concatenate([c.prompt_token_ids, c.token_ids])
        assert np.array_equal(c.prompt.token_ids, c.prompt_token_ids)
        # The first token of a prompt has none.
        own, ranks, top_ids, top = (
            np.concatenate([getattr(c.prompt, name), getattr(c, name)])[1:]
            for name in ("logprobs", "ranks", "top_ids", "top_logprobs")
        )
        expected = log_softmax(reference(ids.tolist())[:-1].astype(np.float64), axis=-1)
        steps = np.arange(len(expected))
        chosen = expected[steps, ids[1:]]
        assert np.abs(chosen - own).max() < CLOSE
        assert np.abs(np.take_along_axis(expected, top_ids, -1) - top).max() < CLOSE
        first = 1 + (expected > chosen[:, None] + CLOSE).sum(axis=-1)
        last = (expected >= chosen[:, None] - CLOSE).sum(axis=-1)
        assert ((first <= ranks) & (ranks <= last)).all()
        best = np.argpartition(-expected, 20, axis=-1)[:, :20]
        best = np.take_along_axis(best, np.argsort(-np.take_along_axis(expected, best, -1), axis=-1), -1)
        gap = np.abs(np.take_along_axis(expected, best, -1) - np.take_along_axis(expected, top_ids, -1))
        assert gap[best != top_ids].max(initial=0) < CLOSE
        assert all(len(set(row)) == 20 for row in top_ids.tolist())
        tokens += len(own)
        ranks_at_a_tie += (first != last).sum()
        places_at_a_tie += (best != top_ids).sum()
    assert tokens > 800
    assert max(c.ranks.max() for c in answers) > 20  # some chosen tokens lie outside the top 20
    # The rule for ties is an exception: rank 30,000 has neighbours that close, rank 1 has not.
    assert ranks_at_a_tie < 0.25 * tokens
    assert places_at_a_tie < 0.01 * 20 * tokens


def test_perplexity_of_a_document_equals_transformers(engine, reference):
    text = "The quick brown fox jumps over the lazy dog. Le cœur a ses raisons 🎉 que la raison ne connaît point."
    (scored,) = engine.score(None, [text], top_logprobs=5)
    ids = list(engine.encode(Request(prompt=text)))
    assert scored.token_ids.tolist() == ids
    logits = reference(ids)[:-1].astype(np.float64)
    nll = -log_softmax(logits, axis=-1)[np.arange(len(ids) - 1), ids[1:]]
    found = tk.logprobs(scored)
    assert found.unknown.tolist() == [1]
    assert found.perplexity == pytest.approx([np.exp(nll.mean())], rel=1e-4)
    assert found.sequence_logprob == pytest.approx([-nll.sum()], abs=1e-2)
    assert found.min_probability == pytest.approx([np.exp(-nll.max())], rel=1e-3)
    assert "".join(found.frame()["text"]) == text


# The bounds of the entropy, against the whole vocabulary


@pytest.fixture(scope="module")
def real_steps(engine):
    """1,000 sampled steps, 20 prompts by 50, and the entropy of each from all logits, in float64.

    vLLM's lists of a whole vocabulary would take minutes: its sampler is watched instead, while requests run as ever.
    Steps and logits are brought together by the log probabilities that the sampler gave out: they are the same.
    """
    found = {}

    def watch(llm):
        sampler = (
            llm.llm_engine.engine_core.engine_core.model_executor.driver_worker.worker.model_runner.sampler
        )
        forward = sampler.forward

        def watched(logits, *arguments, **named):
            logs = logits.double().log_softmax(dim=-1)  # before vLLM writes into the logits
            entropies = -(logs.exp() * logs).sum(dim=-1)
            output = forward(logits, *arguments, **named)
            rows = output.logprobs_tensors.logprobs.numpy()
            found.update({row.tobytes(): float(h) for row, h in zip(rows, entropies, strict=True)})
            return output

        sampler.forward = watched

    def leave(llm):
        sampler = (
            llm.llm_engine.engine_core.engine_core.model_executor.driver_worker.worker.model_runner.sampler
        )
        del sampler.forward
        assert sampler.forward.__func__ is type(sampler).forward

    options = {"temperature": 1, "max_tokens": 50, "ignore_eos": True, "top_logprobs": 20}
    engine.call(watch)
    try:
        asked = [Request.chat(p, seed=100 + i, **options) for i, p in enumerate(PROMPTS)]
        choices = [c.choices[0] for c in engine.generate(asked)]
    finally:
        engine.call(leave)
    rows = [np.concatenate([c.logprobs[:, None], c.top_logprobs], axis=1) for c in choices]
    return choices, np.array([found[row.tobytes()] for row in np.concatenate(rows)])


def test_the_entropy_lies_in_its_interval_in_each_of_1000_real_steps(real_steps):
    choices, true = real_steps
    assert true.shape == (1000,)
    assert true.min() < 0.1 < 5 < true.max()  # certain and open steps are among them
    widths = []
    for k in (20, 5, 1, 0):
        cut = tk.logprobs(
            [replace(c, top_ids=c.top_ids[:, :k], top_logprobs=c.top_logprobs[:, :k]) for c in choices]
        )
        assert cut.top_ids.shape == (1000, k)
        assert (cut.entropy_low <= true).all()
        assert (true <= cut.entropy_high).all()
        widths.append(cut.entropy_high - cut.entropy_low)
    for narrow, wide in pairwise(widths):
        assert (narrow <= wide + 10 * _ROUNDING).all()  # each step: more tokens known, tighter bounds
        assert narrow.mean() < 0.8 * wide.mean()
    assert widths[0].mean() < 2


shares = st.lists(st.integers(0, 1000), min_size=1, max_size=30).filter(any)


@st.composite
def cuts(draw):
    """A distribution over at most 30 tokens, best first, how many are told, and the token that was chosen."""
    weights = np.array(sorted(draw(shares), reverse=True), np.float64) ** draw(st.sampled_from([1, 3]))
    p = weights / weights.sum()
    k = draw(st.integers(0, len(p)))
    chosen = draw(st.integers(0, int((p > 0).sum()) - 1))
    return p, k, chosen


def bounds(p, k, chosen=None, size=None):
    """(missing mass, low, high) of one step, cut to the top k and the chosen token."""
    with np.errstate(divide="ignore"):
        logs = np.log(p).astype(np.float32)
    own = np.array([np.nan if chosen is None else logs[chosen]], np.float32)
    among = np.array([chosen is not None and chosen < k])
    return entropy_bounds(logs[None, :k], own, among, len(p) if size is None else size)[:, 0]


TOLERANCE = 40 * _ROUNDING
"""Bounds allow for float32: _ROUNDING · (1 + entropy), and as much mass at −ln p of up to 20."""


@settings(max_examples=5 * settings.default.max_examples)
@given(cuts())
def test_the_interval_holds_the_entropy_of_any_distribution(cut):
    p, k, chosen = cut
    missing, low, high = bounds(p, k, chosen)
    assert 0 <= low <= entropy(p) <= high
    untold = [i for i in range(k, len(p)) if i != chosen]
    assert missing == pytest.approx(p[untold].sum(), abs=1e-6)
    assert high <= np.log(len(p)) + TOLERANCE


@settings(max_examples=5 * settings.default.max_examples)
@given(cuts())
def test_the_two_extreme_tails_attain_the_bounds(cut):
    """Of all tails that fit what is told, none has less entropy than the concentrated, none more than the even."""
    p, k, chosen = cut
    assume(k > 0)
    _, low, high = bounds(p, k, chosen)
    untold = [i for i in range(k, len(p)) if i != chosen]
    kept = np.delete(p, untold)
    mass, most = p[untold].sum(), p[k - 1]
    full = min(int(mass / most + 1e-9), len(untold)) if most else 0
    concentrated = [most] * full + [max(mass - full * most, 0)] * (len(untold) > full)
    even = [mass / len(untold)] * len(untold) if untold else []
    for tail in (concentrated, even):
        assert sum(tail) == pytest.approx(mass, abs=1e-12)
        assert max(tail, default=0) <= most + 1e-12
        assert len(tail) <= len(untold)
    assert low == pytest.approx(entropy([*kept, *concentrated]), abs=TOLERANCE)
    assert high == pytest.approx(entropy([*kept, *even]), abs=TOLERANCE)


@given(cuts())
def test_of_a_whole_vocabulary_the_entropy_is_exact(cut):
    p, _, chosen = cut
    missing, low, high = bounds(p, len(p), chosen)
    assert missing == 0
    assert low == pytest.approx(entropy(p), abs=TOLERANCE)
    assert high == pytest.approx(entropy(p), abs=TOLERANCE)


@settings(max_examples=3 * settings.default.max_examples)
@given(cuts())
def test_to_know_more_never_widens_the_interval(cut):
    p, k, chosen = cut
    steps = [bounds(p, k), bounds(p, k, chosen), *([bounds(p, k + 1, chosen)] if k < len(p) else [])]
    for before, after in pairwise(steps):
        if np.isnan(before).any():  # nothing told at all
            assert k == 0
            continue
        assert after[1] >= before[1] - TOLERANCE
        assert after[2] <= before[2] + TOLERANCE
        assert after[0] <= before[0] + 1e-6


@settings(max_examples=3 * settings.default.max_examples)
@given(cuts(), st.floats(-9e-5, 9e-5))
def test_the_interval_allows_for_what_float32_rounds(cut, shift):
    """A softmax in float32 misses the sum by a factor that is the same for all tokens of a step."""
    p, k, chosen = cut
    with np.errstate(divide="ignore"):
        logs = (np.log(p) + shift).astype(np.float32)
    among = np.array([chosen < k])
    missing, low, high = entropy_bounds(logs[None, :k], logs[[chosen]], among, len(p))[:, 0]
    assert low <= entropy(p) <= high
    assert missing == pytest.approx(
        1 - p[[*range(k), *([] if chosen < k else [chosen])]].sum(), abs=_ROUNDING
    )


@pytest.mark.parametrize("size", [49_152, 256_000])
def test_what_float32_rounds_is_less_than_is_allowed_for(size):
    logits = 4 * torch.randn((32, size), generator=torch.Generator().manual_seed(size))
    exact, rounded = (logits.log_softmax(-1, dtype=kind).double() for kind in (torch.float64, torch.float32))
    likely = exact > np.log(1e-3)
    worst = float((exact - rounded)[likely].abs().max())
    assert worst < _ROUNDING


def test_entropy_bounds_worked_by_hand():
    # 1/2 and 1/4 are told of six tokens. The missing quarter lies on one token at least (p_k = 1/4), on four at most.
    step = [told(0.5, 0.25)]
    found = tk.logprobs(by_hand([1], np.log([0.25]), step))
    known = 0.5 * np.log(2) + 0.25 * np.log(4)
    assert found.missing_mass == pytest.approx([0.25], abs=1e-6)
    assert found.entropy_low == pytest.approx([known + 0.25 * np.log(4)], abs=TOLERANCE)
    assert found.entropy_high == pytest.approx([known + 0.25 * np.log(16)], abs=TOLERANCE)
    # A chosen token outside the top 2, of 1/8, leaves 1/8 to three others.
    found = tk.logprobs(by_hand([5], np.log([0.125]), step))
    known += 0.125 * np.log(8)
    assert found.missing_mass == pytest.approx([0.125], abs=1e-6)
    assert found.entropy_low == pytest.approx([known + 0.125 * np.log(8)], abs=TOLERANCE)
    assert found.entropy_high == pytest.approx([known + 0.125 * np.log(24)], abs=TOLERANCE)


@pytest.mark.parametrize(("size", "others"), [(3, 1), (6, 4), (49_152, 49_150)])
def test_the_upper_bound_counts_the_tokens_of_the_vocabulary(size, others):
    step = by_hand([0], np.log([0.5]), [told(0.5, 0.25)], vocabulary=[b"x"] * size)
    expected = entropy([0.5, 0.25]) + 0.25 * np.log(others / 0.25)
    assert tk.logprobs(step).entropy_high == pytest.approx([expected], abs=TOLERANCE)


@pytest.mark.parametrize("vocabulary", [None, []])
def test_without_a_vocabulary_there_is_no_upper_bound(vocabulary):
    found = tk.logprobs(
        by_hand([0, 0], np.log([0.5, 1]), [told(0.5, 0.25), told(1, 0)], vocabulary=vocabulary)
    )
    assert found.missing_mass == pytest.approx([0.25, 0], abs=1e-6)
    assert found.entropy_low == pytest.approx([1.5 * np.log(2), 0], abs=TOLERANCE)
    # All mass on one token is told whatever the vocabulary.
    assert found.entropy_high == pytest.approx([np.nan, 0], abs=TOLERANCE, nan_ok=True)


def test_sentinels_are_no_values():
    """NaN, what the first token of a prompt has; −9999 of OpenAI and vLLM's server; −inf of a grammar."""
    top = [
        [(0, np.nan)] * 2,
        [(1, np.log(0.9)), (2, -9999)],
        [(3, 0), (4, -np.inf)],
        [(1, np.log(0.5)), (2, -2)],
    ]
    found = tk.logprobs(by_hand([0, 1, 3, 4], [np.nan, np.log(0.9), 0, -9999], top, ranks=[0, 1, 1, 6]))
    assert np.isnan(found.surprisal).tolist() == [True, False, False, True]
    assert found.unknown.tolist() == [2]
    assert found.top_ids.tolist() == [[-1, -1], [1, 2], [3, 4], [1, 2]]
    assert found.top_logprobs[1:3, 1].tolist() == [-np.inf, -np.inf]
    assert found.margin[:3] == pytest.approx([np.nan, np.inf, np.inf], nan_ok=True)
    assert found.sequence_logprob == pytest.approx([np.log(0.9)], rel=1e-6)
    assert found.perplexity == pytest.approx([0.9**-0.5], rel=1e-6)
    assert found.min_probability == pytest.approx([0.9], rel=1e-6)
    assert np.isnan(found.entropy_low).tolist() == [True, False, False, False]
    assert found.missing_mass[2] == 0
    (row,) = found.summary().to_dict("records")
    assert row["surprisal"] == pytest.approx(-np.log(0.9) / 2, rel=1e-6)
    assert row["missing_mass"] == pytest.approx(np.mean([0, 0, 0.5 - np.exp(-2)]), abs=1e-6)
    assert found.top().query("position == 1")["logprob"].tolist()[1] == -np.inf
    frame = found.frame()
    assert frame["rank"].isna().tolist() == [True, False, False, False]
    assert frame["probability"].isna().tolist() == [True, False, False, True]


def test_a_token_id_0_is_told_apart_from_a_place_that_is_empty():
    """Places of which nothing is known hold id 0, which is a token too."""
    found = tk.logprobs(by_hand([0], np.log([0.25]), [[(3, np.log(0.5)), (0, np.nan)]]))
    assert found.missing_mass == pytest.approx([0.25], abs=1e-6)


def test_a_grammar_leaves_impossible_alternatives_out(engine):
    form = {"type": "choice", "choice": ["yes", "no"]}
    c = engine.chat("Is water wet?", response_format=form, temperature=0, top_logprobs=20, max_tokens=6)
    found = tk.logprobs(c)
    impossible = np.isneginf(found.top_logprobs)
    assert impossible.any(axis=1).all()
    assert (found.missing_mass == 0).all()
    expected = [entropy(np.exp(row[~none])) for row, none in zip(c.top_logprobs, impossible, strict=True)]
    assert found.entropy_low == pytest.approx(expected, abs=TOLERANCE)
    assert found.entropy_high == pytest.approx(expected, abs=TOLERANCE)
    assert (found.summary()["surprisal"] < 20).all()


# Numbers worked by hand


@pytest.fixture
def cat():
    """ "the cat sat" by hand: probabilities 1/2, 1/4 and 1/8, the last one outside the top 2."""
    top = [told(0.5, 0.25), [(2, np.log(0.5)), (1, np.log(0.25))], told(0.5, 0.25)]
    return by_hand([0, 1, 2], np.log([0.5, 0.25, 0.125]), top, ranks=[1, 2, 4], text="the cat sat")


def test_columns_worked_by_hand(cat):
    found = tk.logprobs(cat)
    assert len(found) == 3
    assert found.logprobs_mode == "raw_logprobs"
    assert found.sequence.tolist() == [0, 0, 0]
    assert found.probability == pytest.approx([1 / 2, 1 / 4, 1 / 8])
    assert found.surprisal / np.log(2) == pytest.approx([1, 2, 3])  # bits
    assert found.ranks.tolist() == [1, 2, 4]
    assert found.margin == pytest.approx([np.log(2)] * 3)
    assert found.sequence_logprob == pytest.approx([-6 * np.log(2)])
    assert found.perplexity == pytest.approx([4])  # 2 ^ ((1 + 2 + 3) / 3)
    assert found.min_probability == pytest.approx([1 / 8])
    assert found.unknown.tolist() == [0]
    assert found.missing_mass == pytest.approx([1 / 4, 1 / 4, 1 / 8], abs=1e-6)


@pytest.mark.parametrize("k", [0, 1])
def test_there_is_no_margin_with_fewer_than_two(cat, k):
    cut = replace(cat, top_ids=cat.top_ids[:, :k], top_logprobs=cat.top_logprobs[:, :k])
    assert np.isnan(tk.logprobs(cut).margin).all()


PER_TOKEN = ("probability", "surprisal", "ranks", "margin", "missing_mass", "entropy_low", "entropy_high")
PER_TEXT = ("unknown", "sequence_logprob", "perplexity", "min_probability")


def random_texts(seed):
    """Texts of 0 to 7 tokens, some not known, with a top k of their own."""
    draw, found = np.random.default_rng(seed), []
    for length in draw.permutation([0, 0, 1, 2, 5, 7]):
        k = draw.integers(0, 4)
        logs = np.log(np.sort(draw.dirichlet(np.ones(6), length))[:, ::-1])
        ids = draw.integers(0, 6, length)
        own = np.where(draw.random(length) < 0.2, np.nan, logs[np.arange(length), ids])
        top = [list(enumerate(row[:k])) for row in logs]
        found.append(by_hand(ids, own, top, ranks=ids + 1))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_many_texts_at_once_equal_each_alone(seed):
    texts = random_texts(seed)
    alone, together = [tk.logprobs(c) for c in texts], tk.logprobs(texts)
    assert len({c.top_ids.shape[1] for c in texts}) > 1
    for name in (*PER_TOKEN, *PER_TEXT):
        expected = np.concatenate([getattr(one, name) for one in alone])
        assert np.allclose(getattr(together, name), expected, equal_nan=True, rtol=1e-9, atol=1e-12), name
    whole = pd.concat([one.summary() for one in alone], ignore_index=True)
    pd.testing.assert_frame_equal(together.summary(), whole, atol=1e-9)
    frames = [one.frame().assign(sequence=i) for i, one in enumerate(alone) if len(one)]
    pd.testing.assert_frame_equal(together.frame(), pd.concat(frames, ignore_index=True), atol=1e-9)


@pytest.mark.parametrize(
    ("ids", "logprobs", "unknown", "total", "perplexity", "least"),
    [
        ([], [], 0, 0, np.nan, np.nan),
        ([0], [np.nan], 1, np.nan, np.nan, np.nan),  # nothing is known, so that 0 (certain) would be a lie
        ([0, 1], [np.nan, np.log(0.25)], 1, np.log(0.25), 4, 0.25),
        ([0, 1], [0, 0], 0, 0, 1, 1),
    ],
)
def test_texts_with_little_to_know(ids, logprobs, unknown, total, perplexity, least):
    found = tk.logprobs([by_hand(ids, logprobs), by_hand([0], [-1.0])])
    assert found.unknown[0] == unknown
    assert found.sequence_logprob[0] == pytest.approx(total, nan_ok=True)
    assert found.perplexity[0] == pytest.approx(perplexity, nan_ok=True)
    assert found.min_probability[0] == pytest.approx(least, nan_ok=True)
    assert found.sequence_logprob[1] == pytest.approx(-1)


def test_each_choice_of_each_completion_is_a_text(made):
    several = [made(text="a", n=2, top_logprobs=2), made(text="b", top_logprobs=1, steps=0)]
    found = tk.logprobs(several)
    assert found.summary()[["text", "tokens"]].values.tolist() == [["a", 3], ["a", 3], ["b", 0]]
    assert len(tk.logprobs(several[0])) == 6
    assert len(tk.logprobs(several[0].choices[1])) == 3
    assert len(tk.logprobs(iter(several))) == 6
    assert len(tk.logprobs([several[0].choices, several[1]])) == 6


@pytest.mark.parametrize(
    "modes", [["processed_logprobs"], ["constrained_logprobs"], [None], ["raw_logprobs", None]]
)
def test_perplexity_needs_raw_log_probabilities(modes):
    found = tk.logprobs([by_hand([0], [-1.0], mode=mode) for mode in modes])
    told = modes[0] if len(modes) == 1 and modes[0] else "of unknown or several modes"
    with pytest.raises(ValueError, match=rf"perplexity needs .* and these are {told}: score the text with"):
        found.perplexity  # noqa: B018
    assert "perplexity" not in found.summary()
    assert found.sequence_logprob.tolist() == [-1] * len(modes)


@pytest.mark.parametrize(
    ("what", "error", "message"),
    [
        (lambda made: [], ValueError, "there is no completion: give at least one"),
        (
            lambda made: made(),
            ValueError,
            "'Paris.' has no log probabilities: ask with logprobs=True, or top_lo",
        ),
        (
            lambda made: made(error="too long"),
            ValueError,
            r"is an error and has no tokens \(too long\): leave it out; for results, with",
        ),
        (
            lambda made: "text",
            TypeError,
            "logprobs takes a completion, a choice or an iterable of them, got 'text'",
        ),
        (lambda made: [b"text"], TypeError, "got b'text'"),
        (lambda made: None, TypeError, "got None"),
        (lambda made: [3], TypeError, "got 3"),
        (
            lambda made: by_hand([0], [7.5], mode="raw_logits"),
            ValueError,
            r"logits, .*\(logprobs_mode='raw_logits'\)",
        ),
        (
            lambda made: by_hand([0], [7.5], mode="processed_logits"),
            ValueError,
            "load the model with logprobs_mode=",
        ),
    ],
)
def test_what_is_refused(made, what, error, message):
    with pytest.raises(error, match=message):
        tk.logprobs(what(made))


# Characters of several tokens


def split(parts):
    """A choice whose tokens have these bytes."""
    return by_hand(range(len(parts)), -np.arange(1.0, len(parts) + 1), vocabulary=parts, text="")


@st.composite
def splits(draw, raw):
    """Bytes cut into tokens anywhere; now and then an empty one."""
    raw = draw(raw)
    places = sorted(draw(st.lists(st.integers(0, len(raw)), max_size=12)))
    return [raw[a:b] for a, b in zip([0, *places], [*places, len(raw)], strict=True)]


def check(choice, parts):
    """What holds for the pieces of any tokens: nothing is lost, nothing comes twice."""
    pieces = choice.pieces
    assert [a for a, _, _ in pieces] == [0, *(b for _, b, _ in pieces)][: len(pieces)]
    assert (pieces[-1][1] if pieces else 0) == len(parts)
    assert all(a < b for a, b, _ in pieces)
    assert "".join(text for _, _, text in pieces) == b"".join(parts).decode("utf-8", "replace")
    frame = tk.logprobs(choice).frame()
    assert frame["text"].tolist() == [{a: t for a, _, t in pieces}.get(i, "") for i in range(len(parts))]


@settings(max_examples=3 * settings.default.max_examples)
@given(splits(st.text(max_size=12).map(str.encode)))
def test_pieces_of_any_split_of_a_text_are_the_shortest_of_whole_characters(parts):
    choice = split(parts)
    check(choice, parts)
    for first, end, text in choice.pieces:
        assert b"".join(parts[first:end]) == text.encode()
        for shorter in range(first + 1, end):
            with pytest.raises(UnicodeDecodeError):
                b"".join(parts[first:shorter]).decode()


@settings(max_examples=3 * settings.default.max_examples)
@given(splits(st.binary(max_size=16)))
def test_of_bytes_that_are_no_text_nothing_is_lost(parts):
    check(split(parts), parts)


@pytest.mark.parametrize(
    ("parts", "pieces"),
    [
        ([], []),
        ([b"a", b"b"], [(0, 1, "a"), (1, 2, "b")]),
        (["日".encode()[:1], "日".encode()[1:] + b"!"], [(0, 2, "日!")]),
        ([bytes([b]) for b in "🎉".encode()] + [b"!"], [(0, 4, "🎉"), (4, 5, "!")]),
        (["é🎉".encode()[:3], "é🎉".encode()[3:]], [(0, 2, "é🎉")]),
        ([b"a", "🎉".encode()[:2]], [(0, 1, "a"), (1, 2, "\ufffd")]),  # cut at max_tokens
        (["🎉".encode()[:2], b"a"], [(0, 2, "\ufffda")]),
        ([b"\xff", b"a"], [(0, 1, "\ufffd"), (1, 2, "a")]),
        ([b"", b"a", b""], [(0, 1, ""), (1, 2, "a"), (2, 3, "")]),
    ],
)
def test_pieces(parts, pieces):
    assert split(parts).pieces == pieces


def test_real_tokens_of_emoji_and_other_scripts_are_joined(engine):
    text = "naïve 日本語 🎉👩‍👩‍👧 हिन्दी"
    (scored,) = engine.score("Say: ", [text])
    assert any(end - first > 1 for first, end, _ in scored.pieces)
    assert "".join(piece for _, _, piece in scored.pieces) == text
    assert "\ufffd" not in "".join(tk.logprobs(scored).frame()["text"])
    assert " 🎉" in [text for text, _ in shown(tk.logprobs(scored).highlight().data)]


# Tables


def test_frame(cat):
    frame = tk.logprobs([replace(cat, prefix_tokens=2), by_hand([5], [-1.0])]).frame()
    assert frame.columns.tolist() == [
        "sequence", "position", "id", "text", "given", "logprob", "probability", "surprisal", "rank", "margin",
        "missing_mass", "entropy_low", "entropy_high",
    ]  # fmt: skip
    assert frame[["sequence", "position", "id", "text", "given", "rank"]].values.tolist() == [
        [0, 0, 0, "the", True, 1],
        [0, 1, 1, " cat", True, 2],
        [0, 2, 2, " sat", False, 4],
        [1, 0, 5, "!", False, 1],
    ]
    assert frame["probability"].tolist() == pytest.approx([1 / 2, 1 / 4, 1 / 8, np.exp(-1)])
    assert frame["margin"].tolist() == pytest.approx([np.log(2)] * 3 + [np.nan], nan_ok=True)
    assert frame["rank"].dtype == "Int64"
    assert tk.logprobs(by_hand([], [])).frame().empty


def test_summary(cat):
    found = tk.logprobs([cat, by_hand([], [], text="")])
    table = found.summary()
    assert table.columns.tolist() == [
        "text", "tokens", "unknown", "logprob", "perplexity", "min_probability", "surprisal", "missing_mass",
        "entropy_low", "entropy_high",
    ]  # fmt: skip
    assert table.loc[0, ["text", "tokens", "unknown"]].tolist() == ["the cat sat", 3, 0]
    assert table.loc[0, "logprob":"missing_mass"].tolist() == pytest.approx(
        [-6 * np.log(2), 4, 1 / 8, 2 * np.log(2), 5 / 24], abs=1e-6
    )
    assert table.loc[0, "entropy_low"] == pytest.approx(found.entropy_low.mean())
    assert table.loc[0, "entropy_high"] == pytest.approx(found.entropy_high.mean())
    assert table.loc[1, ["tokens", "logprob"]].tolist() == [0, 0]
    assert table.loc[1, "perplexity":].drop("logprob", errors="ignore").isna().all()


def test_top(cat):
    other = by_hand([5], [-1.0], [[(5, -1), (3, np.nan)]])
    table = tk.logprobs([cat, other]).top()
    assert table.columns.tolist() == ["position", "place", "id", "text", "logprob", "probability", "taken"]
    assert table.drop(columns=["logprob", "probability"]).values.tolist() == [
        [0, 1, 0, "the", True],
        [0, 2, 1, " cat", False],
        [1, 1, 2, " sat", False],
        [1, 2, 1, " cat", True],
        [2, 1, 0, "the", False],
        [2, 2, 1, " cat", False],  # the token that was taken lies outside
    ]
    assert table["probability"].tolist() == pytest.approx([1 / 2, 1 / 4] * 3)
    assert np.exp(table["logprob"]).tolist() == pytest.approx(table["probability"].tolist())
    assert tk.logprobs([cat, other]).top(1)["id"].tolist() == [5]
    assert tk.logprobs([cat, other]).top(-1)["id"].tolist() == [5]


def test_spans_are_products(cat):
    table = tk.logprobs([cat, replace(cat, text="the cat")]).spans()
    assert table[["sequence", "span", "text", "first", "last", "tokens"]].values.tolist() == [
        [0, "word", "the", 0, 1, 1],
        [0, "word", "cat", 1, 2, 1],
        [0, "word", "sat", 2, 3, 1],
        [1, "word", "the", 0, 1, 1],
        [1, "word", "cat", 1, 2, 1],
    ]
    (whole,) = tk.logprobs(cat).spans(re.compile("he cat s")).to_dict("records")
    assert (whole["first"], whole["last"], whole["tokens"]) == (0, 3, 3)
    assert whole["probability"] == pytest.approx(1 / 2 * 1 / 4 * 1 / 8)
    assert whole["logprob"] == pytest.approx(np.log(whole["probability"]))
    assert whole["min_probability"] == pytest.approx(1 / 8)
    nothing = tk.logprobs(cat).spans(re.compile("dog"))
    assert nothing.empty
    assert nothing.columns.tolist() == table.columns.tolist()


def test_a_span_of_unknown_tokens_has_no_probability(cat):
    unknown = replace(cat, logprobs=np.array([np.nan, -1, -2], np.float32))
    table = tk.logprobs(unknown).spans()
    assert table["logprob"].tolist() == pytest.approx([np.nan, -1, -2], nan_ok=True)
    assert table["probability"].isna().tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("probability", [1 / 2, 1 / 4, 1 / 8]),
        ("rank", [1, 2, 4]),
        ("surprisal", [np.log(2), np.log(4), np.log(8)]),
        ("entropy", None),
    ],
)
def test_column(cat, by, expected):
    found = tk.logprobs(cat)
    assert by in BY
    assert found.column(by) == pytest.approx(found.entropy_high if expected is None else expected)
    assert f"colour by {by}" in found.highlight(by).data
    assert found.plot(by=by).axes[0].get_title() == f"colour: {by}"


@pytest.mark.parametrize("use", ["column", "highlight", "plot"])
def test_an_unknown_colouring_is_refused_by_name(cat, use):
    with pytest.raises(ValueError, match="unknown colouring 'surprise': did you mean 'surprisal'"):
        getattr(tk.logprobs(cat), use)(by="surprise")


# For eyes


def shown(page):
    """Text and title of each piece on a page; tests/test_strip.py reads such pages as a browser does."""
    found = re.findall(r'<span style="[^"]*" title="([^"]*)">([^<]*)</span>', page)
    return [(html.unescape(text), html.unescape(title)) for title, text in found]


def test_highlight_tells_of_each_piece_what_its_tokens_are():
    first, emoji, unknown = "<b>", "🎉".encode(), b"x"
    choice = by_hand(
        range(4), [-1, -2, -3, np.nan], ranks=[1, 7, 8, 0], vocabulary=[b"<b>", emoji[:2], emoji[2:], unknown]
    )
    assert shown(tk.logprobs(choice).highlight().data) == [
        (first, "'<b>': probability 0.3679, rank 1, surprisal 1.00 nats"),
        (
            "🎉",
            "'🎉': probability 0.1353, rank 7, surprisal 2.00 nats; probability 0.0498, rank 8, surprisal 3.00 nats",
        ),
        ("x", "'x': probability not known"),
    ]
    certain = by_hand([0], [0.0])
    assert shown(tk.logprobs(certain).highlight().data)[0][1].endswith("rank 1, surprisal 0.00 nats")


def test_a_page_holds_the_first_texts_and_counts_the_others(cat):
    page = tk.logprobs([cat] * 22)._repr_html_()
    assert [text for text, _ in shown(page)] == ["the", " cat", " sat"] * 20
    assert "… and 2 more texts" in page
    assert "colour by probability" in page


def test_repr_is_the_summary_with_a_head(cat):
    text = repr(tk.logprobs([cat, by_hand([0], [-1.0], mode=None, text="x" * 100)]))
    assert text.startswith("Logprobs(2 text(s), 4 tokens, top 2, mode unknown)\n")
    assert "the cat sat" in text
    assert "x" * 60 not in text
    assert "raw_logprobs" in repr(tk.logprobs(cat))


# From a store and from files


FINGERPRINT = Fingerprint(
    {"model": "by-hand", "tokenizer": "t", "generation_config": {}, "logprobs_mode": "raw_logprobs"}
)


@pytest.fixture
def stored(db, made, cat):
    """Two completions of a sweep, by hand."""
    store = Store(db)
    both = [replace(made(messages=m, top_logprobs=2), system_fingerprint=FINGERPRINT.id) for m in ("a", "b")]
    both = [replace(c, choices=(cat,), prompt=replace(cat, index=-1, text="asked")) for c in both]
    store.begin_run("s", FINGERPRINT, WORDS)
    store.add([StoredCompletion(c, 0) for c in both])
    store.define("s", {}, [c.request for c in both], [Cell(c.request.key, 1, {}) for c in both])
    return store


def test_results_are_many_completions(stored):
    found = tk.logprobs(tk.results(stored.path))
    assert len(found) == 6
    assert found.perplexity == pytest.approx([4, 4])
    assert found.frame()["text"].tolist() == ["the", " cat", " sat"] * 2
    assert not np.isnan(found.entropy_high).any()
    (prompt, _) = (c.prompt for c in tk.results(stored.path))
    assert tk.logprobs(prompt).perplexity == pytest.approx([4])


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_of_a_file_all_is_known_but_the_texts_of_tokens(stored, tmp_path, kind):
    """A table in a file holds no vocabulary."""
    results, path = tk.results(stored.path), tmp_path / "table"
    getattr(results, f"to_{kind}")(path)
    again = tk.logprobs(getattr(tk.Results, f"from_{kind}")(path))
    assert again.perplexity == pytest.approx([4, 4])
    assert again.missing_mass == pytest.approx([1 / 4, 1 / 4, 1 / 8] * 2, abs=1e-6)
    assert again.entropy_low == pytest.approx(tk.logprobs(results).entropy_low)
    assert np.isnan(again.entropy_high).all()
    assert again.summary()["entropy_high"].isna().all()
    for use in (again.frame, again.highlight, again.spans, again.top):
        with pytest.raises(ValueError, match="vocabulary is not at hand"):
            use()


# Sampling.prompt_logprobs and Completion.prompt


@pytest.mark.parametrize(
    ("engine_mode", "mode"),
    [
        ("raw_logprobs", "raw_logprobs"),
        ("processed_logprobs", "raw_logprobs"),
        ("processed_logits", "raw_logits"),
        (None, None),
    ],
)
def test_no_setting_of_the_sampler_reaches_a_prompt(db, made, cat, engine_mode, mode):
    fingerprint = Fingerprint({**FINGERPRINT.components, "logprobs_mode": engine_mode})
    c = replace(made(top_logprobs=2), system_fingerprint=fingerprint.id, prompt=replace(cat, index=-1))
    store = Store(db)
    store.begin_run("s", fingerprint, WORDS)
    store.add([StoredCompletion(c, 0)])
    again = store.completion(c.request.key, fingerprint.id, 0)
    assert again.prompt.logprobs_mode == mode == mode_of_prompt(engine_mode)
    assert again.choices[0].logprobs_mode == engine_mode


@pytest.mark.parametrize(
    ("given", "message"), [(-2, "from -1 up, got -2"), (1.5, "got 1.5"), (True, "got True")]
)
def test_prompt_logprobs_that_are_refused(given, message):
    with pytest.raises(ValueError, match=rf"prompt_logprobs must be a whole number.*{message}"):
        tk.Sampling(prompt_logprobs=given)


def test_prompt_logprobs_beyond_the_engine_are_refused(engine):
    with pytest.raises(
        tk.RequestError, match="prompt_logprobs must be 0 to 20 on this engine, got 21: load the"
    ):
        engine.chat("Hi", prompt_logprobs=21)


def test_prompt_logprobs_are_asked_for_apart_from_those_of_the_answer(engine):
    plain, both = (engine.chat("Hi", temperature=0, max_tokens=2, **o) for o in ({}, {"prompt_logprobs": 3}))
    assert plain.prompt is None
    assert plain.request.key != both.request.key
    assert both.text == plain.text
    assert both.logprobs is None
    prompt, steps = both.prompt, len(both.prompt_token_ids)
    assert (prompt.index, prompt.finish_reason, prompt.logprobs_mode) == (-1, "prompt", "raw_logprobs")
    assert (
        prompt.text
        == engine.tokenizer.decode(both.prompt_token_ids)
        == b"".join(t.bytes for t in prompt.tokens).decode()
    )
    assert (prompt.logprobs.shape, prompt.top_ids.shape) == ((steps,), (steps, 3))
    assert np.isnan(prompt.logprobs).tolist() == [True] + [False] * (steps - 1)
    assert prompt.ranks[0] == 0
    assert prompt.tokens[0].top == ()
    assert tk.logprobs(prompt).unknown.tolist() == [1]
    assert "prompt" not in both.to_openai()["choices"][0]["message"]


def test_prompts_of_one_token_and_of_none_but_their_own(engine):
    one = engine.complete([504], temperature=0, max_tokens=1, prompt_logprobs=4)
    assert one.prompt.top_logprobs.shape[0] == 1
    found = tk.logprobs(one.prompt)
    assert np.isnan(found.entropy_high).all()
    assert np.isnan(found.perplexity).all()
    own = engine.complete("The sky is", temperature=0, max_tokens=1, prompt_logprobs=0).prompt
    assert own.top_ids.shape == (3, 0)
    assert tk.logprobs(own).perplexity[0] > 1


def test_a_prompt_survives_the_store_and_a_file(engine, db, tmp_path):
    c = engine.chat("日本 🎉", temperature=0, max_tokens=2, top_logprobs=1, prompt_logprobs=2)
    store = Store(db)
    store.begin_run("s", engine.fingerprint, engine.vocabulary)
    store.add([StoredCompletion(c, 0)])
    store.define("s", {}, [c.request], [Cell(c.request.key, 1, {})])
    results = tk.results(store)
    results.to_parquet(tmp_path / "table")
    for again in (results[0], tk.Results.from_parquet(tmp_path / "table")[0]):
        assert again.request == c.request
        assert len(again.choices) == 1
        assert (again.prompt.text, again.prompt.logprobs_mode) == (c.prompt.text, "raw_logprobs")
        for name in ("token_ids", "logprobs", "ranks", "top_ids", "top_logprobs"):
            assert np.array_equal(getattr(again.prompt, name), getattr(c.prompt, name), equal_nan=True), name
