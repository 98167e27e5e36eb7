import copy
import json
import pickle
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

import toolkit as tk
from toolkit.prompts.prompt_files import read_mapping
from toolkit.prompts.selectors import Balanced, Random, Similar

POOL = [
    {"id": "a", "text": "a dull film", "label": "neg"},
    {"id": "b", "text": "a great film", "label": "pos"},
    {"id": "c", "text": "cold soup", "label": "neg"},
]
FEW_SHOT_AXES = tk.Prompt("Review: {text}", system="Rate {thing}s.", examples=POOL, answer="{label}")
ROW = {"text": "fine", "thing": "film"}


def turns(prompt, row=ROW):
    return [(m["role"], m["content"]) for m in prompt.messages(row)]


def test_variables_are_filled_in_all_parts():
    prompt = tk.Prompt("Review: {text}", system="You rate {thing}s.", developer="Answer in {language}.")
    assert prompt.variables == ("thing", "language", "text")
    assert turns(prompt, {"text": "{ok}", "thing": "film", "language": "French", "more": 1}) == [
        ("system", "You rate films."),
        ("developer", "Answer in French."),
        ("user", "Review: {ok}"),
    ]


def test_examples_are_turns():
    assert turns(FEW_SHOT_AXES.with_(k=2)) == [
        ("system", "Rate films."),
        ("user", "Review: a dull film"),
        ("assistant", "neg"),
        ("user", "Review: a great film"),
        ("assistant", "pos"),
        ("user", "Review: fine"),
    ]


def test_examples_are_flat_in_one_message():
    flat = FEW_SHOT_AXES.with_(
        k=2, layout="flat", system=None, template="Review: {text}\nLabel:", block="{question} {answer}"
    )
    assert turns(flat) == [
        (
            "user",
            "Review: a dull film\nLabel: neg\n\nReview: a great film\nLabel: pos\n\nReview: fine\nLabel:",
        )
    ]


def test_jinja_in_all_parts():
    prompt = tk.Prompt(
        "{% if text %}Review: {{ text }}{% endif %} {}",
        examples=POOL[:1],
        answer="{{ label | upper }}",
        document="<{{ text }}>",
        syntax="jinja",
    )
    assert turns(prompt) == [
        ("user", "Review: a dull film {}"),
        ("assistant", "NEG"),
        ("user", "Review: fine {}"),
    ]


def test_what_a_prompt_has_by_itself_is_in_its_own_syntax():
    pool = [{"q": "a", "answer": "b"}]
    prompt = tk.Prompt(
        "{{ documents }} {{ q }}", examples=pool, documents=["d"], syntax="jinja", layout="flat"
    )
    assert turns(prompt, {"q": "c"}) == [("user", "a\nb\n\n[1] d c")]
    assert prompt.to_dict().keys() == {"template", "examples", "documents", "syntax", "layout"}
    assert tk.Prompt(**prompt.to_dict()) == prompt


def test_all_variables_that_are_missing_are_named_at_once():
    with pytest.raises(ValueError, match=r"the row lacks thing, text \(it has b\)"):
        FEW_SHOT_AXES.messages({"b": 1})


def test_history_stands_before_the_question():
    history = [{"role": "user", "content": "knock knock."}, {"role": "assistant", "content": "Who's there?"}]
    assert turns(tk.Prompt("Orange.", history=history)) == [
        ("user", "knock knock."),
        ("assistant", "Who's there?"),
        ("user", "Orange."),
    ]


def test_folded_system_text_stands_before_the_first_user_message():
    assert turns(FEW_SHOT_AXES.with_(k=1, fold_system=True))[0] == (
        "user",
        "Rate films.\n\nReview: a dull film",
    )


@pytest.mark.parametrize(
    ("fixed", "row", "text"),
    [
        (("one", "two"), {}, "[1] one\n\n[2] two\n\nQ"),
        ((), {"documents": ["mine"]}, "[1] mine\n\nQ"),
        (("one",), {"documents": [{"text": "mine", "more": 1}]}, "[1] mine\n\nQ"),
        ((), {"documents": "as it stands"}, "as it stands\n\nQ"),
        (("one",), {"documents": []}, "\n\nQ"),
    ],
)
def test_documents_stand_where_the_template_says(fixed, row, text):
    assert turns(tk.Prompt("{documents}\n\nQ", documents=fixed), row) == [("user", text)]


