"""The real engine: vLLM on the default model, on its defaults."""

import gc
import itertools
import signal
import threading
import time

import numpy as np
import pytest
from openai.types import Completion as OpenAICompletion
from openai.types.chat import ChatCompletion
from scipy.special import log_softmax

import toolkit as tk
from toolkit.core.request import Request
from toolkit.experiments.leased_requests import LeasedRequests
from toolkit.store.store import Store

PROMPTS = [
    "What is the capital of France?",
    "Write a haiku about recursion.",
    "Are semicolons optional in JavaScript?",
    "Name three colours.",
    "What is 2 + 2?",
    "Translate 'good morning' to French.",
    "Who wrote Hamlet?",
    "Give me a synonym of happy.",
    "What do bees make?",
    "Say 'double bubble bath' three times.",
]


def idle(engine):
    """Waits until vLLM holds no request; fails when it keeps one."""
    for _ in range(100):
        if not engine.call(lambda llm: llm.llm_engine.has_unfinished_requests()):
            return
        time.sleep(0.05)
    pytest.fail("the engine still runs requests that nobody waits for")


def test_greedy_text_and_logprobs_equal_transformers(engine, reference):
    requests = [Request.chat(p, temperature=0, max_tokens=12, top_logprobs=20) for p in PROMPTS]
    completions = list(engine.generate(requests))
    assert len(completions) == len(PROMPTS)
    for c in completions:
        prompt = c.prompt_token_ids.tolist()
        logits = reference(prompt + c.token_ids.tolist())[len(prompt) - 1 : -1]
        expected = log_softmax(logits.astype(np.float64), axis=-1)
        steps = np.arange(len(c.token_ids))
        assert np.array_equal(expected.argmax(axis=-1), c.token_ids)
        assert np.abs(expected[steps, c.token_ids] - c.logprobs).max() < 1e-3
        assert np.abs(np.take_along_axis(expected, c.top_ids, axis=-1) - c.top_logprobs).max() < 1e-3
        assert np.array_equal(c.top_ids[:, 0], c.token_ids)
        assert (c.ranks == 1).all()


def test_ranks_of_sampled_tokens_equal_transformers(engine, reference):
    c = engine.chat("Tell me something odd.", temperature=1.5, seed=3, max_tokens=16, top_logprobs=2)
    prompt = c.prompt_token_ids.tolist()
    logits = reference(prompt + c.token_ids.tolist())[len(prompt) - 1 : -1]
    own = logits[np.arange(len(c.token_ids)), c.token_ids]
    expected = 1 + (logits > own[:, None]).sum(axis=-1)
    assert c.ranks.max() > 2  # some token lay outside the top 2, and is there all the same
    # Logits that differ by rounding may swap neighbours far down the list.
    assert np.abs(expected - c.ranks).max() <= max(1, 0.01 * expected.max())


@pytest.mark.parametrize(("frequency", "presence"), [(0, 2), (2, 0), (0.7, 0.4), (-1, 0)])
def test_penalties_follow_the_formula(engine, reference, frequency, presence):
    """logit[j] −= count[j]·frequency + (count[j] > 0)·presence, over generated tokens only (OpenAI)."""
    asked = "Repeat after me: spam spam spam spam. Go on and on."
    options = {"temperature": 0, "max_tokens": 24}
    c = engine.chat(asked, **options, frequency_penalty=frequency, presence_penalty=presence)
    prompt, ids = c.prompt_token_ids.tolist(), c.token_ids.tolist()
    logits = reference(prompt + ids)[len(prompt) - 1 : -1].copy()
    changed = False
    for step, row in enumerate(logits):
        tokens, counts = np.unique(ids[:step], return_counts=True)
        free = int(row.argmax())
        if step:
            row[tokens] -= counts * frequency + presence
        assert int(row.argmax()) == ids[step], f"step {step}"
        changed |= free != ids[step]
    if frequency >= 0:
        assert changed, "no step where the penalty decided: the case tests nothing"


def test_responses_are_openais(engine):
    chat = engine.chat("Hi", max_tokens=4, temperature=0, top_logprobs=3)
    assert ChatCompletion.model_validate(chat.to_openai()).choices[0].message.content == chat.text
    text = engine.complete("The sky is", max_tokens=4, temperature=0, top_logprobs=3)
    response = OpenAICompletion.model_validate(text.to_openai())
    assert response.choices[0].text == text.text
    assert "".join(response.choices[0].logprobs.tokens) == text.text
    assert response.usage.total_tokens == len(text.prompt_token_ids) + 4


