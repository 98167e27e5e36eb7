import html

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from tokenizers import Tokenizer, decoders, models as kinds, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import toolkit as tk
from toolkit.tokenizers.tiktoken import encoding

DEFAULT = tk.models.DEFAULT


@pytest.mark.parametrize(
    ("text", "model", "parts"),
    [
        # OpenAI's text generation guide, and its cookbook (How_to_count_tokens_with_tiktoken).
        ("ChatGPT is great!", "cl100k_base", [b"Chat", b"G", b"PT", b" is", b" great", b"!"]),
        ("tiktoken is great!", "gpt-3.5-turbo", [b"t", b"ik", b"token", b" is", b" great", b"!"]),
        ("tiktoken is great!", "o200k_base", [b"t", b"ikt", b"oken", b" is", b" great", b"!"]),
        (
            "antidisestablishmentarianism",
            "cl100k_base",
            [b"ant", b"idis", b"establish", b"ment", b"arian", b"ism"],
        ),
        (
            "antidisestablishmentarianism",
            "o200k_base",
            [b"ant", b"idis", b"est", b"ablishment", b"arian", b"ism"],
        ),
        ("2 + 2 = 4", "cl100k_base", [b"2", b" +", b" ", b"2", b" =", b" ", b"4"]),
        ("2 + 2 = 4", "o200k_base", [b"2", b" +", b" ", b"2", b" =", b" ", b"4"]),
        ("", "gpt-4o", []),
    ],
)
def test_published_examples(text, model, parts):
    found = tk.tokens(text, model)
    assert found.bytes == tuple(parts)
    assert repr(found) == b"|".join(parts).decode()
    assert len(found) == len(parts) == tk.count_tokens(text, model)


@pytest.mark.parametrize(
    ("model", "ids", "pieces"),
    [
        (
            "cl100k_base",
            [33334, 45918, 243, 21990, 9080, 33334, 62004, 16556, 78699],
            "お|誕|生|日|お|め|で|とう",
        ),
        ("o200k_base", [8930, 9697, 243, 128225, 8930, 17693, 4344, 48669], "お|誕|生日|お|め|で|とう"),
    ],
)
def test_parts_of_a_character_are_one_piece(model, ids, pieces):
    """The birthday of OpenAI's cookbook."""
    found = tk.tokens("お誕生日おめでとう", model)
    assert found.ids.tolist() == ids
    assert repr(found) == pieces
    assert found.pieces[1] == (1, 3, "誕")
    frame = found.frame()
    assert list(frame) == ["position", "id", "text", "bytes", "first", "last"]
    assert frame.iloc[:3, 2:].to_numpy().tolist() == [
        ["お", "お".encode(), 0, 1],
        ["\ufffd", "誕".encode()[:2], 1, 2],
        ["\ufffd", "誕".encode()[2:], 1, 2],
    ]


@pytest.mark.parametrize("model", ["cl100k_base", "o200k_base", DEFAULT])
@settings(max_examples=2 * settings.default.max_examples)
@given(text=st.text(max_size=40))
def test_pieces_join_to_the_text_and_offsets_slice_it(model, text):
    found = tk.tokens(text, model)
    assert len(found) == tk.count_tokens(text, model) == tk.count_many([text], model)[0]
    if model != DEFAULT:
        own = encoding(model)
        assert found.ids.tolist() == own.encode(text, disallowed_special=())
        # The same way as the toolkit's has it: the first character that has bytes of the token.
        assert found.first.tolist() == (own.decode_with_offsets(found.ids.tolist())[1] if text else [])
    if len(found):  # the default model's vocabulary lacks some bytes: such a text may have no token
        assert "".join(piece for _, _, piece in found.pieces) == text
    ends = [0, *(end for _, end, _ in found.pieces)]
    assert [first for first, _, _ in found.pieces] == ends[:-1]
    assert ends[-1] == len(found)
    if b"".join(found.bytes) == text.encode():
        for first, end, piece in found.pieces:
            assert b"".join(found.bytes[first:end]).decode() == piece
        for begin, end, part in zip(found.first, found.last, found.bytes, strict=True):
            assert part in text[begin:end].encode()


@pytest.mark.parametrize(
    ("text", "other", "same"),
    [
        ("tiktoken is", "cl100k_base", [True] * 4),
        ("tiktoken is", "o200k_base", [True, False, False, True]),
        # Two tokens that make up one character together, and one token of that character.
        ("お誕生", "o200k_base", [True, True, True, True]),
        ("お誕生日", "o200k_base", [True, True, True, False, False]),
        ("", "o200k_base", []),
    ],
)
def test_tokens_of_two_tokenizers_are_compared_by_where_they_cut(text, other, same):
    own, beside = tk.tokens(text, "cl100k_base"), tk.tokens(text, other)
    assert own.same(beside).tolist() == same
    assert own.same(own).all()
    assert own.same(beside).sum() == beside.same(own).sum()