def test_documents_have_a_template_of_their_own():
    prompt = tk.Prompt("Q", system="{documents}", document="{number}. {title}: {text}")
    assert turns(prompt, {"documents": [{"title": "Soup", "text": "cold"}]})[0] == ("system", "1. Soup: cold")


def test_examples_may_have_documents_of_their_own():
    pool = [{"q": "a", "answer": "b", "documents": ["d"]}]
    prompt = tk.Prompt("{documents} {q}", examples=pool, documents=["all"])
    assert turns(prompt, {"q": "c"}) == [("user", "[1] d a"), ("assistant", "b"), ("user", "[1] all c")]
    bare = prompt.with_(examples=[{"q": "a", "answer": "b"}])
    assert turns(bare, {"q": "c"}) == [("user", "a"), ("assistant", "b"), ("user", "[1] all c")]


def test_what_was_chosen_is_recorded_and_is_never_the_row_itself():
    assert FEW_SHOT_AXES.render(ROW).examples == ("a", "b", "c")
    assert FEW_SHOT_AXES.render({**ROW, "text": "COLD soup!"}).examples == ("a", "b")
    assert FEW_SHOT_AXES.render({**ROW, "id": "a"}).examples == ("b", "c")
    assert FEW_SHOT_AXES.with_(k=0).render(ROW).examples == ()
    assert tk.Prompt("x").render().examples is None
    assert FEW_SHOT_AXES.render(ROW).notes == {"examples": ["a", "b", "c"]}


def test_an_example_without_an_id_is_known_by_its_place():
    pool = [{"text": t, "label": "x"} for t in ("cold soup", "film")]
    prompt = tk.Prompt("{text}", examples=pool, answer="{label}", selector="similar", k=1)
    assert prompt.render({"text": "a film"}).examples == (1,)


def test_orders_are_shuffled_by_their_seed():
    orders = {FEW_SHOT_AXES.with_(order_seed=seed).render(ROW).examples for seed in range(40)}
    assert {tuple(sorted(o)) for o in orders} == {("a", "b", "c")}
    assert len(orders) == 6


def test_variants_leave_the_first_as_it_was_and_show_their_own():
    few = FEW_SHOT_AXES.with_(k=1)
    other = few.with_(answer="It is {label}.")
    assert few.k == 1
    assert FEW_SHOT_AXES.k is None
    assert turns(other)[2] == ("assistant", "It is neg.")
    assert turns(few)[2] == ("assistant", "neg")
    assert turns(few.with_(system="Other."))[0] == ("system", "Other.")


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"template": ""}, ValueError, "template must be a non-empty string"),
        ({"template": "{"}, ValueError, "is malformed"),
        ({"system": "{a b}"}, ValueError, "use a plain name"),
        ({"examples": [{"text": "x"}]}, ValueError, r"examples\[0\]: the row lacks answer \(it has text\)"),
        ({"examples": ["x"]}, TypeError, r"examples\[0\] must be a dict of variable → value, got 'x'"),
        ({"k": 1}, ValueError, "k is 1, but there are 0 examples: give more, or lower k"),
        ({"k": -1}, ValueError, "k must be a whole number from 0 up, got -1"),
        ({"order_seed": 1.5}, ValueError, "order_seed must be a whole number, got 1.5"),
        ({"selector": "best"}, ValueError, "unknown selector 'best'"),
        ({"layout": "tall"}, ValueError, "layout must be one of turns, flat, got 'tall'"),
        ({"syntax": "f"}, ValueError, "syntax must be one of format, jinja, got 'f'"),
        ({"documents": ["x"]}, ValueError, "no template has the variable documents"),
        ({"history": [{"role": "x", "content": "y"}]}, ValueError, "unknown role 'x'"),
        ({"temperature": 1}, TypeError, "unknown prompt field 'temperature': did you mean 'template'"),
    ],
)
def test_bad_fields_are_refused_when_made(fields, error, message):
    with pytest.raises(error, match=message):
        tk.Prompt(**{"template": "{text}", **fields})