def test_tokens_join_to_the_text(engine):
    c = engine.chat("Write 'naïve café 日本 🎉'.", temperature=0, max_tokens=24)
    raw = b"".join(t.bytes for t in c.tokens if t.id != 2)
    assert raw.decode("utf-8", "ignore").startswith(c.text[:10])
    assert c.finish_reason in ("stop", "length")


def test_seeds_repeat_alone_and_in_a_batch(engine):
    alone = [engine.chat("Tell a story.", seed=s, max_tokens=8).text for s in range(4)]
    again = {
        c.request.sampling.seed: c.text
        for c in engine.generate(Request.chat("Tell a story.", seed=s, max_tokens=8) for s in range(4))
    }
    assert [again[s] for s in range(4)] == alone
    assert len(set(alone)) > 1


def test_without_a_seed_each_answer_is_a_fresh_draw(engine):
    texts = {engine.chat("Tell a story.", temperature=1.5, max_tokens=12).text for _ in range(4)}
    assert len(texts) > 1


def test_n_choices_take_consecutive_seeds(engine):
    several = engine.chat("Tell a story.", seed=5, n=3, max_tokens=6)
    assert [c.text for c in several.choices] == [
        engine.chat("Tell a story.", seed=s, max_tokens=6).text for s in (5, 6, 7)
    ]
    assert several.usage.completion_tokens == sum(len(c.token_ids) for c in several.choices)


@pytest.mark.parametrize(
    ("options", "reason", "stop"),
    [
        ({"max_tokens": 3}, "length", None),
        ({"max_tokens": 40}, "stop", None),
        ({"stop": " is"}, "stop", " is"),
    ],
)
def test_finish_reasons(engine, options, reason, stop):
    c = engine.chat("What is the capital of France?", temperature=0, **options)
    assert (c.finish_reason, c.choices[0].stop_reason) == (reason, stop)
    assert c.text == {None: c.text, " is": "The capital of France"}[stop]


def test_three_hundred_seeded_requests_at_once(tiny):
    """With vLLM's own defaults on a CPU this many seeded prompts crash its engine."""
    asked = [Request.chat("Say a word. " * 12, seed=s, max_tokens=1) for s in range(300)]
    assert sum(c.error is None for c in tiny.generate(asked)) == 300


BAD = [
    (Request(prompt="word " * 9000), r"has 9001 tokens and max_tokens is 256: .* window of .*, 8192 tokens"),
    (Request.chat("x", top_logprobs=21), "top_logprobs must be 0 to 20 on this engine, got 21"),
    (Request(prompt=(10_000_000,)), "those of SmolLM2-135M-Instruct are 0 to 49151"),
]


@pytest.mark.parametrize(("bad", "message"), BAD, ids=["too long", "logprobs", "vocabulary"])
def test_a_bad_request_fails_alone(engine, bad, message):
    good = Request.chat("Hi", max_tokens=2)
    completions = list(engine.generate([good, bad, good]))
    (failed,) = [c for c in completions if c.error]
    assert failed.finish_reason == "error"
    with pytest.raises(tk.RequestError, match=message):
        raise tk.RequestError(failed.error)
    assert [c.usage.completion_tokens for c in completions if not c.error] == [2, 2]
    with pytest.raises(tk.RequestError, match=message):
        engine._generate_one(bad)
    with pytest.raises(tk.RequestError, match=message):
        list(engine.stream_request(bad))


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda e: e.chat([]), ValueError, "messages is empty"),
        (lambda e: e.chat([{"role": "wizard", "content": "x"}]), ValueError, "unknown role 'wizard'"),
        (lambda e: e.chat("x", temperature=3), ValueError, "temperature must be a number from 0 to 2, got 3"),
        (lambda e: e.chat("x", temprature=1), TypeError, "did you mean 'temperature'"),
        (lambda e: e.complete(""), ValueError, "prompt is empty"),
        (lambda e: e.complete([1, -2]), ValueError, "prompt must be a string or a list of token ids"),
    ],
)
def test_wrong_use_is_refused_before_the_engine(engine, ask, error, message):
    with pytest.raises(error, match=message):
        ask(engine)


