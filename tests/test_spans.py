import json
import re

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st

import toolkit as tk
from toolkit.analysis.spans import spans
from toolkit.core.choice import Choice


def cut(parts, text=None, **fields):
    """A choice whose tokens have these bytes; its text is what they say, or another."""
    parts = [part.encode() if isinstance(part, str) else part for part in parts]
    said = b"".join(parts).decode("utf-8", "replace") if text is None else text
    ids = np.arange(len(parts), dtype=np.int32)
    return Choice(0, said, "stop", token_ids=ids, vocabulary=lambda: parts, **fields)


def found(text, by):
    """The texts of spans, whatever the tokens."""
    return [span.text for span in spans(cut([text]), by)]


def told(choice, by):
    return [(s.name, s.text, s.first, s.last) for s in spans(choice, by)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The cat sat.", ["The", "cat", "sat"]),
        ("don't, l’été — well-known", ["don't", "l’été", "well-known"]),
        ("snake_case x1 'quoted'", ["snake_case", "x1", "quoted"]),
        ("- dash -\n\ttab", ["dash", "tab"]),
        ("日本語です。はい", ["日本語です", "はい"]),
        ("हिन्दी में லிங்கம் cafe\u0301", ["हिन्दी", "में", "லிங்கம்", "cafe\u0301"]),  # marks belong to their letters
        ("🎉 !? …", []),
        ("", []),
    ],
)
def test_words(text, words):
    assert found(text, "word") == words


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("Wait... what?! Yes… no", ["Wait...", "what?!", "Yes…", "no"]),
        ('He said “Hi.” Then "Go!" (Really.) End', ["He said “Hi.”", 'Then "Go!"', "(Really.)", "End"]),
        ("«Bon.» Oui.", ["«Bon.»", "Oui."]),
        ("It costs 3.50 at a.com. Fine", ["It costs 3.50 at a.com.", "Fine"]),
        ("A title\n\nOne. Two\n- item  \nlast.  ", ["A title", "One.", "Two", "- item", "last."]),
        ("a\r\nb. c\r\n", ["a", "b.", "c"]),
        ("日本語です。はい！「そう？」と", ["日本語です。", "はい！", "「そう？」", "と"]),
        ("no stop", ["no stop"]),
        ("...", ["..."]),
        (" \n\t ", []),
        ("", []),
    ],
)
def test_sentences(text, sentences):
    assert found(text, "sentence") == sentences


@given(st.text(alphabet="ab .!?…\n\"”)('。」", max_size=40))
def test_sentences_are_all_of_a_text_but_its_white_space(text):
    assert "".join("".join(found(text, "sentence")).split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        (r"\d+", "1 and 23", [(r"\d+", "1"), (r"\d+", "23")]),
        (r"(?P<year>\d{4})|(?P<name>[A-Z]\w+)", "Ada 1815", [("name", "Ada"), ("year", "1815")]),
        (r"x*", "axxb", [("x*", "xx")]),  # an empty match is no span
        (r"日.", "a日本", [("日.", "日本")]),
        (r"z", "abc", []),
    ],
)
def test_matches_of_an_expression(pattern, text, expected):
    assert [(s.name, s.text) for s in spans(cut([text]), re.compile(pattern))] == expected


DOCUMENTS = [
    "3", "-1.5e-3", "true", "null", '"text"', '""', "{}", "[]", " \n[ ]\t", "[[],[{}]]", '{"a":{"b":[1,{"c":null}]}}',
    '{ "a" : [ 1 , 2 ] ,\n\t"b" : "x, ]}" }', '{"a/b":1,"c~d":2,"":3,"\\"q\\"":4,"\\u00e9":5}',
    '["日本","🎉","\\ud83c\\udf89"]', '{"a":"{\\"b\\":[1]}"}', "[1,[2,[3,[4]]]]", "[true,false,null,-0,1E+2]",
]  # fmt: skip


def at(document, pointer):
    """The value at a JSON Pointer (RFC 6901), by its own rules."""
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        document = document[int(name) if isinstance(document, list) else name]
    return document


def values(document):
    """How many values a document holds."""
    inner = (
        document.values() if isinstance(document, dict) else document if isinstance(document, list) else ()
    )
    return 1 + sum(map(values, inner))


