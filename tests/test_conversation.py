import json
import os

import pytest
from ngram_engine import NGramEngine

import toolkit as tk
from toolkit.chat.conversation import Exchange
from toolkit.core.completion import Usage

TINY = NGramEngine("a")
"""An engine that nobody asks."""
OPTIONS = {"temperature": 0, "max_tokens": 6}


@pytest.fixture
def talk(engine):
    return tk.Conversation(engine, "Be brief.", **OPTIONS)


def test_each_turn_sends_all_that_was_said(engine, talk):
    first = talk.say("What is the capital of France?")
    second = talk.say("And of Japan?")
    sent = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is the capital of France?"},
        {"role": "assistant", "content": first.text},
        {"role": "user", "content": "And of Japan?"},
    ]
    assert list(second.request.messages) == sent
    assert engine.chat(sent, **OPTIONS).text == second.text
    assert list(talk.messages) == [*sent, {"role": "assistant", "content": second.text}]
    assert talk.usage == first.usage + second.usage
    assert second.usage.prompt_tokens > first.usage.prompt_tokens
    assert len(talk) == 2


def test_streaming_adds_the_turn_at_its_end(engine, talk):
    pieces = [delta.text for delta in talk.stream("Count to three.")]
    assert talk.exchanges[0].answer == "".join(pieces)
    for _ in talk.stream("Go on.", max_tokens=50):
        break
    assert len(talk) == 1


def test_edit_says_something_else_and_forgets_what_came_after(talk):
    talk.say("One.")
    talk.say("Two.")
    talk.say("Three.")
    before = talk.fork()
    talk.edit(1, "Deux.", max_tokens=2)
    assert [e.said["content"] for e in talk.exchanges] == ["One.", "Deux."]
    talk.edit(-1, "Zwei.")
    assert [e.said["content"] for e in talk.exchanges] == ["One.", "Zwei."]
    assert [e.said["content"] for e in before.exchanges] == ["One.", "Two.", "Three."]


def test_a_turn_that_fails_leaves_the_conversation_as_it_was(talk):
    talk.say("One.")
    talk.say("Two.")
    kept = talk.exchanges
    with pytest.raises(ValueError, match="do not fit the context window of 8192"):
        talk.say("word " * 9000)
    with pytest.raises(ValueError, match="temperature must be"):
        talk.edit(0, "x", temperature=3)
    with pytest.raises(tk.RequestError, match="top_logprobs must be 0 to 20"):
        talk.say("x", top_logprobs=99)
    with pytest.raises(IndexError, match="turn must be from -2 to 1, got 5"):
        talk.edit(5, "x")
    talk.messages[0]["content"] = "changed"
    assert talk.messages[0]["content"] == "Be brief."
    assert talk.exchanges == kept


def test_a_turn_may_have_a_form(talk):
    c = talk.say("Is the sky blue?", response_format={"type": "choice", "choice": ["yes", "no"]})
    assert talk.exchanges[0].answer == c.parsed in ("yes", "no")


def test_undo_takes_the_last_turn_back(talk):
    talk.say("One.")
    assert talk.undo().said["content"] == "One."
    assert len(talk) == 0
    with pytest.raises(IndexError, match="there is no turn to undo"):
        talk.undo()


def test_forks_go_their_own_ways(talk):
    talk.say("One.")
    other = talk.fork()
    other.say("Two.")
    assert (len(talk), len(other)) == (1, 2)
    assert other.exchanges[0] is talk.exchanges[0]


def test_the_oldest_turns_are_left_out_of_what_is_sent_but_stay_in_the_record(tiny):
    talk = tk.Conversation(tiny, "Be brief.", strategy="turns", **OPTIONS)
    for word in ("alpha", "beta", "gamma"):
        talk.say(f"{word} " * 1500)
    room = 8192 - talk.exchanges[-1].usage.prompt_tokens
    last = talk.say("delta " * (room + 200))
    sent = [m["content"][:5] for m in last.request.messages if m["role"] == "user"]
    assert sent == ["beta ", "gamma", "delta"]
    assert last.request.messages[0]["role"] == "system"
    assert last.usage.prompt_tokens + OPTIONS["max_tokens"] <= tiny.window
    assert last.notes == {"dropped": {"turns": 2}}
    assert talk.exchanges[-1].dropped == 2
    assert len(talk) == 4
    assert talk.frame()["dropped"].tolist() == [0, 0, 0, 2]


def test_a_conversation_survives_a_file_and_goes_on(engine, talk, tmp_path):
    talk.say("What is the capital of France?")
    again = tk.Conversation.load(engine, talk.save(tmp_path / "talk.json"))
    assert again.messages == talk.messages
    assert again.usage == talk.usage
    assert again.say("And of Japan?").text == talk.say("And of Japan?").text
    data = json.loads((tmp_path / "talk.json").read_text())
    assert data["messages"] == list(talk.messages[:3])
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(ValueError, match=r"other\.json is no conversation that was saved here"):
        tk.Conversation.load(engine, tmp_path / "other.json")


def test_the_frame_has_a_row_for_each_turn(talk):
    c = talk.say("One.")
    frame = talk.frame()
    assert frame.index.name == "turn"
    assert frame.loc[0, "answer"] == c.text
    assert frame.loc[0, "prompt_tokens"] == c.usage.prompt_tokens
    assert tk.Conversation(talk.engine).frame().empty


def test_a_conversation_shows_itself_escaped(engine):
    talk = tk.Conversation(engine, "<b>", **OPTIONS)
    assert "&lt;b&gt;" in talk._repr_html_()
    assert repr(talk) == "Conversation(0 turns, 0 + 0 tokens in all)"
    assert talk.usage == Usage()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"strategy": "documents"}, ValueError, "strategy must be refuse or turns, got 'documents'"),
        ({"temperatur": 1}, TypeError, "did you mean 'temperature'"),
        ({"before": [{"role": "x", "content": "y"}]}, ValueError, "unknown role 'x'"),
    ],
)
def test_bad_options_are_refused(engine, options, error, message):
    with pytest.raises(error, match=message):
        tk.Conversation(engine, **options)


def spoken(answer):
    talk = tk.Conversation(TINY, "Be brief.")
    said = {"role": "user", "content": "Hé?"}
    talk._exchanges = (Exchange(said, answer, "stop", Usage(3, 2), "fp_0"),)
    return talk


def test_a_conversation_is_saved_whole_into_a_new_folder_or_not_at_all(tmp_path):
    path = spoken("Oui, é.").save(tmp_path / "new" / "talk.json")
    again = tk.Conversation.load(TINY, path)
    assert (again.messages, again.usage) == (spoken("Oui, é.").messages, Usage(3, 2))
    before = path.read_bytes()
    with pytest.raises(
        ValueError, match=r"talk\.json: nothing was written, since the text cannot be encoded"
    ):
        spoken("half \ud83d").save(path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["talk.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"talk\.json is no conversation that was saved here"),
        ("[]", r"talk\.json is no conversation that was saved here"),
        ("null", r"talk\.json is no conversation that was saved here"),
        ('{"before": []}', r"talk\.json is no conversation that was saved here: KeyError\('strategy'\)"),
        ("{}é", r"talk\.json is not UTF-8 text \(byte 0xe9 at 2\): save it as UTF-8"),
    ],
)
def test_another_file_is_named(tmp_path, content, message):
    path = tmp_path / "talk.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(ValueError, match=message):
        tk.Conversation.load(TINY, path)
