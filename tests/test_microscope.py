import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings, strategies as st

from toolkit.analysis.microscope import microscope
from toolkit.analysis.truncation_bounds import _LIGHTEST, _ROUNDING, _ROUNDING_EACH
from toolkit.core.choice import Choice


def stored(rows, token_ids, k, order=None, **fields):
    """A choice from log probabilities (T, V), of which those of the top k and of the chosen tokens are stored."""
    ids = np.argsort(-rows, axis=1, kind="stable")[:, :k] if order is None else order[:, :k]
    vocabulary = [bytes([65 + i % 26]) for i in range(rows.shape[1])]
    arrays = {
        "token_ids": np.array(token_ids, np.int32),
        "logprobs": rows[np.arange(len(token_ids)), token_ids].astype(np.float32),
        "ranks": np.ones(len(token_ids), np.int32),
        "top_ids": ids.astype(np.int32),
        "top_logprobs": np.take_along_axis(rows, ids, 1).astype(np.float32),
    }
    made = {"logprobs_mode": "raw_logprobs", "vocabulary": lambda: vocabulary, **arrays, **fields}
    return Choice(0, "", "stop", **made)


def same(p, history=(), chosen=0, k=3, **fields):
    """The same distribution at every step."""
    return stored(np.log(np.tile(p, (len(history) + 1, 1))), [*history, chosen], k, **fields)


# Worked by hand: of five tokens three are stored, so two share what is missing, 0.05.
P = [0.5, 0.3, 0.15, 0.04, 0.01]


@pytest.mark.parametrize(
    ("history", "options", "low", "high", "tail"),
    [
        # p² is 0.25, 0.09, 0.0225: 0.3625. The two unseen add 2 · 0.025² if equal, 0.05² if one has all.
        ([], {"temperature": 0.5},
         np.divide([0.25, 0.09, 0.0225], 0.3625 + 0.0025), np.divide([0.25, 0.09, 0.0225], 0.3625 + 0.00125),
         (0.00125 / 0.36375, 0.0025 / 0.365)),
        # √p is 0.7071, 0.5477, 0.3873: 1.6421. Now one having all is the least, √0.05, and 2 √0.025 the greatest.
        ([], {"temperature": 2},
         np.divide([0.70711, 0.54772, 0.38730], 1.64213 + 0.31623),
         np.divide([0.70711, 0.54772, 0.38730], 1.64213 + 0.22361),
         (0.22361 / 1.86574, 0.31623 / 1.95836)),
        # 0.8 lies above the third token, 0.95 above the unseen ones: at 0.9 that one is kept, and they are not.
        ([], {"top_p": 0.9}, np.divide([0.5, 0.3, 0.15], 0.95), np.divide([0.5, 0.3, 0.15], 0.95), (0, 0)),
        # At 0.96 one of them is kept, or both: from 0.01 of the sum, which is 0.96 of it, to all of their 0.05.
        ([], {"top_p": 0.96}, [0.5, 0.3, 0.15], np.divide([0.5, 0.3, 0.15], 0.96), (0.01 / 0.96, 0.05)),
        # The first was generated twice: it weighs 0.5 · exp(−(2 · 0.25 + 0.5)) = 0.18394, less than the second.
        ([0, 0], {"frequency_penalty": 0.25, "presence_penalty": 0.5, "top_k": 2},
         np.divide([0.18394, 0.3, 0], 0.48394), np.divide([0.18394, 0.3, 0], 0.48394), (0, 0)),
        # Not less than half of 0.5: the others are cut, whatever the unseen ones are.
        ([], {"min_p": 0.5}, [0.625, 0.375, 0], [0.625, 0.375, 0], (0, 0)),
        # An unseen token with that bias weighs at most 0.05 e⁵ = 7.42, and may weigh nothing.
        ([], {"min_p": 0.5, "logit_bias": {4: 5}}, [0, 0, 0], [1, 0.375, 0], (0, 1)),
        ([], {"temperature": 0}, [1, 0, 0], [1, 0, 0], (0, 0)),
        ([], {"temperature": 0, "logit_bias": {4: 5}}, [0, 0, 0], [1, 0, 0], (0, 1)),
    ],
)  # fmt: skip
def test_as_worked_by_hand(history, options, low, high, tail):
    step = microscope(same(P, history)).at(-1, **options)
    assert step.ids.tolist() == [0, 1, 2]
    assert step.raw == pytest.approx(P[:3])
    assert step.missing == pytest.approx(0.05)
    assert step.low == pytest.approx(low, abs=5e-5)
    assert step.high == pytest.approx(high, abs=5e-5)
    assert (step.tail_low, step.tail_high) == pytest.approx(tail, abs=5e-5)
    assert step.exact == np.allclose(low, high)