FULL = tk.Prompt(
    "{documents}\n{text} ünï",
    system="s",
    developer="d",
    examples=POOL,
    answer="{label}",
    k=2,
    selector=Random(seed=4),
    order_seed=1,
    layout="flat",
    block="{question} → {answer}",
    documents=["one", {"text": "two", "n": 1}],
    document="{text}",
    history=[{"role": "user", "content": "Hi"}],
    fold_system=True,
    name="all of it",
)


@pytest.mark.parametrize("name", ["p.yaml", "p.yml", "p.json"])
@pytest.mark.parametrize("prompt", [tk.Prompt("x"), FEW_SHOT_AXES, FULL], ids=["small", "shots", "full"])
def test_a_prompt_survives_a_file(tmp_path, prompt, name):
    loaded = tk.Prompt.load(prompt.save(tmp_path / name))
    assert loaded == prompt
    assert loaded.messages(ROW) == prompt.messages(ROW)


@given(st.text(min_size=1).filter(lambda t: t.strip()), st.sampled_from([".yaml", ".json"]))
def test_any_text_survives_a_file(tmp_path_factory, text, suffix):
    prompt = tk.Prompt(text.replace("{", "{{").replace("}", "}}"), system="{v}")
    assert tk.Prompt.load(prompt.save(tmp_path_factory.mktemp("p") / f"p{suffix}")) == prompt


def test_a_file_holds_only_what_was_set(tmp_path):
    assert read_mapping(FEW_SHOT_AXES.with_(k=2).save(tmp_path / "p.yaml")) == {
        "template": "Review: {text}",
        "system": "Rate {thing}s.",
        "examples": POOL,
        "answer": "{label}",
        "k": 2,
    }


@pytest.mark.parametrize(
    ("name", "text", "error", "message"),
    [
        ("p.txt", "x", ValueError, "a prompt is saved as .yaml or .json, got 'p.txt'"),
        ("p.yaml", "a: [", ValueError, "p.yaml is not valid YAML"),
        ("p.json", "{", ValueError, "p.json is not valid JSON"),
        ("p.yaml", "- x", ValueError, "p.yaml must hold the fields of a prompt"),
        (
            "p.yaml",
            "template: x\nsytem: y",
            TypeError,
            "p.yaml: unknown prompt field 'sytem': did you mean 'system'",
        ),
        ("p.json", json.dumps({"template": "{"}), ValueError, "p.json: template '{' is malformed"),
        ("p.yaml", "system: x", TypeError, "p.yaml: .*missing 1 required positional argument: 'template'"),
    ],
)
def test_bad_files_are_named(tmp_path, name, text, error, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(error, match=message):
        tk.Prompt.load(tmp_path / name)


ALIASES = "".join(f"- &a{i} {{x: [{', '.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, 12))
MERGES = "".join(f"x{i}: &x{i} {{<<: [{', '.join([f'*x{i - 1}'] * 9)}]}}\n" for i in range(1, 12))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"template: x\nexamples:\n- &a0 {{x: y}}\n{ALIASES}",
            r"has [\d,]+ characters, and they may add 10,000,000",
        ),
        (f"template: x\nx0: &x0 {{a: b}}\n{MERGES}", "its aliases .* written out"),
        (f"template: x\nsystem: &s {'y' * 10**5}\nhistory: [{'*s, ' * 200}]", "its aliases .* written out"),
        ("template: x\nexamples: &a [*a]", "the alias in line 2 contains itself"),
        ("template: x\ndocuments:\n- &a {text: t, more: {b: *a}}", "the alias in line 3 contains itself"),
        ("&a {template: *a}", "the alias in line 1 contains itself"),
    ],
)
def test_aliases_without_end_are_refused(tmp_path, text, message):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(ValueError, match=f"p.yaml is not valid YAML: .*{message}"):
        tk.Prompt.load(tmp_path / "p.yaml")


def test_ordinary_aliases_stand_for_their_values(tmp_path):
    (tmp_path / "p.yaml").write_text(
        "template: 'Q: {q}'\nsystem: &s Be brief.\nexamples:\n- &e {q: a, answer: *s}\n- *e\n- {<<: *e, q: z}\n"
    )
    prompt = tk.Prompt.load(tmp_path / "p.yaml")
    assert [(e["q"], e["answer"]) for e in prompt.examples] == [(q, "Be brief.") for q in "aaz"]


