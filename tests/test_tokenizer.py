import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from toolkit import models
from toolkit.completion import Request
from toolkit.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def ours():
    return Tokenizer(models.path())


@pytest.fixture(scope="module")
def theirs():
    return AutoTokenizer.from_pretrained(models.path())


CONVERSATIONS = [
    [{"role": "user", "content": "Hi"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "knock knock."},
     {"role": "assistant", "content": "Who's there?"}, {"role": "user", "content": "Orange."}],
    [{"role": "user", "content": "日本語 🎉\n\ttabs <|im_end|> inside"}],
]  # fmt: skip


@pytest.mark.parametrize("turns", CONVERSATIONS)
def test_conversations_are_rendered_by_the_models_template(ours, theirs, turns):
    expected = theirs.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    assert list(ours.encode(Request.chat(turns))) == expected


def test_a_developer_message_is_a_system_message_where_the_template_knows_none(ours):
    def encode(role):
        return ours.encode(
            Request.chat([{"role": role, "content": "Talk like a pirate."}, CONVERSATIONS[0][0]])
        )

    assert encode("developer") == encode("system")


def test_prompts_pass_as_they_are(ours, theirs):
    assert list(ours.encode(Request(prompt="def fib(n):"))) == theirs.encode("def fib(n):")
    assert ours.encode(Request(prompt=(5, 6, 7))) == (5, 6, 7)


@settings(max_examples=100, deadline=None)
@given(text=st.text(min_size=1))
def test_the_bytes_of_the_tokens_are_the_bytes_of_the_text(ours, text):
    """But for the few single bytes (control characters, unused planes) that this vocabulary lacks."""
    single = {token[0] for token in ours.vocabulary if len(token) == 1}
    ids = ours.encode(Request(prompt=text))
    expected = bytes(byte for byte in text.encode() if byte in single)
    assert b"".join(ours.vocabulary[i] for i in ids) == expected
    assert len(single) > 200


def test_many_conversations_do_not_grow_the_memory_for_ever(ours, monkeypatch):
    monkeypatch.setattr("toolkit.tokenizer._REMEMBERED", 8)
    for i in range(50):
        ours.encode(Request(prompt=f"text {i}"))
    assert len(ours._encoded) <= 8


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(models.ModelError, match="has no tokenizer that transformers can load"):
        Tokenizer(str(tmp_path))