def check_json(text):
    document = json.loads(text)
    places = spans(cut([text]), "json")
    assert len({s.name for s in places}) == len(places) == values(document)
    for span in places:
        value = json.loads(span.text)
        assert value == at(document, span.name)
        assert type(value) is type(at(document, span.name))
        assert span.text == span.text.strip()
    assert places[0].name == ""
    begins = [text.index(s.text) for s in places[:1]]
    assert begins == [len(text) - len(text.lstrip())]


@pytest.mark.parametrize("text", DOCUMENTS)
def test_each_json_value_lies_at_its_pointer(text):
    check_json(text)


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=3 * settings.default.max_examples)
@given(documents, st.booleans(), st.sampled_from([None, 2, "\t"]), st.sampled_from(["", " ", "\r\n\t "]))
def test_each_value_of_any_json_lies_at_its_pointer(document, ascii_only, indent, space):
    check_json(space + json.dumps(document, ensure_ascii=ascii_only, indent=indent) + space)


def test_json_spans_come_in_the_order_of_the_text():
    choice = cut(['{"', "a", '":', " [", "1", ",", "2", '], "', "b", '": ', '"x"', "}"])
    assert told(choice, "json") == [
        ("", '{"a": [1,2], "b": "x"}', 0, 12),
        ("/a", "[1,2]", 3, 8),
        ("/a/0", "1", 4, 5),
        ("/a/1", "2", 6, 7),
        ("/b", '"x"', 10, 11),
    ]


# Tokens


@st.composite
def tokens(draw, raw):
    raw = draw(raw)
    places = sorted(draw(st.lists(st.integers(0, len(raw)), max_size=10)))
    return [raw[a:b] for a, b in zip([0, *places], [*places, len(raw)], strict=True)]


def overlapping(parts, begin, end):
    """Tokens that have a byte in common with bytes begin to end, one by one."""
    place, touched = 0, []
    for number, part in enumerate(parts):
        if set(range(place, place + len(part))) & set(range(begin, end)):
            touched.append(number)
        place += len(part)
    return touched


@settings(max_examples=3 * settings.default.max_examples)
@given(
    tokens(st.text(alphabet="ab .\n日é🎉'", max_size=24).map(str.encode)),
    st.sampled_from(["word", "sentence", re.compile("[^b]+?b|日+")]),
)
@example([b"", b"a", b"", b"b", b""], "word")
@example(["🎉".encode()[:1], "🎉".encode()[1:] + b"a"], "word")
def test_tokens_of_a_span_are_those_that_touch_it(parts, by):
    text, from_ = b"".join(parts).decode(), 0
    for span in spans(cut(parts), by):
        begin = text.index(span.text, from_)
        from_ = begin + len(span.text)
        touched = overlapping(parts, len(text[:begin].encode()), len(text[:from_].encode()))
        assert (span.first, span.last) == (touched[0], touched[-1] + 1)
        inside = [n for n in range(span.first, span.last) if parts[n]]
        assert inside == touched  # whole, but for tokens without a byte
        assert span.text.encode() in b"".join(parts[span.first : span.last])


@settings(max_examples=3 * settings.default.max_examples)
@given(
    tokens(
        st.lists(st.sampled_from([b"\xff", b"\xf0\x9f", b"ab", "日".encode(), b" "]), max_size=8).map(
            b"".join
        )
    )
)
def test_bytes_that_are_no_text_move_no_span(parts):
    raw = b"".join(parts)
    words = [(m.start(), m.end()) for m in re.finditer(rb"(?:ab|\xe6\x97\xa5)+", raw)]
    places = spans(cut(parts), "word")
    assert [s.text for s in places] == [raw[a:b].decode() for a, b in words]
    for span, (begin, end) in zip(places, words, strict=True):
        touched = overlapping(parts, begin, end)
        assert (span.first, span.last) == (touched[0], touched[-1] + 1)


