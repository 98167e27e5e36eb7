"""Fitting, with the real tokenizer and with windows of every size."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings, strategies as st

import toolkit as tk
from toolkit import models
from toolkit.core.request import Request
from toolkit.tokenizers.huggingface import Tokenizer

TURNS = [
    {"role": role, "content": f"{role} says number {i} of many things"}
    for i in range(4)
    for role in ("user", "assistant")
]
EXAMPLES = [{"q": f"What is {i} plus {i}?", "answer": str(2 * i)} for i in range(5)]
DOCUMENTS = ["The first document is short.", "The second one is longer: " + "word " * 40]
PROMPT = tk.Prompt(
    "{documents}\n\n{q}",
    system="Answer.",
    examples=EXAMPLES,
    history=TURNS,
    documents=DOCUMENTS,
    document="- {text}",
)
ROW = {"q": "What is 7 plus 7?"}
ALL = ("turns", "examples", "documents")
_NOTHING = {
    "turns": {"history": ()},
    "examples": {"k": 0},
    "documents": {"documents": [""], "document": "{text}"},
}
LEFT = {
    frozenset(names): PROMPT.with_(**{k: v for n in names for k, v in _NOTHING[n].items()})
    for names in (*((n,) for n in ALL), ALL)
}
"""What is left when all that a strategy may leave out is gone."""


@dataclass
class Counter:
    """The real tokenizer behind a window of any size."""

    tokenizer: Tokenizer
    window: int = 8192

    def count(self, turns):
        return len(self.tokenizer.encode(Request.chat(turns)))


@pytest.fixture(scope="module")
def counter():
    return Counter(Tokenizer(models.path()))


def sized(counter, window):
    return Counter(counter.tokenizer, window)


def test_what_fits_is_left_as_it_is(counter):
    fitted = PROMPT.fit(ROW, counter, reserve=100, strategy=ALL)
    assert fitted.messages == PROMPT.messages(ROW)
    assert fitted.dropped == {}
    assert fitted.prompt_tokens == counter.count(fitted.messages)


@pytest.mark.parametrize("strategy", ["turns", "examples", "documents", ALL, ALL[::-1]])
@settings(max_examples=40)
@given(window=st.integers(40, 520), reserve=st.integers(1, 60))
def test_never_above_the_window_and_no_more_left_out_than_needed(counter, strategy, window, reserve):
    engine = sized(counter, window)
    names = [strategy] if isinstance(strategy, str) else list(strategy)
    if counter.count(LEFT[frozenset(names)].messages(ROW)) + reserve > window:
        with pytest.raises(ValueError, match="do not fit the context window"):
            PROMPT.fit(ROW, engine, reserve, strategy)
        return
    fitted = PROMPT.fit(ROW, engine, reserve, strategy)
    assert fitted.prompt_tokens == counter.count(fitted.messages)
    assert fitted.prompt_tokens + reserve <= window
    assert list(fitted.dropped) == names[: len(fitted.dropped)]
    # What came earlier in the strategy is gone altogether before the next is touched.
    written = sum(len(f"- {text}") for text in DOCUMENTS)
    gone = {"turns": len(TURNS), "examples": len(EXAMPLES), "documents": written}
    for name in list(fitted.dropped)[:-1]:
        assert fitted.dropped[name] == gone[name]


def kept(fitted, marker):
    return [m["content"] for m in fitted.messages if marker in m["content"]]


def test_the_oldest_turns_go_first_and_with_their_answers(counter):
    whole = counter.count(PROMPT.messages(ROW))
    fitted = PROMPT.fit(ROW, sized(counter, whole + 9), 10, "turns")
    assert fitted.dropped == {"turns": 2}
    assert kept(fitted, "says") == [t["content"] for t in TURNS[2:]]


def test_the_first_examples_go_first_and_the_record_names_those_that_stay(counter):
    whole = counter.count(PROMPT.messages(ROW))
    fitted = PROMPT.fit(ROW, sized(counter, whole), 10, "examples")
    assert fitted.dropped == {"examples": 1}
    assert fitted.examples == (1, 2, 3, 4)
    assert fitted.notes == {"examples": [1, 2, 3, 4], "dropped": {"examples": 1}}


def test_documents_are_cut_at_their_end_to_the_character(counter):
    prompt = tk.Prompt("{documents}\n\n{q}", documents=DOCUMENTS)
    whole = prompt.messages(ROW)[0]["content"]
    fitted = prompt.fit(ROW, sized(counter, counter.count(prompt.messages(ROW)) - 20), 10, "documents")
    (turn,) = fitted.messages
    left_out = fitted.dropped["documents"]
    assert turn["content"] == whole.replace(DOCUMENTS[1], DOCUMENTS[1][:-left_out])
    one_more = prompt.messages({**ROW, "documents": [DOCUMENTS[0], DOCUMENTS[1][: -left_out + 1]]})
    assert counter.count(one_more) + 10 > counter.count(prompt.messages(ROW)) - 20


def test_documents_given_as_one_text_stay_one_text(counter):
    prompt, row = tk.Prompt("{documents}\n\n{q}"), {**ROW, "documents": "word " * 100}
    fitted = prompt.fit(row, sized(counter, 100), 10, "documents")
    (turn,) = fitted.messages
    assert turn["content"] == ("word " * 100)[: -fitted.dropped["documents"]] + "\n\n" + ROW["q"]


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        (
            "refuse",
            r"the prompt has 2\d\d tokens and 50 are kept for the answer: \d+ do not fit the context window of 60",
        ),
        ("turns", r"has \d+ tokens \(\d+ before leaving out 8 turns\)"),
        (
            ALL,
            r"has \d\d tokens \(\d+ before leaving out 8 turns, 5 examples, \d+ characters of documents\) and 50 ",
        ),
    ],
)
def test_what_cannot_fit_is_refused_with_the_numbers(counter, strategy, message):
    with pytest.raises(ValueError, match=message):
        PROMPT.fit(ROW, sized(counter, 60), 50, strategy)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "oldest"}, "strategy must be of turns, examples, documents, refuse .* got 'oldest'"),
        ({"reserve": 0}, "reserve must be a whole number from 1 up, got 0"),
    ],
)
def test_bad_options_are_refused(counter, options, message):
    with pytest.raises(ValueError, match=message):
        PROMPT.fit(ROW, counter, **{"reserve": 10, **options})


def test_documents_of_any_template_are_cut_as_they_read(counter):
    prompt = tk.Prompt(
        "{documents} q", documents=[{"body": "w " * 200, "title": "T"}], document="{title}: {body}"
    )
    fitted = prompt.fit({}, sized(counter, 100), 10, "documents")
    assert fitted.messages[0]["content"].startswith("T: w w w")
    assert fitted.messages[0]["content"].endswith(" q")


def test_a_prompt_of_documents_alone_keeps_some_of_them_or_is_refused_with_the_numbers(counter):
    prompt = tk.Prompt("{documents}", documents=["w " * 200])
    assert prompt.fit({}, sized(counter, 100), 10, "documents").messages[0]["content"].startswith("[1] w w")
    with pytest.raises(ValueError, match="do not fit the context window of 20"):
        prompt.fit({}, sized(counter, 20), 10, "documents")


def test_a_jinja_template_still_goes_through_what_is_left_of_the_documents(counter):
    template = "{% for d in documents %}<{{ d }}>{% endfor %} q"
    prompt = tk.Prompt(template, syntax="jinja", documents=["one", "two " * 100], document="{{ text }}")
    fitted = prompt.fit({}, sized(counter, 100), 10, "documents")
    assert fitted.messages[0]["content"].startswith("<one><two two")


def test_a_system_message_in_the_history_stays(counter):
    history = [{"role": "system", "content": "RULE"}, *TURNS]
    prompt = tk.Prompt("x", history=history)
    fitted = prompt.fit({}, sized(counter, counter.count(prompt.messages()) - 5), 10, "turns")
    assert fitted.messages[0] == history[0]
    assert fitted.dropped["turns"] in (2, 4)


class Refusing:
    """Its chat template takes no conversation of fewer messages than `least`, or of more than `most`."""

    window = 60

    def __init__(self, least=0, most=100):
        self.least, self.most = least, most

    def count(self, turns):
        if not self.least <= len(turns) <= self.most:
            raise ValueError("the model's chat template refuses these messages: roles must alternate")
        return 20 * len(turns)


def test_what_the_template_refuses_is_told_as_that():
    prompt = tk.Prompt("{q}", history=TURNS)
    with pytest.raises(ValueError, match=r"^the model's chat template refuses these messages"):
        prompt.fit(ROW, Refusing(most=3), 10, "turns")
    with pytest.raises(
        ValueError, match=r"do not fit .* What is left .* cannot be sent: the model's chat template"
    ):
        prompt.fit(ROW, Refusing(least=5), 10, "turns")
    assert prompt.fit(ROW, Refusing(), 10, "turns").prompt_tokens == 20