def reference(logprobs, history, options):
    """(V,) logits after every setting, on the whole vocabulary, by vLLM's own functions in float64."""
    # Here, since every worker imports this file, whichever tests it runs.
    from vllm.v1.sample.ops.penalties import apply_all_penalties
    from vllm.v1.sample.ops.topk_topp_sampler import apply_top_k_top_p_pytorch

    x = torch.tensor(logprobs, dtype=torch.float64)[None]
    for token, bias in options.get("logit_bias", {}).items():
        x[0, token] += bias
    number = {n: torch.tensor([v], dtype=torch.float64) for n, v in options.items() if n != "logit_bias"}
    none = torch.zeros(1, dtype=torch.float64)
    penalties = number.get("presence_penalty", none), number.get("frequency_penalty", none), none + 1
    x = apply_all_penalties(x, torch.full((1, 1), len(logprobs)), *penalties, [history])
    if options.get("temperature") == 0:
        return torch.where(torch.arange(len(logprobs)) == x[0].argmax(), x[0], -torch.inf)
    x = x / number.get("temperature", none + 1)
    p = x.softmax(-1)
    x = x.masked_fill(p < p.max() * options.get("min_p", 0), -torch.inf)
    k = torch.tensor([min(options["top_k"], len(logprobs))]) if options.get("top_k") else None
    return apply_top_k_top_p_pytorch(x, k, number.get("top_p"), allow_cpu_sync=True)[0]


@st.composite
def cases(draw):
    """A distribution, some tied, what was generated before, the chosen token, and settings."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = draw(st.sampled_from([1, 2, 3, 5, 30, 300, 2000]))
    x = rng.normal(size=size) * draw(st.sampled_from([0.1, 1, 3, 8]))
    x = np.round(x * 2) / 2 if draw(st.integers(0, 2)) == 0 else x
    logprobs = torch.tensor(x).log_softmax(0).to(torch.float32).numpy()
    history = rng.integers(size, size=draw(st.integers(0, 7))).tolist()
    penalty = st.floats(-2, 2, allow_subnormal=False)
    token = st.integers(0, size - 1)
    options = {
        "temperature": st.sampled_from([0, 0.05, 0.3, 0.7, 1, 1.3, 2]) | st.floats(0.05, 2),
        "top_p": st.floats(0.01, 0.999).map(lambda p: p + 1e-7 * rng.random()),
        "top_k": st.sampled_from([1, 2, 3, 10, 50]),
        "min_p": st.sampled_from([1e-4, 0.05]) | st.floats(0.01, 1),
        "frequency_penalty": penalty,
        "presence_penalty": penalty,
        "logit_bias": st.dictionaries(token, st.sampled_from([-100, 100]) | st.floats(-5, 5), max_size=3),
    }
    order = np.lexsort((rng.random(size), -logprobs))
    return logprobs, order, history, draw(token), draw(st.fixed_dictionaries({}, optional=options))


def at(case, k):
    """The microscope's step of a case, of which the top k are stored."""
    logprobs, order, history, chosen, options = case
    top = logprobs[order[:k]]
    # An unseen token is as likely as the last one stored only where stored ones show that this happens.
    assume(k == len(order) or logprobs[order[k]] < top[-1] or len(np.unique(top)) < k)
    tokens = [*history, chosen]
    rows = np.tile(logprobs, (len(tokens), 1))
    return microscope(stored(rows, tokens, k, np.tile(order, (len(tokens), 1)))).at(-1, **options)