WRITTEN = [
    "no", "yes", "on", "Off", "12:30", "190:20:30.15", "010", "0o17", "0x1F", "0b11", "1_000", "+5", ".5", "1.",
    "1e3", "1e22", "-0", "2026-01-02", "2026-13-45", "2001-12-14t21:59:43.10-05:00", "=", "0.50", "TRUE", "y", "n",
]  # fmt: skip


@pytest.mark.parametrize("written", WRITTEN)
def test_yaml_has_texts_as_they_stand(tmp_path, written):
    (tmp_path / "p.yaml").write_text(f"""
        template: "{{q}}"
        system: {written}
        answer: "{{answer}} {{k}}"
        examples:
        - {{q: a, {written}: b, answer: {written}, k: {written}}}
        history:
        - {{role: user, content: {written}}}
        - {{role: assistant, content: {written}}}
        """)
    prompt = tk.Prompt.load(tmp_path / "p.yaml")
    system, _, answer, *history, _ = prompt.messages({"q": "b"})
    assert system["content"] == history[0]["content"] == history[1]["content"] == written
    assert answer["content"] == f"{written} {written}"
    assert prompt.examples[0][written] == "b"
    assert tk.Prompt.load(prompt.save(tmp_path / "q.yaml")) == prompt


def test_yaml_has_numbers_and_settings_where_they_are_meant(tmp_path):
    (tmp_path / "p.yaml").write_text("""
        template: "{q}"
        k: 0x1
        fold_system: yes
        selector: {name: mmr, relevance: .5}
        examples:
        - {q: a, n: 8, x: -0.5, t: true, d: !!int "010", answer: "10"}
        """)
    prompt = tk.Prompt.load(tmp_path / "p.yaml")
    assert (prompt.k, prompt.fold_system, prompt.selector.relevance) == (1, True, 0.5)
    example = {"q": "a", "n": 8, "x": -0.5, "t": True, "d": 8, "answer": "10"}
    assert repr(prompt.examples) == repr((example,))


VALUES = st.recursive(
    st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"))
    | st.sampled_from(WRITTEN),
    lambda items: (
        st.lists(items, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), items, max_size=3)
    ),
    max_leaves=5,
)


@given(VALUES, st.sampled_from([".yaml", ".json"]))
def test_any_example_survives_a_file(tmp_path_factory, value, suffix):
    prompt = tk.Prompt("{q}", examples=[{"q": "a", "answer": "b", "value": value}], documents=[])
    loaded = tk.Prompt.load(prompt.save(tmp_path_factory.mktemp("p") / f"p{suffix}"))
    assert repr(loaded) == repr(prompt)


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_half_a_surrogate_pair_that_is_not_sent_survives_a_file(tmp_path, suffix):
    prompt = tk.Prompt("{q} ü", examples=[{"q": "a", "answer": "b", "note": "\ud83d"}])
    assert tk.Prompt.load(prompt.save(tmp_path / f"p{suffix}")) == prompt


@pytest.mark.parametrize("written", ["", "~", "null", "NULL", ".nan"])
def test_missing_values_in_yaml_are_refused(tmp_path, written):
    (tmp_path / "p.yaml").write_text(f"template: '{{q}}'\nexamples:\n- {{q: a, answer: {written}}}")
    with pytest.raises(ValueError, match=r"p.yaml: examples\[0\] has no value for 'answer'"):
        tk.Prompt.load(tmp_path / "p.yaml")


def test_a_file_in_another_encoding_is_named(tmp_path):
    (tmp_path / "p.yaml").write_bytes("template: für {q}".encode("latin-1"))
    with pytest.raises(ValueError, match=r"p.yaml is not UTF-8"):
        tk.Prompt.load(tmp_path / "p.yaml")


def test_a_prompt_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = FEW_SHOT_AXES.save(tmp_path / "p.yaml")
    with pytest.raises(ValueError, match="holds a function"):
        FEW_SHOT_AXES.with_(selector=Similar(lambda texts: [])).save(path)
    assert tk.Prompt.load(path) == FEW_SHOT_AXES


FRAME = pd.DataFrame(
    {
        "text": ["a", "b"],
        "answer": ["x", "y"],
        "when": pd.to_datetime(["2020-01-01", None]),
        "price": [Decimal("0.10"), Decimal("2")],
        "n": [1, None],
        "share": np.array([0.1, 0.2], np.float32),
    }
)