def test_streaming_gives_the_text_of_chat_in_pieces(engine):
    options = {"temperature": 0, "max_tokens": 12, "top_logprobs": 2}
    deltas = list(engine.stream("Count to ten.", **options))
    whole = engine.chat("Count to ten.", **options)
    assert "".join(d.text for d in deltas) == whole.text
    assert len(deltas) > 5
    assert [d.completion is not None for d in deltas] == [False] * (len(deltas) - 1) + [True]
    assert deltas[-1].finish_reason == whole.finish_reason
    assert np.array_equal(deltas[-1].completion.token_ids, whole.token_ids)
    assert np.allclose(deltas[-1].completion.top_logprobs, whole.top_logprobs, atol=1e-4)


def test_leaving_a_stream_or_a_batch_cancels_it(engine):
    for delta in engine.stream("Tell a very long story.", max_tokens=4000, ignore_eos=True):
        assert delta.text
        break
    idle(engine)
    requests = [
        Request.chat("Hi", max_tokens=2),
        *[Request.chat("Go on.", max_tokens=4000, ignore_eos=True)] * 20,
    ]
    answers = engine.generate(requests)
    assert next(answers).usage.completion_tokens == 2
    del answers
    gc.collect()
    idle(engine)
    assert engine.chat("Hi", max_tokens=2).usage.completion_tokens == 2