@pytest.mark.parametrize(
    ("parts", "text", "by", "expected"),
    [
        # Cut by a stop string within a token: what came after is in no span.
        (["The", " cat", " sat. On"], "The cat sat", "word", [("The", 0, 1), ("cat", 1, 2), ("sat", 2, 3)]),
        (["One", ". T", "wo"], "One.", "sentence", [("One.", 0, 2)]),
        # The end-of-text token is no part of the text.
        (['{"a"', ": 1}", "<|im_end|>"], '{"a": 1}', "json", [('{"a": 1}', 0, 2), ("1", 1, 2)]),
        (["Hi", "<|im_end|>"], "Hi", re.compile(r"\w+"), [("Hi", 0, 1)]),
        (["<|im_end|>"], "", "word", []),
        # A text that is not what its tokens say (an echoed prompt before it): the tokens hold.
        ([" blue", "."], "The sky is blue.", "word", [("blue", 0, 1)]),
        # Cut within a character.
        (["ab ", "🎉".encode()[:2]], "ab \ufffd", "sentence", [("ab \ufffd\ufffd", 0, 2)]),
        ([b"\xff", b"\xff", b" ab", b" cd"], None, "word", [("ab", 2, 3), ("cd", 3, 4)]),
        ([], None, "word", []),
    ],
)
def test_texts_that_are_not_all_that_their_tokens_say(parts, text, by, expected):
    assert [(s.text, s.first, s.last) for s in spans(cut(parts, text), by)] == expected


@pytest.mark.parametrize(
    ("text", "by", "message"),
    [
        (
            "a b",
            "words",
            'spans are "word", "sentence", "json" or a compiled regular expression .* got \'words\'',
        ),
        ("a b", 3, r"\(re.compile\), got 3"),
        ("a b", None, "got None"),
        ("a b", ["word"], r"got \['word'\]"),
        ("Sure: {}", "json", "spans by json need a text that is JSON: Expecting value"),
        ("", "json", "need a text that is JSON"),
        ('{"a": 1', "json", "need a text that is JSON"),
        ("{} {}", "json", "need a text that is JSON: Extra data"),
        ("[" * 5000 + "]" * 5000, "json", "need a text that is JSON: maximum recursion depth"),
    ],
)
def test_what_is_refused(text, by, message):
    with pytest.raises(ValueError, match=message):
        spans(cut([text]), by)


def test_spans_need_the_vocabulary():
    with pytest.raises(ValueError, match="vocabulary is not at hand"):
        spans(Choice(0, "a", "stop", token_ids=np.zeros(1, np.int32)), "word")


# Real answers


def test_a_real_json_answer_and_the_product_of_its_tokens(engine):
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}, "sure": {"type": "boolean"}},
        "required": ["city", "sure"],
        "additionalProperties": False,
    }
    options = {"response_format": schema, "temperature": 0, "top_logprobs": 2, "max_tokens": 40}
    c = engine.chat("What is the capital of France? Answer in JSON.", **options)
    table = tk.logprobs(c).spans("json").set_index("span")
    assert {name: json.loads(text) for name, text in table["text"].items() if name} == {
        "/city": c.parsed["city"],
        "/sure": c.parsed["sure"],
    }
    assert table.index.tolist() == ["", "/city", "/sure"]
    for row in table.itertuples():
        own = c.logprobs[row.first : row.last].astype(np.float64)
        assert row.tokens == len(own)
        assert row.text in b"".join(t.bytes for t in c.tokens[row.first : row.last]).decode()
        assert row.probability == pytest.approx(np.prod(np.exp(own)))
        assert row.min_probability == pytest.approx(np.exp(own.min()))
    assert table["probability"].between(0, 1).all()
    # The tokens after the last one of the document (the end of text) are in no span.
    assert table["last"].max() == len(c.token_ids) - (c.finish_reason == "stop")


def test_words_of_a_real_answer_cut_by_a_stop_string(engine):
    c = engine.chat("What is the capital of France?", temperature=0, max_tokens=20, logprobs=True, stop=" of")
    assert c.text == "The capital"
    table = tk.logprobs(c).spans()
    assert table["text"].tolist() == ["The", "capital"]
    said = [b"".join(t.bytes for t in c.tokens[a:b]).decode() for a, b in table[["first", "last"]].values]
    assert [s.strip() for s in said] == ["The", "capital"]
