import datetime
import enum
import math
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

import toolkit as tk
from toolkit.prompts.template import RowError, Template, single_brace_variables

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
        ("{a!x}", "format", r"has the variable \{a!x\}: use a plain name"),
        ("{a:999999999999}", "format", "a field of that width is too long"),
        ("{a" + "[" * 9000 + "}", "format", "is malformed"),
        ("{a" + "[0]" * 9000 + "}", "format", "use a plain name"),
        ("{a:" + "{b:" * 9000, "format", "is malformed"),
        ("a\ud83d", "format", r"template is not valid Unicode: '\\ud83d' at character 1"),
        ("a\ud83d", "jinja", r"template is not valid Unicode"),
        ("{{ x|nosuch }}", "jinja", "is malformed .line 1: No filter named 'nosuch'"),
        ("a\n{{ x is nosuch }}", "jinja", "is malformed .line 2: No test named 'nosuch'"),
        ("{{ " + "(" * 9000 + "1" + ")" * 9000 + " }}", "jinja", "is malformed .RecursionError"),
        ("{{ " + "[" * 9000 + "]" * 9000 + " }}", "jinja", "is malformed .RecursionError"),
        ("{{ " + "-" * 9000 + "1 }}", "jinja", "is malformed .RecursionError"),
        ("{% for a in b %}" * 30 + "{% endfor %}" * 30, "jinja", "is malformed .SyntaxError: too many"),
        ("{% block a %}{% endblock %}{% block a %}{% endblock %}", "jinja", "block 'a' defined twice"),
    ],
    ids=lambda value: repr(value)[:40],
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


class Unwritable:
    def __format__(self, spec):
        raise AttributeError("no text")

    def __str__(self):
        raise KeyError("no text")


@pytest.mark.parametrize(
    ("text", "syntax", "row", "message"),
    [
        ("{a:c}", "format", {"a": 2**40}, r"with 'a' \(OverflowError: %c arg not in range"),
        ("{a:c}", "format", {"a": -1}, r"with 'a' \(OverflowError"),
        ("{a:.2f}", "format", {"a": "x"}, r"with 'a' \(ValueError: Unknown format code 'f'"),
        ("{a:99999}", "format", {"a": [1]}, r"with 'a' \(TypeError: unsupported format string"),
        ("{a}", "format", {"a": Unwritable()}, r"with 'a' \(AttributeError: no text"),
        ("{a!s}", "format", {"a": Unwritable()}, r"with 'a' \(KeyError: 'no text'"),
        ("{{ a }}", "jinja", {"a": Unwritable()}, r"filled \(KeyError: 'no text'"),
        ("{{ a.b.c }}", "jinja", {"a": 1}, r"filled \(UndefinedError"),
        ("{{ a ** 0.5 < 1 }}", "jinja", {"a": "x"}, r"filled \(TypeError"),
        ("{{ '%c' % a }}", "jinja", {"a": 2**40}, r"filled \(OverflowError"),
        ("{{ range(a) }}", "jinja", {"a": 10**9}, r"filled \(OverflowError: Range too big"),
        ("{% include a %}", "jinja", {"a": "x"}, r"filled \(TypeError: no loader"),
        ("x {a}", "format", {"a": "b\ud83d"}, r"'a' is not valid Unicode: '\\ud83d' at character 1 is half"),
        ("{b} {a!s}", "format", {"a": "\udc00", "b": "b"}, "'a' is not valid Unicode"),
        ("{{ b }} {{ a | upper }}", "jinja", {"a": "x\ud83d", "b": "b"}, "'a' is not valid Unicode"),
        ("{{ a[0] }}", "jinja", {"a": ["\ud83d"]}, "the text is not valid Unicode"),
    ],
)
def test_a_value_that_cannot_be_written_is_an_error_of_the_row(text, syntax, row, message):
    with pytest.raises(RowError, match=message):
        Template(text, syntax).fill(row)


class Letter(str, enum.Enum):  # noqa: UP042  # its text is Letter.A, that of a StrEnum its value
    A = "a"


WRITTEN = [
    (datetime.datetime(2020, 1, 2, 3, 4), "2020-01-02T03:04:00"),
    (pd.Timestamp("2020-01-02"), "2020-01-02T00:00:00"),
    (np.datetime64("2020-01-02T03:04", "ns"), "2020-01-02T03:04:00"),
    (Letter.A, "a"),
    (np.float32(0.1), "0.1"),
    (np.array([0.1, 2], np.float32), "[0.1, 2.0]"),
    ([np.float64(0.5)], "[0.5]"),
    (Decimal("0.10"), "0.10"),
    (True, "True"),
    (datetime.timedelta(1), "1 day, 0:00:00"),  # no data: its own text
]