def test_examples_and_documents_of_a_frame_are_data(tmp_path):
    prompt = tk.Prompt(
        "{documents} {text}", examples=FRAME, documents=FRAME, document="{number} {price} {share}"
    )
    first = {"text": "a", "answer": "x", "when": "2020-01-01T00:00:00", "price": "0.10", "n": 1, "share": 0.1}
    assert prompt.examples[0] == prompt.documents[0] == first
    assert type(prompt.examples[0]["n"]) is int
    assert prompt.examples[1]["when"] is None
    assert prompt.messages({"text": "c"})[-1]["content"] == "1 0.10 0.1\n\n2 2 0.2 c"
    for name in ("p.yaml", "p.json"):
        loaded = tk.Prompt.load(prompt.save(tmp_path / name))
        assert repr(loaded.examples) == repr(prompt.examples)
    sweep = tk.sweep(prompt, FRAME)
    assert len(list(sweep.requests({}))) == 2
    json.dumps(sweep.workload.prompts)


MISSING = [None, float("nan"), np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT"), np.ma.masked]


@pytest.mark.parametrize("value", MISSING, ids=repr)
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda v: tk.Prompt("{x}").messages({"x": v}), "the row has no value for 'x'"),
        (lambda v: tk.Prompt("a", system="{x}").messages({"x": v}), "the row has no value for 'x'"),
        (lambda v: tk.Prompt("{{ x }}", syntax="jinja").messages({"x": v}), "the row has no value for 'x'"),
        (
            lambda v: tk.Prompt("{x}").messages(pd.Series({"x": v}, dtype=object)),
            "the row has no value for 'x'",
        ),
        (
            lambda v: tk.Prompt("{x}", examples=[{"x": v, "answer": "a"}]),
            r"examples\[0\] has no value for 'x'",
        ),
        (
            lambda v: tk.Prompt("{x}", examples=[{"x": "a", "answer": v}]),
            r"examples\[0\] has no value for 'answer'",
        ),
        (
            lambda v: tk.Prompt("{{ x }}", examples=[{"x": v, "answer": "a"}], syntax="jinja").messages(
                {"x": "b"}
            ),
            r"examples\[0\]: the row has no value for 'x'",
        ),
        (lambda v: tk.Prompt("{documents}", documents=["a", v]), r"documents\[1\] is missing"),
        (
            lambda v: tk.Prompt("{documents}", documents=[{"text": v}]).messages(),
            r"documents\[0\]: the row has no value for 'text'",
        ),
        (lambda v: tk.Prompt("{documents}").messages({"documents": ["a", v]}), r"documents\[1\] is missing"),
        (
            lambda v: tk.Prompt("{documents}", documents=["a"]).messages({"documents": v}),
            "the row has no value for 'documents'",
        ),
        (lambda v: tk.Prompt("a", history=[{"role": "user", "content": v}]), r"messages\[0\] has no text"),
        (
            lambda v: tk.Prompt(
                "{x}", examples=[{"x": "a", "answer": "b", "g": v}], selector=Balanced(by="g")
            ).messages({"x": "b"}),
            r"examples\[0\] has no value for 'g' to balance by",
        ),
    ],
)
def test_missing_values_are_refused_wherever_they_come_from(value, make, message):
    with pytest.raises(ValueError, match=message):
        make(value)


def test_missing_values_that_are_not_used_are_no_matter():
    prompt = tk.Prompt("{x}", examples=[{"x": "a", "answer": "b", "y": pd.NaT, "id": pd.NA}], documents=None)
    assert turns(prompt, {"x": "c", "y": None, "id": pd.NA, "z": float("nan")})[-1] == ("user", "c")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: tk.Prompt("x", fold_system="no"), ValueError, "fold_system must be True or False, got 'no'"),
        (lambda: tk.Prompt("{documents}", documents=5), TypeError, "must be a list of texts or dicts, got 5"),
        (lambda: tk.Prompt("{documents}").messages({"documents": 5}), ValueError, "documents must be a list"),
        (lambda: tk.Prompt("{documents}").messages({"documents": [5]}), ValueError, r"documents\[0\] must be a dict"),
        (lambda: tk.Prompt("x", history=FRAME), TypeError, "messages must be a string or a list of messages"),
        (lambda: tk.Prompt("x", examples=[{"answer": "a", "f": len}]), ValueError, r"examples\[0\] has 'f' of type"),
        (
            lambda: tk.Prompt("x", examples=[{"answer": "\ud83d"}]).messages(),
            ValueError,
            r"examples\[0\]: 'answer' is not valid Unicode",
        ),
        (lambda: tk.Prompt("x", system="\ud83d"), ValueError, "system: template is not valid Unicode"),
        (lambda: tk.Prompt("{x}").messages({"x": ""}), ValueError, "the template is empty once it is filled"),
    ],
)  # fmt: skip
def test_bad_values_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_function_is_not_saved_in_silence(tmp_path):
    with pytest.raises(ValueError, match="holds a function"):
        FEW_SHOT_AXES.with_(selector=Similar(lambda texts: [])).save(tmp_path / "p.yaml")