@settings(max_examples=4 * settings.default.max_examples, suppress_health_check=list(HealthCheck))
@given(cases(), st.integers(1, 40))
def test_the_bounds_hold_whatever_is_not_stored(case, k):
    logprobs, order, history, _, options = case
    step = at(case, min(k, len(order)))
    x = reference(logprobs, history, options)
    kept, truth = x.isfinite().numpy(), x.softmax(-1).numpy()
    rest = 1 - truth[step.ids].sum()
    # Unchanged, they are the stored float32 probabilities, which the reference makes add up to 1.
    error = 1e-6 if np.array_equal(step.low, step.raw) else 1e-9
    assert (step.low - error <= truth[step.ids]).all()
    assert (truth[step.ids] <= step.high + error).all()
    assert step.tail_low - error <= rest <= step.tail_high + error
    assert not (kept[step.ids] & (step.high == 0)).any()
    assert not (~kept[step.ids] & (step.low > 0)).any()
    assert (step.low <= step.high).all()
    assert step.low.sum() + step.tail_low <= 1 + error
    assert step.high.sum() + step.tail_high + error >= 1
    assert np.delete(truth, step.ids).max(initial=0) <= step.tail_most + error
    least, most = step.entropy
    assert least - 1e-7 <= -(truth[kept] * np.log(np.maximum(truth[kept], 1e-300))).sum() <= most + 1e-7
    assert ((step.by == "") == (step.low > 0)).all()


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(cases(), st.integers(1, 40), st.integers(1, 300))
def test_more_that_is_stored_never_widens_the_bounds(case, k, more):
    few, many = (at(case, min(n, len(case[1]))) for n in (k, k + more))
    place = [many.ids.tolist().index(i) for i in few.ids]
    assert (many.low[place] >= few.low - 1e-9).all()
    assert (many.high[place] <= few.high + 1e-9).all()


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(cases(), st.integers(1, 40))
def test_neutral_settings_change_nothing(case, k):
    step = at((*case[:-1], {}), min(k, len(case[1])))
    assert step.exact
    assert step.low.tolist() == step.high.tolist() == step.raw.tolist()
    assert step.tail_low == step.tail_high == step.missing
    assert step.entropy == step.entropy_before
    assert (step.by == "").all()


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(cases(), st.integers(1, 40), st.sampled_from([0.9999, 1.0001]))
def test_settings_that_hardly_change_anything_hardly_move_the_entropy(case, k, temperature):
    step = at((*case[:-1], {"temperature": temperature}), min(k, len(case[1])))
    assert step.entropy == pytest.approx(step.entropy_before, abs=0.02)


@pytest.mark.parametrize(
    ("history", "options"),
    [
        ([], {"frequency_penalty": 2, "presence_penalty": -2}),  # nothing was generated that they could count
        ([0], {"top_p": 1, "top_k": 0, "min_p": 0, "temperature": 1, "seed": 3, "stop": ["x"]}),
        ([0], {"logit_bias": {1: 0}}),
    ],
)
def test_whatever_has_no_effect_changes_nothing(history, options):
    step = microscope(same(P, history)).at(-1, **options)
    assert step.low.tolist() == step.high.tolist() == step.raw.tolist()
    assert step.entropy == step.entropy_before


def test_the_entropy_of_a_flat_distribution_keeps_its_lower_bound():
    rng = np.random.default_rng(0)
    x = rng.normal(size=50_000)
    logprobs = x - np.log(np.exp(x).sum())
    step = microscope(stored(logprobs[None].astype(np.float32), [int(logprobs.argmax())], 20)).at(0)
    assert step.entropy == step.entropy_before
    low, high = microscope(step.choice).at(0, temperature=0.999).entropy
    assert low > 7.5  # at least 0.99 of the mass is on tokens of at most 0.0004
    assert low <= -(np.exp(logprobs) * logprobs).sum() <= high
    assert step.tail_high == pytest.approx(step.missing, abs=5e-5)


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(cases())
def test_of_a_whole_vocabulary_all_is_known(case):
    step = at(case, len(case[1]))
    assert (step.missing, step.tail_low, step.tail_high) == (0, 0, 0)
    # All but equal tokens at the edge of a cut.
    unsure = np.flatnonzero((step.low == 0) & (step.high > 0))
    assert step.exact or len(unsure) > 1