def test_another_text_is_cut_by_the_same_tokenizer():
    own = tk.tokens("tiktoken", "o200k_base")
    assert repr(own.cut("tiktoken is")) == "t|ikt|oken| is"
    with pytest.raises(ValueError, match="the tokens are of two texts"):
        own.same(own.cut("other"))
    with pytest.raises(ValueError, match="text is not valid Unicode"):
        own.cut("\ud800")


def test_special_tokens_are_text_to_openai_and_tokens_to_the_model():
    text = "a<|endoftext|>b"
    assert tk.tokens(text, "gpt-4o").ids.tolist() == encoding("o200k_base").encode_ordinary(text)
    assert tk.count_tokens(text, "gpt-4o") > 5
    assert tk.count_many([text], "gpt-4o") == tk.count_tokens(text, "gpt-4o")
    assert repr(tk.tokens(text, DEFAULT)) == "a|<|endoftext|>|b"


def saved(folder, model, unknown, **parts):
    made = Tokenizer(model)
    for name, part in parts.items():
        setattr(made, name, part)
    PreTrainedTokenizerFast(tokenizer_object=made, unk_token=unknown).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def wordpiece(tmp_path_factory):
    """As BERT's: lower case, no white space, unknown words."""
    words = {"[UNK]": 0, "hello": 1, "world": 2, "##s": 3, "!": 4}
    return saved(
        tmp_path_factory.mktemp("wordpiece"),
        kinds.WordPiece(words, unk_token="[UNK]"),
        "[UNK]",
        normalizer=normalizers.BertNormalizer(),
        pre_tokenizer=pre_tokenizers.BertPreTokenizer(),
        decoder=decoders.WordPiece(),
    )


@pytest.fixture(scope="module")
def sentencepiece(tmp_path_factory):
    """As Llama's: a space before the text, single bytes for what is unknown."""
    words = [("<unk>", 0.0), ("▁", -2.0), ("▁Hello", -1.0), ("▁world", -1.0)]
    return saved(
        tmp_path_factory.mktemp("sentencepiece"),
        kinds.Unigram(words + [(f"<0x{i:02X}>", -9.0) for i in range(256)], 0, byte_fallback=True),
        "<unk>",
        pre_tokenizer=pre_tokenizers.Metaspace(),
        decoder=decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()]),
    )


def test_what_a_tokenizer_leaves_out_goes_to_the_token_after_it(wordpiece):
    found = tk.tokens(" Hello  Worlds!\n", wordpiece)
    assert found.bytes == (b"hello", b"world", b"##s", b"!")
    assert [piece for _, _, piece in found.pieces] == [" Hello", "  World", "s", "!\n"]
    assert tk.count_many([" Hello  Worlds!\n", ""], wordpiece).tolist() == [4, 0]
    assert len(tk.tokens("  ", wordpiece)) == 0


def test_a_space_that_is_not_in_the_text_is_in_the_bytes_alone(sentencepiece):
    found = tk.tokens("Hello world日", sentencepiece)
    assert found.bytes == (b" Hello", b" world", *(bytes([b]) for b in "日".encode()))
    assert found.pieces == [(0, 1, "Hello"), (1, 2, " world"), (2, 5, "日")]
    assert found.frame()["first"].tolist() == [0, 5, 11, 11, 11]


def test_the_loaded_models_tokens_are_its_own(engine):
    found = tk.tokens("Straße 🎉")
    assert found.ids.tolist() == list(engine.tokenizer.hf.encode("Straße 🎉"))
    assert found.ids.dtype == np.int32
    assert found.tokenizer == f"the tokenizer of {engine.model}"
    assert repr(tk.tokens("Straße 🎉", engine)) == repr(found)


def test_tokens_show_themselves_shaded_and_escaped():
    found = tk.tokens("<script>alert('x')</script> & \"お誕\"\n", "gpt-4")
    shown = found._repr_html_()
    assert "<script>" not in shown
    assert "⏎\n" in shown
    assert shown.count("<span ") == len(found.pieces)
    assert shown.count("rgba(0,114,178,.25)") - shown.count("rgba(230,159,0,.25)") in (0, 1)
    assert html.escape(f"{found.ids[0]} {found.bytes[0]!r}") in shown
    assert html.escape(r"45918 b'\xe8\xaa'; 243 b'\x95'") in shown
    assert (
        f"<small>{len(found)} tokens, {len(found.text)} characters; cl100k_base, the encoding of gpt-4"
        in shown
    )


def test_long_texts_are_cut_and_say_so():
    found = tk.tokens("word " * 3000, "gpt-4")
    assert len(found) == 3001
    assert found._repr_html_().count("<span ") == 2000
    for shown in (repr(found), found._repr_html_()):
        assert " … and 1,001 more tokens" in shown


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (7, TypeError, "text must be a string, got 7: toolkit.count_tokens counts messages"),
        (b"x", TypeError, "text must be a string, got b'x'"),
        ([{"role": "user", "content": "Hi"}], TypeError, "text must be a string, got .*count_tokens counts"),
        ("a\ud800", ValueError, r"text is not valid Unicode: '\\ud800' at character 1"),
    ],
)
def test_what_is_no_text_is_refused(text, error, message):
    with pytest.raises(error, match=message):
        tk.tokens(text, "gpt-4")