def test_examples_may_be_a_frame():
    assert FEW_SHOT_AXES.with_(examples=pd.DataFrame(POOL)) == FEW_SHOT_AXES


@pytest.mark.parametrize(
    "prompt", [FEW_SHOT_AXES, FULL, tk.Prompt("{n:.2f}"), tk.Prompt("{{ n }}", syntax="jinja")]
)
def test_a_prompt_shows_itself_with_its_variables_open(prompt):
    shown = prompt._repr_html_()
    assert "variables not filled" in shown
    assert "{text}" in shown or "{n}" in shown


def test_a_rendered_prompt_shows_its_texts_escaped_and_its_examples():
    shown = FEW_SHOT_AXES.render({"text": "<b>", "thing": "film"})._repr_html_()
    assert "&lt;b&gt;" in shown
    assert "<b>" not in shown
    assert "examples: [&#x27;a&#x27;, &#x27;b&#x27;, &#x27;c&#x27;]" in shown


def test_messages_may_be_changed_without_a_change_to_the_prompt():
    prompt = FEW_SHOT_AXES.with_(history=[{"role": "user", "content": "Hi"}])
    other = prompt.with_(k=2)
    for message in prompt.messages(ROW):
        message["content"] = "changed"
    assert "changed" not in str(prompt.messages(ROW)) + str(other.messages(ROW)) + str(prompt.history)


@pytest.mark.parametrize(
    ("prompt", "row"),
    [
        (
            tk.Prompt(
                "Sum up:\n{documents}", examples=[{"documents": [f"d{i}"], "answer": "s"} for i in range(3)]
            ),
            "d1",
        ),
        (
            tk.Prompt("Classify.", system="{x}", examples=[{"x": f"d{i}", "answer": "s"} for i in range(3)]),
            "d1",
        ),
    ],
)
def test_examples_are_told_apart_by_whatever_varies(prompt, row):
    for name, value in (("documents", [row]), ("x", row)):
        if name in prompt.variables:
            assert prompt.render({name: value}).examples == (0, 2)
            assert prompt.render({name: ["new"] if name == "documents" else "new"}).examples == (0, 1, 2)


def test_missing_ids_are_no_ids_and_frames_make_floats_of_the_others():
    pool = pd.DataFrame(POOL).assign(id=[1, 2, None])
    prompt = FEW_SHOT_AXES.with_(examples=pool)
    assert prompt.render({**ROW, "id": float("nan")}).examples == (0, 1, 2)
    assert prompt.render({**ROW, "id": None}).examples == (0, 1, 2)
    assert prompt.render({**ROW, "id": 1}).examples == (1, 2)
    assert prompt.render({**ROW, "id": "2"}).examples == (0, 2)


def test_documents_may_be_a_frame():
    documents = pd.DataFrame({"text": ["a", "b"], "title": ["t", "u"]})
    prompt = tk.Prompt("{documents}", documents=documents, document="{title}: {text}")
    assert turns(prompt) == [("user", "t: a\n\nu: b")]
    assert turns(prompt, {"documents": documents[1:]}) == [("user", "u: b")]


def test_a_row_of_a_frame_is_a_row():
    frame = pd.DataFrame([ROW])
    assert FEW_SHOT_AXES.messages(frame.iloc[0]) == FEW_SHOT_AXES.messages(ROW)