def entropy(p):
    p = np.array(p) / np.sum(p)
    return -(p * np.log(p)).sum()


@pytest.mark.parametrize(
    ("options", "least", "most"),
    [
        # 0.05 lies on one token or evenly on two.
        ({}, entropy([0.5, 0.3, 0.15, 0.05]), entropy([0.5, 0.3, 0.15, 0.025, 0.025])),
        ({"top_p": 0.9}, entropy([0.5, 0.3, 0.15]), entropy([0.5, 0.3, 0.15])),
        ({"temperature": 0}, 0, 0),
        # At 0.5 the two weigh 0.0025 or 0.00125 together, against 0.3625.
        ({"temperature": 0.5}, entropy([0.25, 0.09, 0.0225, 0.00125]),
         entropy([0.25, 0.09, 0.0225, 0.00125, 0.00125])),
    ],
)  # fmt: skip
def test_the_entropy_as_worked_by_hand(options, least, most):
    step = microscope(same(P)).at(0, **options)
    low, high = step.entropy
    assert low <= least + 1e-4
    assert (low, high) == pytest.approx((least, most), abs=0.01)
    assert step.entropy_before == pytest.approx(
        (entropy([0.5, 0.3, 0.15, 0.05]), entropy([0.5, 0.3, 0.15, 0.025, 0.025])), abs=1e-3
    )
    assert not np.signbit([low, high]).any()  # no "-0.00"


def test_a_min_p_bounds_how_many_share_what_is_missing():
    flat = [0.02] * 5 + [0.9 / 995] * 995
    scope = microscope(same(flat, k=5))
    assert scope.at(0).entropy[1] == pytest.approx(entropy(flat), abs=1e-3)
    # An unseen token that is kept has a tenth of 0.02 at least: 450 of them at most.
    assert scope.at(0, min_p=0.1).entropy[1] < entropy([0.02] * 5 + [0.002] * 450) + 1e-2


@pytest.mark.parametrize(
    ("options", "by"),
    [
        ({"top_k": 2}, ["", "", "top_k"]),
        ({"min_p": 0.5, "top_k": 1}, ["", "top_k", "min_p"]),
        ({"top_p": 0.5}, ["", "top_p", "top_p"]),
        ({"temperature": 0, "top_p": 0.5}, ["", "temperature", "temperature"]),
        ({}, ["", "", ""]),
    ],
)
def test_the_setting_that_cuts_a_token_is_named(options, by):
    assert microscope(same(P)).at(0, **options).by.tolist() == by


def test_what_was_generated_before_is_counted():
    assert microscope(same(P, [0, 2, 0])).at(3).seen.tolist() == [2, 0, 1]
    assert microscope(same(P, [0, 2, 0], prefix_tokens=1)).at(2).seen.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("p", "options", "fates"),
    [
        ([0.4, 0.2, 0.2, 0.15, 0.05], {"top_k": 2}, ["kept", "unknown", "unknown", "cut", "cut"]),
        ([0.4, 0.2, 0.2, 0.15, 0.05], {"top_k": 3}, ["kept", "kept", "kept", "cut", "cut"]),
        ([0.4, 0.2, 0.2, 0.15, 0.05], {"top_p": 0.5}, ["kept", "unknown", "unknown", "cut", "cut"]),
        ([0.4, 0.2, 0.2, 0.15, 0.05], {"min_p": 0.45}, ["kept", "kept", "kept", "cut", "cut"]),
        ([0.4, 0.4, 0.1, 0.06, 0.04], {"temperature": 0}, ["unknown", "unknown", "cut", "cut", "cut"]),
    ],
)
def test_of_equal_tokens_at_the_edge_any_may_be_kept(p, options, fates):
    assert microscope(same(p, k=5)).at(0, **options).frame()["fate"].tolist() == fates


def test_a_token_that_is_not_stored_may_be_equal_where_stored_ones_are():
    """Logits of 16 bits have ties: the fourth token may be as likely as the third."""
    assert microscope(same([0.35, 0.25, 0.14, 0.14, 0.12])).at(0, top_k=3).exact
    step = microscope(same([0.3, 0.3, 0.14, 0.14, 0.12])).at(0, top_k=3)
    assert step.frame()["fate"].tolist() == ["kept", "kept", "unknown"]
    assert step.tail_high > 0.14