def test_threads_share_the_engine_and_get_their_own_answers(engine):
    found = {}

    def ask(word):
        found[word] = engine.complete(f"{word} {word} {word}", temperature=0, max_tokens=1).request.prompt

    threads = [threading.Thread(target=ask, args=(word,)) for word in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {word: f"{word} {word} {word}" for word in "abcdefgh"}


def test_a_question_does_not_wait_for_a_long_batch(tiny):
    long = tiny.generate(Request.chat("Go on.", max_tokens=40, ignore_eos=True, seed=s) for s in range(300))
    done = threading.Event()
    thread = threading.Thread(target=lambda: (next(long), done.set(), long.close()))
    thread.start()
    time.sleep(0.5)
    assert tiny.chat("Hi", max_tokens=1).text is not None
    answered_first = not done.is_set()
    long_running = thread.is_alive()
    thread.join()
    assert answered_first
    assert long_running
    idle(tiny)


# What is taken, and when


def few_ahead(monkeypatch, number):
    monkeypatch.setattr("toolkit.engines.vllm.engine._BACKLOG", number)


def test_of_an_iterator_requests_are_taken_as_they_are_needed(tiny, monkeypatch):
    few_ahead(monkeypatch, 16)
    taken, ahead = [], []

    def source():
        for seed in range(100):
            taken.append(seed)
            bad = {"top_logprobs": 99} if seed % 10 == 3 else {}
            yield Request.chat("Hi", seed=seed, max_tokens=1, **bad)

    done = 0
    for done, completion in enumerate(tiny.generate(source()), 1):
        assert (completion.error is None) == (completion.request.sampling.seed % 10 != 3)
        ahead.append(len(taken) - done)
    assert done == len(taken) == 100
    assert max(ahead) < 2 * 16
    idle(tiny)


@pytest.mark.parametrize("number", [0, 5, 40])
def test_an_error_of_the_iterator_loses_nothing_that_was_asked(tiny, monkeypatch, number):
    few_ahead(monkeypatch, 16)

    def source():
        yield from (Request.chat("Hi", seed=seed, max_tokens=1) for seed in range(number))
        raise OSError("the disk is gone")

    seeds = []
    with pytest.raises(OSError, match="the disk is gone"):
        seeds.extend(completion.request.sampling.seed for completion in tiny.generate(source()))
    assert sorted(seeds) == list(range(number))
    idle(tiny)


def test_what_is_taken_in_order_stays_in_its_groups(tiny, monkeypatch):
    requests = [
        Request.chat(f"Say {i}", top_p=p, frequency_penalty=f, max_tokens=1).resolve({})
        for i in range(50)
        for p in (1, 0.9)
        for f in (0, 0.5)
    ]
    ordered = tiny.ordered(requests)
    assert sorted(r.key for r in ordered) == sorted(r.key for r in requests)
    whole = list(tiny._grouped(ordered))
    few_ahead(monkeypatch, 16)
    pieces = list(tiny._grouped(iter(ordered)))
    kinds = [kind for kind, _ in whole]
    assert [len(list(members)) for _, members in itertools.groupby(kinds)] == [50] * 4
    # A few at the edges go with their neighbours: a group is never left and entered again.
    assert len([kind for kind, _ in itertools.groupby(kind for kind, _ in pieces)]) == 4
    assert [r.key for _, r in whole] == [r.key for r in ordered]
    assert sorted(r.key for _, r in pieces) == sorted(r.key for r in ordered)


def test_two_runs_on_one_store_share_the_work(tiny, db, monkeypatch):
    few_ahead(monkeypatch, 16)
    sweep = tk.sweep("Tell a story.", tk.grid(seed=range(300), max_tokens=4))
    threads = [threading.Thread(target=sweep.run, args=(tiny, db)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Store(db) as store:
        shares = [n for (n,) in store.query("SELECT count(*) FROM completions GROUP BY run")[1]]
    assert len(shares) == 2
    assert sum(shares) == 300
    assert min(shares) >= 50
    assert tk.results(db).costs().total["failed_attempts"] == 0  # where a second answer to a request would be


def test_an_interrupted_run_has_lost_what_was_near_the_engine_alone(tiny, db, monkeypatch):
    few_ahead(monkeypatch, 16)
    finish, seen = LeasedRequests.finish, []

    def interrupted(self, key):
        seen.append(key)
        if len(seen) == 100:
            signal.raise_signal(signal.SIGINT)
        return finish(self, key)

    monkeypatch.setattr(LeasedRequests, "finish", interrupted)
    sweep = tk.sweep("Tell a story.", tk.grid(seed=range(2000), max_tokens=4))
    with pytest.raises(KeyboardInterrupt):
        sweep.run(tiny, db)
    with Store(db) as store:
        ((stored,),) = store.query("SELECT count(*) FROM completions")[1]
        assert 100 <= stored < 100 + 2 * 16
        assert store.lost_attempts()["lost"].sum() < 2 * 16


def test_call_reaches_vllm_and_passes_errors_on(engine):
    assert engine.call(lambda llm: llm.llm_engine.vllm_config.model_config.max_model_len) == 8192
    with pytest.raises(ZeroDivisionError):
        engine.call(lambda llm: 1 / 0)
    with pytest.raises(TimeoutError, match="own"):
        engine.call(lambda llm: (_ for _ in ()).throw(TimeoutError("own")))
    assert engine.chat("Hi", max_tokens=1).finish_reason == "length"


def test_count_is_what_usage_says(engine):
    for turns in (
        "Hi",
        [{"role": "developer", "content": "Talk like a pirate."}, {"role": "user", "content": "é🎉"}],
    ):
        request = Request.chat(turns, max_tokens=1)
        assert engine.count(request) == next(engine.generate([request])).usage.prompt_tokens


def test_the_same_load_gives_the_same_engine(engine):
    assert tk.load() is engine
    assert engine.running
    assert repr(engine) == "VLLMEngine('SmolLM2-135M-Instruct', running)"


def test_fingerprint_holds_what_decides_the_output(engine):
    components = engine.fingerprint.components
    assert components["dtype"] == "float32"
    assert components["model"] == "SmolLM2-135M-Instruct"
    assert components["chunked_prefill"] is False
    assert components["environment"] == {}
    for name in ("weights", "tokenizer", "chat_template"):
        assert len(components[name]) == 16
    assert engine.fingerprint.notes["vllm_fingerprint"].startswith("vllm-")
    assert engine.fingerprint == engine.spec.cached_fingerprint()
    assert engine.chat("Hi", max_tokens=1).system_fingerprint == engine.fingerprint.id


def test_times_and_cache_are_reported(engine):
    long = "All work and no play makes Jack a dull boy. " * 40
    first = engine.chat(long, max_tokens=2)
    second = engine.chat(long, max_tokens=2)
    assert 0 < first.first_token_seconds <= first.seconds
    assert 0 <= first.queued_seconds < first.first_token_seconds
    assert first.tokens_per_second == pytest.approx(1 / first.decode_seconds)
    assert second.usage.cached_tokens >= 256
    assert second.usage.prompt_tokens == first.usage.prompt_tokens


def test_waiting_in_a_batch_is_kept_apart_from_computing(tiny, db):
    rows = [{"text": f"{i} " + "a long story of many words, " * 30} for i in range(100)]
    results = tk.sweep("{text}", rows, tk.grid(temperature=0, max_tokens=3, ignore_eos=True)).run(tiny, db)
    frame = results.frame()
    assert (frame["queued_seconds"] <= frame["first_token_seconds"]).all()
    assert np.allclose(frame["first_token_seconds"] + frame["decode_seconds"], frame["seconds"])
    assert frame["queued_seconds"].max() > frame["queued_seconds"].min() >= 0
    rates = [c.tokens_per_second for c in results]
    assert results.costs().total["tokens_per_second"] == pytest.approx(2 / np.mean(2 / np.array(rates)))
    several = tiny.chat("Hi", n=3, temperature=1, max_tokens=4, ignore_eos=True)
    assert several.tokens_per_second == pytest.approx(9 / several.decode_seconds)
    *_, last = tiny.stream("Hi", max_tokens=2)
    assert 0 <= last.completion.queued_seconds < last.completion.first_token_seconds


def test_echoed_prompt_and_its_logprobs_equal_transformers(engine, reference):
    c = engine.complete("The capital of France is", echo=True, temperature=0, max_tokens=4, top_logprobs=3)
    prompt, echoed = c.prompt_token_ids.tolist(), c.prompt
    assert c.text == "The capital of France is" + "".join(t.text for t in c.tokens)
    assert echoed.text == "The capital of France is"
    assert echoed.token_ids.tolist() == prompt
    expected = log_softmax(reference(prompt)[:-1].astype(np.float64), axis=-1)
    steps = np.arange(len(prompt) - 1)
    own = expected[steps, prompt[1:]]
    assert np.isnan(echoed.logprobs[0])
    assert echoed.ranks[0] == 0
    assert np.abs(own - echoed.logprobs[1:]).max() < 1e-3
    assert np.array_equal(echoed.ranks[1:], 1 + (expected > own[:, None]).sum(axis=-1))
    assert np.array_equal(echoed.top_ids[1:], np.argsort(-expected, axis=-1)[:, :3])
    assert np.abs(np.take_along_axis(expected, echoed.top_ids[1:], -1) - echoed.top_logprobs[1:]).max() < 1e-3
    # The prompt's log probabilities join those of the text, in the shape of OpenAI's legacy call.
    # (`construct` is how the SDK reads responses: its types know no None, the API gives it for the first token.)
    response = OpenAICompletion.construct(**c.to_openai()).choices[0]
    assert response.text == c.text
    assert response.logprobs.tokens == [t.text for t in (*echoed.tokens, *c.tokens)]
    assert response.logprobs.token_logprobs[0] is None
    assert response.logprobs.top_logprobs[0] is None
    for text, offset in zip(response.logprobs.tokens, response.logprobs.text_offset, strict=True):
        assert c.text[offset:].startswith(text)


def test_echo_of_token_ids_and_without_logprobs(engine):
    ids = engine.tokenizer.encode(Request(prompt="def fib(n):"))
    c = engine.complete(ids, echo=True, temperature=0, max_tokens=3)
    assert c.text.startswith("def fib(n):")
    assert c.prompt.logprobs is None
    assert engine.complete(ids, temperature=0, max_tokens=3).prompt is None


def test_an_echo_is_another_request_and_survives_the_store(engine, db):
    from toolkit.store.rows import StoredCompletion
    from toolkit.store.store import Store

    asked = [
        Request(prompt="Once upon", echo=e, sampling=tk.Sampling(max_tokens=2, top_logprobs=1))
        for e in (0, 1)
    ]
    assert asked[0].key != asked[1].key
    (c,) = engine.generate(asked[1:])
    with Store(db) as store:
        store.begin_run("s", engine.fingerprint, engine.vocabulary)
        store.add([StoredCompletion(c, 0)])
        again = store.completion(c.request.key, c.system_fingerprint, 0)
        assert again.request == c.request
        assert len(again.choices) == 1
        assert again.usage == c.usage
        assert again.to_openai() == c.to_openai()
        assert np.array_equal(again.prompt.logprobs, c.prompt.logprobs, equal_nan=True)


def test_a_suffix_needs_a_model_that_can_fill_in_the_middle(engine):
    with pytest.raises(
        tk.RequestError, match=r"suffix needs a model trained to fill in the middle.*<fim_prefix>"
    ):
        engine.complete("def add(a, b):", suffix="return c", max_tokens=4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Request(messages=({"role": "user", "content": "x"},), echo=True),
            "echo and suffix go with a prompt",
        ),
        (lambda: Request(prompt=(1, 2), suffix="x"), "suffix must be text after a prompt that is text"),
        (lambda: Request(prompt="x", suffix=3), "suffix must be text after a prompt that is text, got 3"),
    ],
)
def test_echo_and_suffix_belong_to_prompts_of_text(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_completion_of_the_rendered_template_is_the_chat(engine):
    """The guides: a chat of one user message is like a completion of its text; the template is the difference."""
    question = 'Translate the following English text to French: "Good morning"'
    chat = engine.chat(question, temperature=0, max_tokens=12, top_logprobs=0)
    same = engine.complete(chat.prompt_token_ids.tolist(), temperature=0, max_tokens=12, top_logprobs=0)
    assert same.token_ids.tolist() == chat.token_ids.tolist()
    assert np.allclose(same.logprobs, chat.logprobs, atol=1e-4)
    bare = engine.complete(question, temperature=0, max_tokens=12)
    assert engine.tokenizer.decode(tuple(chat.prompt_token_ids)).find(question) > 0
    assert bare.usage.prompt_tokens < chat.usage.prompt_tokens


def test_a_developer_message_is_sent_as_system_and_the_record_says_so(engine, db):
    turns = [{"role": "developer", "content": "Talk like a pirate."}, {"role": "user", "content": "Hi"}]
    c = engine.chat(turns, max_tokens=2)
    assert c.notes == {"developer": "sent as system"}
    assert c.request.messages[0]["role"] == "developer"
    results = tk.sweep(turns, tk.grid(max_tokens=2)).run(engine, db)
    assert results[0].notes == {"developer": "sent as system"}
    assert engine.chat("Hi", max_tokens=2).notes == {}


def test_prompt_and_max_tokens_that_exceed_the_window_are_refused_with_the_numbers(engine):
    prompt = "word " * 8000
    tokens = engine.count(Request(prompt=prompt))
    assert engine.window == 8192
    with pytest.raises(
        tk.RequestError, match=f"has {tokens} tokens and max_tokens is 500: .* set max_tokens to 191 or"
    ):
        engine.complete(prompt, max_tokens=500)


def test_a_rendered_prompt_is_asked_and_what_it_was_made_of_is_kept(engine):
    pool = [{"id": i, "q": f"{i} + 1", "answer": str(i + 1)} for i in range(5)]
    prompt = tk.Prompt("{q}", examples=pool, k=2, selector="random")
    rendered = prompt.fit({"q": "7 + 1"}, engine, reserve=4)
    c = engine.chat(rendered, temperature=0, max_tokens=4)
    assert c.notes == {"examples": list(rendered.examples)}
    assert (
        c.usage.prompt_tokens
        == rendered.prompt_tokens
        == engine.count(rendered)
        == engine.count(rendered.messages)
    )
    assert f"{rendered.prompt_tokens} tokens" in rendered._repr_html_()


def test_the_last_piece_of_a_stream_has_reason_usage_and_the_whole(engine):
    *pieces, last = engine.stream("Count to three.", temperature=0, max_tokens=5)
    assert all(p.finish_reason is None and p.usage is None for p in pieces)
    assert last.finish_reason == last.completion.finish_reason == "length"
    assert last.usage.completion_tokens == 5
    assert "".join(p.text for p in (*pieces, last)) == last.completion.text


def test_a_stream_of_several_choices_ends_with_all_of_them(engine):
    texts = dict.fromkeys(range(3), "")
    for delta in engine.stream("Say a word.", n=3, temperature=1.5, seed=1, max_tokens=12, top_logprobs=1):
        texts[delta.index] += delta.text
    whole = delta.completion
    assert [c.index for c in whole.choices] == [0, 1, 2]
    assert [c.text for c in whole.choices] == list(texts.values())
    assert whole.usage.completion_tokens == sum(len(c.token_ids) for c in whole.choices) > 12
    assert all(len(c.logprobs) == len(c.token_ids) for c in whole.choices)
