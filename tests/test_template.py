import pytest
from hypothesis import given, strategies as st

from toolkit.prompts.template import Template

ROW = {"text": "{ok}", "thing": "film", "n": 3, "items": ["a", "b"]}


@pytest.mark.parametrize(
    ("text", "syntax", "filled"),
    [
        ("Review: {text}", "format", "Review: {ok}"),
        ("{{literal}} {n:03d}", "format", "{literal} 003"),
        ("Review: {{ text }}", "jinja", "Review: {ok}"),
        ("{literal} {{ n }}\n", "jinja", "{literal} 3\n"),
        ("{% for i in items %}- {{ i }}\n{% endfor %}", "jinja", "- a\n- b\n"),
        ("{{ absent | default('none') }}{% if other is defined %}x{% endif %}", "jinja", "none"),
        ("{{ thing | upper }}", "jinja", "FILM"),
    ],
)
def test_variables_are_filled(text, syntax, filled):
    assert Template(text, syntax).fill(ROW) == filled


@pytest.mark.parametrize(
    ("text", "syntax", "names"),
    [
        ("{b} {a} {b}", "format", ("b", "a")),
        ("{{b}}", "format", ()),
        ("{{ b }} {% for i in a %}{{ i }}{% endfor %}", "jinja", ("a", "b")),
        ("{{ b | default(1) }} {{ c | d(1) }} {{ a is defined }}", "jinja", ()),
    ],
)
def test_variables_are_those_that_a_row_must_have(text, syntax, names):
    assert Template(text, syntax).variables == names


@pytest.mark.parametrize(
    ("text", "syntax", "message"),
    [
        ("{", "format", "is malformed .*write {{ for a brace"),
        ("{a b}", "format", r"has the variable \{a b\}: use a plain name"),
        ("{}", "format", "use a plain name"),
        ("{a.b}", "format", "use a plain name"),
        ("{a[0]}", "format", "use a plain name"),
        ("{a:{b}}", "format", r"has the variable \{a:\{b\}\}"),
        ("", "format", "non-empty string"),
        (None, "format", "non-empty string, got None"),
        ("{% if %}", "jinja", "is malformed .line 1"),
        ("{{ a", "jinja", "is malformed"),
        ("x", "mustache", "syntax must be one of format, jinja, got 'mustache'"),
    ],
)
def test_bad_templates_fail_when_made(text, syntax, message):
    with pytest.raises(ValueError, match=message):
        Template(text, syntax)


@pytest.mark.parametrize(("text", "syntax"), [("{a} {b} {c}", "format"), ("{{ a }}{{ b }}{{ c }}", "jinja")])
def test_all_missing_variables_are_named_at_once(text, syntax):
    with pytest.raises(ValueError, match=r"the row lacks a, c \(it has b\)"):
        Template(text, syntax).fill({"b": 1})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ n.__class__.__mro__ }}", "SecurityError"),
        ("{{ n / 0 }}", "ZeroDivisionError"),
        ("{{ text + 1 }}", "TypeError"),
        ("{{ n.missing }}", "UndefinedError"),
    ],
)
def test_a_jinja_template_that_fails_on_a_row_says_why(text, message):
    with pytest.raises(ValueError, match=f"the template cannot be filled .{message}"):
        Template(text, "jinja").fill(ROW)


def test_a_value_that_a_format_cannot_show_is_an_error_of_the_row():
    with pytest.raises(ValueError, match="Unknown format code 'd'"):
        Template("{text:d}").fill(ROW)


@given(st.text())  # hypothesis makes no lone surrogates
def test_any_text_survives_as_a_value_and_as_an_escaped_literal(text):
    literal = text.replace("{", "{{").replace("}", "}}")
    assert Template("x" + literal + "{v}").fill({"v": text}) == "x" + text + text


@given(st.text())
def test_any_text_survives_as_a_jinja_value(text):
    assert Template("{{ v }}", "jinja").fill({"v": text}) == text