@pytest.mark.parametrize("temperature", [0.01, 0.02])
def test_tokens_too_light_for_floats_are_not_cut(temperature):
    x = torch.tensor(np.linspace(0, -30, 100)).log_softmax(0).numpy()
    step = microscope(stored(x[None], [0], 100)).at(0, temperature=temperature, top_k=50)
    assert (step.low > 0).tolist() == [True] * 50 + [False] * 50
    assert step.exact


def test_a_prefix_was_not_generated():
    prefixed = microscope(same(P, [0, 0], prefix_tokens=2))
    assert prefixed.at(2, presence_penalty=2, top_p=0.9).low == pytest.approx(np.array(P[:3]) / 0.95)
    assert microscope(same(P, [0, 0], prefix_tokens=1)).at(2, presence_penalty=2, top_k=1).low.tolist() == [
        0,
        1,
        0,
    ]


def test_what_is_not_known_of_a_prefix_is_not_stored():
    choice = same(P, [0])
    top, own = choice.top_logprobs.copy(), choice.logprobs.copy()
    top[0, 1:] = np.nan
    scope = microscope(dataclasses.replace(choice, top_logprobs=top))
    assert (scope.at(0).ids.tolist(), scope.at(1).ids.tolist()) == ([0], [0, 1, 2])
    top[0], own[0] = np.nan, np.nan
    scope = microscope(dataclasses.replace(choice, top_logprobs=top, logprobs=own))
    with pytest.raises(ValueError, match="the log probabilities of step 0 are not known: take another step"):
        scope.at(0)


def test_settings_are_those_of_the_completion_unless_told_otherwise(made):
    completion = made(n=2, steps=1, temperature=0.5, presence_penalty=1, seed=7, top_logprobs=3)
    other = same(P, [3, 3], chosen=4)
    completion = dataclasses.replace(completion, choices=(same(P), other))
    scope = microscope(completion, choice=1)
    assert len(scope) == 3
    assert repr(scope) == "Microscope(3 steps, temperature=0.5, presence_penalty=1)"
    step = scope.at(-1, presence_penalty=0, max_tokens=9)
    assert (step.step, step.ids[step.chosen], step.settings.temperature) == (2, 4, 0.5)
    # The chosen token is known too: the fourth alone is unseen, and has 0.04.
    squares = np.square([0.5, 0.3, 0.15, 0.01])
    assert step.low == pytest.approx(squares / (squares.sum() + 0.04**2), abs=1e-5)
    assert scope.at(-1, temperature=0).low.tolist() == [1, 0, 0, 0]
    assert microscope(completion).at(0).settings.temperature == 0.5
    assert (scope.completion, microscope(other).completion) == (completion, None)


def test_a_step_shows_itself():
    words = [b"<b>", b"\xf0\x9f", b"c", b"d", b"e"]
    step = microscope(same(P, vocabulary=lambda: words)).at(0, top_p=0.7, logit_bias={2: -1})
    frame = step.frame()
    assert frame["token"].tolist() == ["<b>", "�", "c"]
    assert frame["fate"].tolist() == ["kept", "kept", "cut"]
    said = "tokens that are not stored have 0.05 of the probability before, 0 to 0 after."
    assert repr(step).startswith(f"Step 0 at top_p=0.7, logit_bias=((2, -1.0),): {said}\n")
    assert "0.625" in repr(step)
    assert "&lt;b&gt;" in step._repr_html_()
    assert "<b>" not in step._repr_html_()
    unsure = microscope(same(P)).at(0, top_p=0.98, temperature=2).frame()
    assert unsure["fate"].tolist() == ["kept", "kept", "kept"]
    assert microscope(same(P, k=2, chosen=4)).at(0, top_p=0.98).frame()["fate"].iloc[-1] == "unknown"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"logprobs_mode": "processed_logprobs"},
            "must be 'raw_logprobs', got 'processed_logprobs': .* load the",
        ),
        (
            {"logprobs_mode": "constrained_logprobs"},
            "got 'constrained_logprobs': .* without a response format",
        ),
        ({"logprobs_mode": None}, "logprobs_mode must be 'raw_logprobs', got None"),
        (
            {"logprobs": None, "top_ids": None, "top_logprobs": None},
            "no log probabilities: .* top_logprobs=20",
        ),
        ({"vocabulary": None}, "vocabulary is not at hand"),
    ],
)
def test_choices_that_it_cannot_look_at(fields, message):
    with pytest.raises(ValueError, match=message):
        microscope(same(P, **fields))