def test_jinja_goes_through_documents_one_by_one():
    prompt = tk.Prompt(
        "{% for d in documents %}<{{ d }}>{% endfor %}", syntax="jinja", documents=["abc", "de"]
    )
    assert turns(prompt) == [("user", "<[1] abc><[2] de>")]
    optional = tk.Prompt("{% if documents is defined %}{{ documents }}{% endif %} q", syntax="jinja")
    assert turns(optional, {"documents": ["abc", "de"]}) == [("user", "[1] abc\n\n[2] de q")]


def test_prompts_can_be_copied_and_pickled_after_use():
    for prompt in (FEW_SHOT_AXES, tk.Prompt("{{ text }}", syntax="jinja")):
        expected = prompt.messages(ROW)
        assert (
            copy.deepcopy(prompt).messages(ROW)
            == pickle.loads(pickle.dumps(prompt)).messages(ROW)
            == expected
        )


def test_a_change_of_syntax_changes_what_a_prompt_has_by_itself():
    jinja = tk.Prompt("{{ q }}", syntax="jinja", examples=[{"q": "a", "answer": "b"}])
    assert turns(jinja.with_(syntax="format", template="{q}"), {"q": "c"})[1] == ("assistant", "b")


def test_a_template_that_computes_shows_its_source():
    prompt = tk.Prompt("{% if n > 3 %}many{% endif %}", system="Count.", syntax="jinja")
    assert "{% if n &gt; 3 %}" in prompt._repr_html_()


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (
            lambda: FEW_SHOT_AXES.messages("text"),
            TypeError,
            "a row must be a dict of variable → value, got 'text'",
        ),
        (
            lambda: FEW_SHOT_AXES.messages({**ROW, "text": None}),
            ValueError,
            "the row has no value for 'text', got None",
        ),
        (
            lambda: FEW_SHOT_AXES.messages({**ROW, "text": float("nan")}),
            ValueError,
            "no value for 'text', got nan",
        ),
        (lambda: tk.Prompt("{n:.2f}").messages({"n": [1]}), ValueError, "the template cannot be filled"),
        (
            lambda: tk.Prompt("x", block="{z}"),
            ValueError,
            "block has the variables question and answer only, not z",
        ),
        (lambda: tk.Prompt("x", system="{"), ValueError, "system: template '{' is malformed"),
        (
            lambda: FEW_SHOT_AXES.with_(examples=[{**POOL[0], "label": None}]),
            ValueError,
            r"examples\[0\] has no value for 'label'",
        ),
    ],
)
def test_ordinary_mistakes_are_named(ask, error, message):
    with pytest.raises(error, match=message):
        ask()
    assert tk.Prompt("x", system="", examples=None, documents=None).messages() == tk.Prompt("x").messages()


@pytest.mark.parametrize("layout", ["turns", "flat"])
def test_sizes_of_examples_make_up_the_prompt(layout):
    prompt = FEW_SHOT_AXES.with_(layout=layout, selector="similar", k=2)
    row = {"text": "cold film", "thing": "film"}

    def count(turns):
        return sum(len(m["content"]) for m in turns)

    base, *each = prompt.sizes(row, count)
    assert base == count(prompt.with_(k=0).messages(row))
    assert base + sum(each) == count(prompt.messages(row))
    chosen = prompt.chosen(row)
    assert tuple(POOL[i]["id"] for i in chosen) == prompt.render(row).examples
    if layout == "turns":
        assert each == [count(prompt.example(i)) for i in chosen]
    assert prompt.example_variables == ("text", "label")


def test_what_is_not_set_is_not_shown():
    turns = ({"role": "user", "content": "a"},)
    assert repr(tk.Rendered(turns)) == "Rendered(messages=({'role': 'user', 'content': 'a'},))"
    assert repr(tk.Rendered(turns, (), {"turns": 2}, 3, "e")).endswith(
        "), examples=(), dropped={'turns': 2}, prompt_tokens=3, error='e')"
    )


@pytest.mark.parametrize(
    "turn",
    [{"content": "a"}, {"role": "user"}, 3, None, {"role": "user", "content": [{"type": "text"}]},
     {"role": "assistant", "content": "", "tool_calls": [3]}, {"role": "user", "content": 5}],
)  # fmt: skip
def test_what_is_no_message_is_shown_as_it_is(turn):
    """An engine refuses it; the view does not fail."""
    page = tk.Rendered(({"role": "user", "content": "before"}, turn))._repr_html_()
    assert "before" in page
    assert page.count("<div>") == 2
