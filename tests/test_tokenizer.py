import json
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from transformers import AutoTokenizer

from toolkit import models
from toolkit.core.request import Request
from toolkit.engines.vllm.tool_calls import parse_calls
from toolkit.errors import ModelError
from toolkit.prompts.messages import fold_system
from toolkit.structured.tools import tool
from toolkit.tokenizers.huggingface import Tokenizer


@pytest.fixture(scope="module")
def ours():
    return Tokenizer(models.path())


@pytest.fixture(scope="module")
def theirs():
    return AutoTokenizer.from_pretrained(models.path())


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The folder of the default model's tokenizer with its first 2,000 tokens, quickly loaded."""
    folder, source = tmp_path_factory.mktemp("small"), Path(models.path())
    for name in ("tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(source / name, folder)
    parts = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    bpe = parts["model"]
    bpe["vocab"] = {token: number for token, number in bpe["vocab"].items() if number < 2000}
    bpe["merges"] = [pair for pair in bpe["merges"] if {*pair, "".join(pair)} <= bpe["vocab"].keys()]
    (folder / "tokenizer.json").write_text(json.dumps(parts), encoding="utf-8")
    return str(folder)


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


@pytest.fixture(scope="module")
def single(ours):
    """The bytes that are tokens by themselves."""
    return {token[0] for token in ours.vocabulary if len(token) == 1}


@given(text=st.text(min_size=1))
def test_the_bytes_of_the_tokens_are_the_bytes_of_the_text(ours, single, text):
    """But for the few single bytes (control characters, unused planes) that this vocabulary lacks."""
    ids = ours.encode(Request(prompt=text))
    expected = bytes(byte for byte in text.encode() if byte in single)
    assert b"".join(ours.vocabulary[i] for i in ids) == expected
    assert len(single) > 200


def test_many_conversations_do_not_grow_the_memory_for_ever(ours, monkeypatch):
    monkeypatch.setattr("toolkit.tokenizers.huggingface._CACHE_SIZE", 8)
    for i in range(50):
        ours.encode(Request(prompt=f"text {i}"))
    assert len(ours._cache) <= 8


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(ModelError, match="has no tokenizer that transformers can load"):
        Tokenizer(str(tmp_path))


@pytest.fixture(scope="module")
def filling(tmp_path_factory, small):
    """The default model's tokenizer, made small, with a family's three fill-in-the-middle marks added."""

    def build(marks, begin=False):
        folder = tmp_path_factory.mktemp("fim")
        tokenizer = AutoTokenizer.from_pretrained(small)
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


def test_a_template_that_takes_no_system_message_says_how_to_fold_it(tmp_path, small):
    tokenizer = AutoTokenizer.from_pretrained(small)
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


JSON = '{"name": "weather", "arguments": {"city": "Rome"}}'
DSV = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>%s<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
KIMI = "<|tool_calls_section_begin|><|tool_call_begin|>%s<|tool_call_end|><|tool_calls_section_end|>"
PARAMETERS = '{"name": "weather", "parameters": {"city": "Rome"}}'
PYTHON = '[weather(city="Rome")]'
SAID = "Use the format [func_name1(name1=value1), func_name2()]"
FAMILIES = [
    # parser, a call as the family writes it, what else its template says
    ("seed_oss", "<seed:tool_call>\n<function=weather>\n<parameter=city>Rome</parameter>\n</function>\n"
     "</seed:tool_call>", ""),
    ("qwen3_coder", "<tool_call>\n<function=weather>\n<parameter=city>\nRome\n</parameter>\n</function>\n"
     "</tool_call>", ""),
    ("glm45", "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Rome</arg_value>\n</tool_call>", ""),
    ("hermes", f"<tool_call>\n{JSON}\n</tool_call>", ""),
    ("mistral", f"[TOOL_CALLS][{JSON}]", ""),
    ("deepseek_v3", DSV % 'function<｜tool▁sep｜>weather\n```json\n{"city": "Rome"}\n```', ""),
    ("deepseek_v31", DSV % 'weather<｜tool▁sep｜>{"city": "Rome"}', ""),
    ("kimi_k2", KIMI % 'functions.weather:0<|tool_call_argument_begin|>{"city": "Rome"}', ""),
    ("minimax_m2", '<minimax:tool_call>\n<invoke name="weather">\n<parameter name="city">Rome</parameter>\n'
     "</invoke>\n</minimax:tool_call>", ""),
    ("lfm2", f"<|tool_call_start|>{PYTHON}<|tool_call_end|>", ""),
    ("gemma4", '<|tool_call>call:weather{city:<|"|>Rome<|"|>}<tool_call|>', ""),
    ("functiongemma", "<start_function_call>call:weather{city:<escape>Rome<escape>}<end_function_call>", ""),
    ("apertus", '<|tools_prefix|>[{"weather": {"city": "Rome"}}]<|tools_suffix|>', ""),
    ("olmo3", f"<function_calls>{PYTHON[1:-1]}</function_calls>", ""),
    ("phi4_mini_json", f"functools[{JSON}]", ""),
    ("granite", f"<|tool_call|>[{JSON}]", ""),
    ("llama4_pythonic", PYTHON, f"<|header_start|>system<|header_end|>{SAID}<|eot|>"),
    ("pythonic", PYTHON, SAID),
    ("llama3_json", PARAMETERS, "<|python_tag|>"),
    ("llama3_json", PARAMETERS, "<|start_header_id|>assistant<|end_header_id|><|eot_id|>"),
]  # fmt: skip
PLAIN = "{% for m in messages %}{{ m.content }}{% endfor %}"
HARMONY = '<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{"city": "Rome"}<|call|>'


def weather(city: str) -> str:
    """The weather in a city."""
    return city


@pytest.fixture(scope="module")
def of_template(small):
    """The default model's tokenizer, made small, with another template, and with the special tokens of a text."""

    def build(template, marks=""):
        tokenizer = Tokenizer(small)
        tokenizer.hf.chat_template = template
        tokenizer.hf.add_tokens([*re.findall(r"<[|｜][^<>]+[|｜]>|\[TOOL_CALLS\]", marks), "<|python_tag|>"])
        return tokenizer

    return build


def knowing(text):
    """A template that tells the model of tools, with this text in it."""
    return PLAIN + "{% if tools %}{% raw %}" + text + "{% endraw %}{% endif %}"


@pytest.mark.parametrize(("name", "call", "more"), [*FAMILIES, ("openai", HARMONY, "")])
def test_the_form_of_a_familys_calls_is_told_by_its_template(of_template, name, call, more):
    ours = of_template(knowing(more + call))
    assert (ours.tool_format, ours.guesses_calls) == (name, False)


@pytest.mark.engine
@pytest.mark.parametrize(("name", "call", "more"), FAMILIES)
def test_vllm_reads_the_calls_of_that_form(of_template, name, call, more):
    (found,), text = parse_calls(of_template("", call).hf, name, call, [tool(weather)])
    assert (found.name, found.arguments, text) == ("weather", '{"city": "Rome"}', "")


@pytest.mark.parametrize(
    ("template", "guessed"),
    [
        (knowing("Call the tools as you like."), True),
        (PLAIN, False),  # we tell it the form
        (PLAIN + "{# <|tool_call|> #}", False),
        (None, False),
    ],
)
def test_calls_of_no_known_form_are_taken_for_the_most_common_one(of_template, template, guessed):
    ours = of_template(template)
    assert (ours.tool_format, ours.guesses_calls) == ("hermes", guessed)


def test_all_of_several_templates_are_looked_at(of_template):
    ours = of_template({"default": PLAIN, "tool_use": knowing('say "developer" [TOOL_CALLS]')})
    assert (ours.tool_format, ours.guesses_calls) == ("mistral", False)
    assert not ours.renames_developer
