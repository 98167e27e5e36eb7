import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from toolkit import models
from toolkit.messages import fold_system
from toolkit.request import Request
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


@pytest.fixture(scope="module")
def filling(tmp_path_factory):
    """The default model's tokenizer with three of its spare tokens renamed to a family's fill-in-the-middle marks."""

    def build(marks, begin=False):
        folder = tmp_path_factory.mktemp("fim")
        tokenizer = AutoTokenizer.from_pretrained(models.path())
        tokenizer.add_special_tokens({"additional_special_tokens": list(marks)})
        if begin:
            from tokenizers.processors import TemplateProcessing

            name, number = tokenizer.bos_token, tokenizer.bos_token_id
            tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
                single=f"{name} $A", special_tokens=[(name, number)]
            )
        tokenizer.save_pretrained(folder)
        return Tokenizer(str(folder)), tokenizer

    return build


@pytest.mark.parametrize("begin", [False, True], ids=["no BOS", "BOS"])
@pytest.mark.parametrize(
    "marks",
    [
        ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
        ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
        ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
        ("▁<PRE>", "▁<SUF>", "▁<MID>"),
    ],
)
def test_a_suffix_is_sent_with_the_models_own_marks(filling, marks, begin):
    ours, theirs = filling(marks, begin)
    first, second, last = theirs.convert_tokens_to_ids(list(marks))
    before, after = (theirs.encode(t, add_special_tokens=False) for t in ("def f(x):\n", "\n    return y"))
    expected = [first, *before, second, *after, last]
    found = ours.encode(Request(prompt="def f(x):\n", suffix="\n    return y"))
    assert list(found) == [*([theirs.bos_token_id] if begin else []), *expected]


def test_a_template_that_takes_no_system_message_says_how_to_fold_it(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(models.path())
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}{{ m.content }}{% endfor %}"
    )
    tokenizer.save_pretrained(tmp_path)
    ours = Tokenizer(str(tmp_path))
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    with pytest.raises(ValueError, match=r"not supported\. The model takes no system message: .*fold_system"):
        ours.encode(Request.chat(turns))
    assert ours.encode(Request.chat(fold_system(turns)))