@pytest.mark.parametrize(
    ("step", "options", "error", "message"),
    [
        (3, {}, IndexError, "step must be from -3 to 2, got 3"),
        (-4, {}, IndexError, "step must be from -3 to 2, got -4"),
        (0, {"temprature": 1}, TypeError, "unknown sampling option 'temprature': did you mean 'temperature'"),
        (0, {"temperature": 3}, ValueError, "temperature must be a number from 0 to 2, got 3"),
        (0, {"repetition_penalty": 1.1}, ValueError,
         "repetition_penalty must be 1.0 .*, got 1.1: it multiplies or divides a logit by its sign, which log prob"),
        (0, {"allowed_token_ids": [1]}, ValueError, "allowed_token_ids must be None .*, got .1,.: it bans tokens"),
        (0, {"bad_words": "no"}, ValueError, "bad_words must be None .*, got .'no',.: it bans tokens"),
        (1, {"min_tokens": 2}, ValueError, "min_tokens must be 0 .*, got 2: it bans the end of text"),
        (0, {"logit_bias": {5: 1}}, ValueError, "logit_bias must name tokens from 0 to 4, got 5"),
    ],
)  # fmt: skip
def test_wrong_use_is_told(step, options, error, message):
    with pytest.raises(error, match=message):
        microscope(same(P, [0, 0])).at(step, **options)


def test_the_end_of_text_is_banned_before_min_tokens_alone():
    assert microscope(same(P, [0, 0])).at(2, min_tokens=2, top_p=0.9).exact


def test_what_it_takes():
    with pytest.raises(TypeError, match="takes a Completion or a Choice, got 'text'"):
        microscope("text")
    with pytest.raises(IndexError, match="choice must be from 0 to 0, got 1"):
        microscope(same(P), choice=1)


STEPS, ROWS = 6, [
    {},
    {"temperature": 0.05},
    {"temperature": 0.7},
    {"temperature": 2},
    {"top_p": 0.9},
    {"top_p": 0.3, "temperature": 1.5},
    {"top_k": 1},
    {"top_k": 5},
    {"top_k": 50, "temperature": 1.3},
    {"min_p": 0.05},
    {"min_p": 0.3, "temperature": 2},
    {"frequency_penalty": 1.5},
    {"frequency_penalty": -1, "presence_penalty": -1},
    {"presence_penalty": 2, "temperature": 0.5},
    {"logit_bias": {253: 8, 260: -100}},
    {"logit_bias": {253: 100}, "temperature": 0.7, "frequency_penalty": 2},
    {"temperature": 0},
    {"temperature": 0, "frequency_penalty": 2, "presence_penalty": 2},
    {"temperature": 0.8, "top_p": 0.95, "top_k": 20, "min_p": 0.02},
    {"temperature": 1.5, "top_p": 0.8, "frequency_penalty": 0.7, "presence_penalty": 0.3, "logit_bias": {28: 3}},
]  # fmt: skip