@pytest.mark.parametrize(("value", "text"), WRITTEN)
def test_values_are_written_as_rows_hold_them(value, text):
    for template in (Template("{a}{a!s}"), Template("{{ a }}{{ '' ~ a }}", "jinja")):
        assert template.fill({"a": value}) == text * 2


def test_a_format_specification_is_the_values_own():
    row = {"day": datetime.date(2020, 1, 2), "price": Decimal("0.1"), "n": np.int64(3)}
    assert Template("{day:%d %B} {price:.2f} {n:03d}").fill(row) == "02 January 0.10 003"
    assert Template("{{ day.year }} {{ '%.1f' % price }}", "jinja").fill(row) == "2020 0.1"


MISSING = [
    None,
    float("nan"),
    np.float32("nan"),
    np.float64("nan"),
    pd.NA,
    pd.NaT,
    np.datetime64("NaT"),
    Decimal("NaN"),
]


@pytest.mark.parametrize("value", MISSING, ids=repr)
@pytest.mark.parametrize(
    ("text", "syntax"),
    [
        ("{b} {a}", "format"),
        ("{a!r}", "format"),
        ("{a:>9}", "format"),
        ("{{ a }}", "jinja"),
        ("{% if b %}{{ a }}{% endif %}", "jinja"),
        ("{{ 'x' ~ a }}", "jinja"),
        ("{% set c = a %}{{ c }}", "jinja"),
    ],
)
def test_missing_values_are_not_written(value, text, syntax):
    with pytest.raises(
        ValueError, match=r"the row has no value for 'a', got .*: fill it, or leave the row out"
    ):
        Template(text, syntax).fill({"a": value, "b": 1})


@pytest.mark.parametrize("value", MISSING, ids=repr)
def test_jinja_can_test_for_missing_values(value):
    assert Template("{{ b }}{% if false %}{{ a }}{% endif %}", "jinja").fill({"a": value, "b": 1}) == "1"
    if value is None:
        text = "{{ 'none' if a is none else a }} {{ a | default('none', true) }}"
        assert Template(text, "jinja").fill({"a": None}) == "none none"


def test_all_missing_values_are_named_at_once():
    with pytest.raises(ValueError, match="the row has no value for 'a', 'c': fill it"):
        Template("{a} {b} {c}").fill({"a": None, "b": 1, "c": pd.NA})


def test_a_computed_value_that_is_missing_is_not_written():
    with pytest.raises(ValueError, match="the template writes a value that is missing"):
        Template("{{ a.get('b') }}", "jinja").fill({"a": {}})


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("Hi {name}", ("{name}",)),
        ("{a} {b:.2f} {c!r} {a}", ("{a}", "{b:.2f}", "{c!r}")),
        ("{größe}", ("{größe}",)),
        ("{{{a}}}", ("{a}",)),
        ('{"a": 1} {{b}} {} {0} {a b} {a.b} f(){ return x }', ()),
        ('Hi {name}, answer {"a": 1}', ("{name}",)),
    ],
)
def test_variables_between_other_braces(text, variables):
    assert single_brace_variables(text) == variables


@given(st.text())  # hypothesis makes no lone surrogates
def test_any_text_survives_as_a_value_and_as_an_escaped_literal(text):
    literal = text.replace("{", "{{").replace("}", "}}")
    assert Template("x" + literal + "{v}").fill({"v": text}) == "x" + text + text


@given(st.text())
def test_any_text_survives_as_a_jinja_value(text):
    assert Template("{{ v }}", "jinja").fill({"v": text}) == text


MISSING = [{"a": math.nan}, [None], (1, pd.NaT), {"a": [{"b": None}]}, {"a": pd.NA}, [np.datetime64("NaT")],
           np.array([1, math.nan]), pd.Series(["a", None])]  # fmt: skip


@pytest.mark.parametrize("value", MISSING, ids=str)
@pytest.mark.parametrize("text", ["{x}", "{x!r}", "{x!s:>9}"])
def test_a_missing_value_inside_a_list_or_dict_is_refused(value, text):
    with pytest.raises(
        ValueError, match=r"(?s)the row has a missing value in 'x', got .*: fill it, or leave the row out"
    ):
        Template(text).fill({"x": value})
    with pytest.raises(ValueError, match="row 1: the row has a missing value in 'x'"):
        tk.sweep(text, [{"x": [1]}, {"x": value}])
    assert Template("{y}").fill({"x": value, "y": 1}) == "1"


@pytest.mark.parametrize("value", [None, *MISSING], ids=str)
@pytest.mark.parametrize(
    "text",
    [
        "{{ x }}",
        "{{ x|string }}",
        "{{ x|upper }}",
        "{{ x ~ 'a' }}",
        "{{ '%s' % x }}",
        "{{ '{}'.format(x) }}",
        "{{ x|replace('a', 'b') }}",
        "{{ [x]|join }}",
    ],
)
def test_jinja_writes_no_missing_value_either(value, text):
    with pytest.raises(ValueError, match=r"the row has (no value for|a missing value in) 'x', got"):
        Template(text, "jinja").fill({"x": value})


@pytest.mark.parametrize(
    ("text", "value", "filled"),
    [
        ("{{ x|tojson }}", {"a": math.nan, "b": [None, pd.NaT]}, '{"a": null, "b": [null, null]}'),
        ("{% if x is none %}none{% else %}{{ x }}{% endif %}", math.nan, "none"),
        ("{% if x == none %}none{% endif %}", None, "none"),
        ("{{ x if x == x else 'nan' }}", math.nan, "nan"),
        ("{{ x if x else 'empty' }}", pd.NA, "empty"),
        ("{{ x|default('empty', true) }}", pd.NaT, "empty"),
        ("{{ x[0] }}", ["a", None], "a"),
        ("{% for i in x if i is not none %}{{ i }}{% endfor %}", ["a", None, "b"], "ab"),
        ("{{ x.a }}", {"a": 1, "b": None}, "1"),
        ("{{ x }}", [[], {}, "", 0, False], "[[], {}, '', 0, False]"),
    ],
)
def test_what_is_missing_can_be_tested_for(text, value, filled):
    assert Template(text, "jinja").fill({"x": value}) == filled


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'a' * 10**9 }}",
        "{{ 10**9 * 'a' }}",
        "{{ [1] * 10**9 }}",
        "{{ 10 ** (10**9) }}",
        "{{ 'a'|center(10**9) }}",
        "{{ 'a'|center(1000000000) }}",
        "{{ 'a'|indent(10**9) }}",
        "{{ [1]|batch(10**9, 'x')|list }}",
        "{{ 'a'.ljust(10**9) }}",
        "{{ '1'.zfill(width=10**9) }}",
        "{{ '{:>1000000000}'.format(1) }}",
        "{{ '{:>{w}}'.format(1, w=10**9) }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%*d' % (10**9, 1) }}",
        "{{ '%1000000000d'|format(1) }}",
        "{% for i in range(99999) %}{% for j in range(99999) %}a{{ i }}{% endfor %}{% endfor %}",
        "{% set n = namespace(t='a') %}{% for i in range(99) %}{% set n.t = n.t ~ n.t %}{% endfor %}{{ n.t }}",
        "{% set n = namespace(t='a') %}{% for i in range(99) %}{% set n.t = n.t + n.t %}{% endfor %}{{ n.t }}",
    ],
)
def test_a_template_that_would_fill_the_memory_is_stopped(text):
    with pytest.raises(RowError, match="the template would make more than 10,000,000 characters"):
        Template(text, "jinja").fill({})


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        (
            "{{ 'ab' * 3 }}{{ 2 * 3 }}{{ 2 + 3 }}{{ 'a' + 'b' }}{{ [1] + [2] }}{{ 1.5 * 2 }}",
            "ababab65ab[1, 2]3.0",
        ),
        ("{{ 2 ** 70 }} {{ 7 % 4 }}", "1180591620717411303424 3"),
        ("{{ 'a'|center(3) }}{{ 'b'.ljust(2) }}{{ '1'.zfill(3) }}", " a b 001"),
        ("{{ '{:>9}'.format(12345678) }} {{ '%d' % 123456789 }}", " 12345678 123456789"),
        ("{{ '%d %s'|format(123456789, 'a') }} {{ '12345678 %s' % 'a' }}", "123456789 a 12345678 a"),
        ("{{ '{:>{w}}'.format(1, w=3) }} {{ '12345678'.replace('1', '2') }}", "  1 22345678"),
        ("{{ 12345678901 }} {{ y|default(12345678901) }}", "12345678901 12345678901"),
    ],
)
def test_ordinary_expressions_mean_what_they_did(text, filled):
    assert Template(text, "jinja").fill({}) == filled