@pytest.fixture(scope="module")
def captured(engine):
    """For each row of ROWS, for each prompt: token ids (STEPS,), raw and processed logprobs (STEPS, V), as vLLM's own
    sampler has them."""
    from vllm import SamplingParams

    prompts = [" a a a a a a a a", "The capital of France is", "one two one two one two one"]
    ids = [engine.tokenizer.hf.encode(p) for p in prompts]

    def capture(llm, options):
        runner = llm.llm_engine.engine_core.engine_core.model_executor.driver_worker.worker.model_runner
        sampler, seen = runner.sampler, []
        parts = (sampler, sampler.topk_topp_sampler)
        modes = [part.logprobs_mode for part in parts]
        forward, sample = sampler.forward, sampler.sample

        def watched_forward(logits, *arguments, **named):
            seen.append([list(runner.input_batch.req_ids), logits.log_softmax(-1, dtype=torch.float32)])
            return forward(logits, *arguments, **named)

        def watched_sample(*arguments, **named):
            found = sample(*arguments, **named)
            seen[-1] += [t.clone() for t in found]
            return found

        try:
            for part in parts:
                part.logprobs_mode = "processed_logprobs"
            sampler.forward, sampler.sample = watched_forward, watched_sample
            params = [
                SamplingParams(max_tokens=STEPS, ignore_eos=True, seed=i, logprobs=0, **options)
                for i in range(len(ids))
            ]
            outputs = llm.generate([{"prompt_token_ids": i} for i in ids], params, use_tqdm=False)
        finally:
            for part, mode in zip(parts, modes, strict=True):
                part.logprobs_mode = mode
            del sampler.forward, sampler.sample
        assert sampler.forward.__func__ is type(sampler).forward
        # The rows of the batch keep their order: none ends before the others.
        assert len({tuple(requests) for requests, *_ in seen}) == 1
        drawn, raw, processed = (np.stack([s[i].numpy() for s in seen], 1) for i in (2, 1, 3))
        assert drawn.tolist() == [list(o.outputs[0].token_ids) for o in outputs]
        return list(zip(drawn, raw, processed, strict=True))

    return [engine.call(lambda llm, options=options: capture(llm, options)) for options in ROWS]


@pytest.mark.parametrize("row", range(len(ROWS)), ids=[str(r) for r in ROWS])
def test_of_a_whole_vocabulary_it_is_what_vllm_computes(captured, row):
    for drawn, raw, processed in captured[row]:
        assert (
            np.abs(np.exp(raw.astype(np.float64)).sum(1) - 1).max()
            < _ROUNDING + _ROUNDING_EACH * raw.shape[1]
        )
        scope = microscope(stored(raw, drawn, raw.shape[1]))
        for number in range(STEPS):
            step = scope.at(number, **ROWS[row])
            assert step.exact
            want = processed[number][step.ids]
            if ROWS[row].get("temperature") == 0:  # vLLM's are those of before the temperature
                want = np.where(step.ids == drawn[number], 0, -np.inf)
                assert processed[number].argmax() == drawn[number]
            kept = np.isfinite(want)
            assert (kept == (step.low > 0)).all()
            assert (kept == (step.high > 0)).all()
            told = want > np.log(_LIGHTEST) + 1  # of lighter ones, that they are not cut
            assert np.abs(np.log(step.low[told]) - want[told]).max() < 1e-4


@pytest.mark.parametrize("row", range(len(ROWS)), ids=[str(r) for r in ROWS])
def test_of_the_top_twenty_the_bounds_hold_vllms_own(captured, row):
    for drawn, raw, processed in captured[row]:
        scope = microscope(stored(raw, drawn, 20))
        for number in range(STEPS):
            step = scope.at(number, **ROWS[row])
            truth = np.exp(processed[number].astype(np.float64))
            if ROWS[row].get("temperature") == 0:
                truth = (np.arange(len(truth)) == drawn[number]).astype(float)
            assert (step.low * (1 - 1e-4) <= truth[step.ids]).all()
            assert (truth[step.ids] <= step.high * (1 + 1e-4)).all()
            rest = truth.sum() - truth[step.ids].sum()
            assert step.tail_low - 5e-5 <= rest <= step.tail_high + 5e-5  # sums of float32


def test_the_table_has_what_it_is_to_test(captured):
    """Penalties at tokens that were generated more than once."""
    repeated = [
        any(len(set(drawn[:-1].tolist())) < STEPS - 1 for drawn, *_ in choices)
        for choices, options in zip(captured, ROWS, strict=True)
        if "frequency_penalty" in options
    ]
    assert sum(repeated) >= 3


def test_a_completion_of_the_engine(engine):
    completion = engine.chat(
        "Tell me a story.", temperature=0.7, top_p=0.9, top_logprobs=20, max_tokens=5, seed=1
    )
    scope = microscope(completion)
    assert len(scope) == 5
    assert {scope.at(i).settings.top_p for i in range(5)} == {0.9}
    # It was drawn, so it was not cut.
    assert all(step.high[step.chosen] > 0 for step in map(scope.at, range(5)))
