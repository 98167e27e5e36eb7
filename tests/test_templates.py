"""Our token ids of a conversation are those that vLLM's own chat makes of it: for the default model, and for
the prompt formats of other families (templates/README.md) on the default model's tokenizer."""

import copy
import shutil
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings, strategies as st

from toolkit import models
from toolkit.core.request import Request
from toolkit.tokenizers.huggingface import Tokenizer

TEMPLATES = Path(__file__).parent / "templates"
DEFAULT = "default"


class Control(NamedTuple):
    """A family's control tokens."""

    bos: str | None
    eos: str
    others: tuple[str, ...]


CONTROL = {
    "llama3": Control("<|begin_of_text|>", "<|eot_id|>", ("<|start_header_id|>", "<|end_header_id|>")),
    "qwen": Control(None, "<|im_end|>", ("<|im_start|>",)),
    "mistral": Control("<s>", "</s>", ("[INST]", "[/INST]")),
    "gemma": Control("<bos>", "<eos>", ("<start_of_turn>", "<end_of_turn>")),
    "phi": Control(None, "<|end|>", ("<|system|>", "<|user|>", "<|assistant|>")),
}
NAMES = [DEFAULT, *CONTROL]
WITH_BOS = [name for name, control in CONTROL.items() if control.bos]
STRINGS = ["<|endoftext|>", *(t for c in CONTROL.values() for t in (c.bos, c.eos, *c.others) if t)]


def turns(*given):
    return [dict(zip(("role", "content"), turn, strict=True)) for turn in given]


USER = ("user", "Hi")
CASES = {
    "one user": turns(USER),
    "system": turns(("system", "Be brief."), USER),
    "dialogue": turns(("user", "Knock knock."), ("assistant", "Who's there?"), ("user", "Orange.")),
    "few shots": turns(
        ("user", "日本語 🎉 e\u0301 👩‍👩‍👧 \u200b\ufeff"),
        ("assistant", "línea\n\n\tdos\r\n"),
        ("user", "".join(STRINGS)),
        ("assistant", " ".join(STRINGS) + "\n"),
        ("user", "{{ bos_token }} {% raw %} it's <b>&amp;</b> \\n"),
    ),
    "spaces in a row": turns(("user", "a  b   c    \t\td"), ("assistant", "  x  "), ("user", "   y")),
    "trailing whitespace": turns(("user", "Hi \n\n"), ("assistant", "Hello "), ("user", "Go on:\t ")),
    "nearly empty": turns(("user", " "), ("assistant", "\n"), ("user", "\u00a0")),
    "ends with an answer": turns(USER, ("assistant", "Hello")),
    "long": turns(("user", "word " * 500)),
    "two users": turns(USER, ("user", "Are you there?")),
    "answer first": turns(("assistant", "Hello"), USER),
    "late system": turns(USER, ("assistant", "Hello"), ("system", "Be brief."), USER),
    "developer": turns(("developer", "Be brief."), USER),
}
IN_TURN = "takes user and assistant messages in turn"
NO_SYSTEM = "System role not supported"
REFUSED = {
    ("gemma", "system"): NO_SYSTEM,
    ("gemma", "developer"): NO_SYSTEM,
    ("gemma", "late system"): NO_SYSTEM,
    **{(name, case): IN_TURN for name in ("mistral", "gemma") for case in ("two users", "answer first")},
    ("mistral", "late system"): IN_TURN,
}
TAKEN = [(name, case) for name in NAMES for case in CASES if (name, case) not in REFUSED]

LOOP = "{% for m in messages %}{{ m.role }}: "
ODD = {
    "only parts": LOOP + "{% for part in m.content %}{{ part.text }}{% endfor %}{% endfor %}",
    "prose": "You assist a developer. " + LOOP + "{{ m.content }}{% endfor %}",
    "calls": LOOP + "{{ m.tool_calls[0].function.arguments | tojson if m.tool_calls }}{% endfor %}",
}
"""Templates that are no family's: each brings out one difference."""
PARTS = [{"type": "text", "text": "Hi"}, {"type": "text", "text": " there"}]
CALL = {"id": "c0", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
SPECIAL = [
    (DEFAULT, turns(("system", "A"), ("developer", "B"), USER)),
    (DEFAULT, turns(USER, ("assistant", "Hello"), ("developer", "B"), USER)),
    ("mistral", turns(USER, ("assistant", "Hello"), ("developer", "B"), USER)),
    (DEFAULT, turns(("user", PARTS))),
    ("only parts", turns(USER)),
    ("prose", turns(("developer", "A"), USER)),
    ("calls", [*turns(USER), {"role": "assistant", "content": "Wait.", "tool_calls": [CALL]}]),
]
"""Where a conversation is not sent just as it stands."""
DIFFERENT = [
    ("gemma", turns(("user", PARTS)), "vLLM leaves text parts to the template that takes them, we join them"),
    (DEFAULT, turns(("system", "x-anthropic-billing-header: 1\nA"), USER), "vLLM drops this line"),
]


class Sides:
    """A conversation's token ids: as our tokenizer makes them, and as vLLM does."""

    def __init__(self, tokenizer, chat):
        self.tokenizer = tokenizer
        self._chat = chat

    def ours(self, messages):
        return list(self.tokenizer.encode(Request.chat(messages)))

    def theirs(self, messages):
        return self._chat(copy.deepcopy(messages))["prompt_token_ids"]


@pytest.fixture(scope="module")
def family(engine, tmp_path_factory):
    """The two sides by a family's name."""

    def on_engine(messages, template=None):
        return engine.call(lambda llm: llm._preprocess_chat_one(messages, chat_template=template))

    @cache
    def build(name):
        if name == DEFAULT:
            return Sides(Tokenizer(models.path()), on_engine)
        folder = tmp_path_factory.mktemp("model")
        if name in ODD:
            model_folder(folder, ODD[name])
            return Sides(Tokenizer(str(folder)), partial(on_engine, template=ODD[name]))
        model_folder(folder, (TEMPLATES / f"{name}.jinja").read_text(), CONTROL[name])
        config = engine.call(lambda llm: llm.llm_engine.vllm_config)
        return Sides(Tokenizer(str(folder)), vllm_chat(config, str(folder)))

    return build


def model_folder(folder, template, control=None):
    """The default model's config and tokenizer, with another template and a family's control tokens."""
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    shutil.copy(Path(models.path()) / "config.json", folder)  # vLLM looks for it; our tokenizer does not
    tokenizer = AutoTokenizer.from_pretrained(models.path())
    tokenizer.chat_template = template
    if control:
        named = {"eos_token": control.eos} | ({"bos_token": control.bos} if control.bos else {})
        tokenizer.bos_token = None
        tokenizer.add_special_tokens({**named, "additional_special_tokens": list(control.others)})
    if control and control.bos:
        # Like the families' own tokenizers this one puts a BOS before any text: a second one would show.
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{control.bos} $A", special_tokens=[(control.bos, tokenizer.bos_token_id)]
        )
    tokenizer.save_pretrained(folder)


def vllm_chat(config, path):
    """What LLM.chat does with a conversation before the model sees it, for the tokenizer of a folder."""
    from vllm.entrypoints.common.offline import OfflineInferenceMixin
    from vllm.renderers.registry import renderer_from_config

    config = copy.copy(config)
    config.model_config = copy.copy(config.model_config)
    config.model_config.model = config.model_config.tokenizer = path
    chat = OfflineInferenceMixin()
    chat.model_config, chat.chat_template = config.model_config, None
    chat.renderer = renderer_from_config(config)
    return chat._preprocess_chat_one


@pytest.mark.parametrize(("name", "messages"), SPECIAL)
def test_what_a_template_cannot_take_as_it_is_is_sent_as_vllm_sends_it(family, name, messages):
    sides = family(name)
    assert sides.ours(messages) == sides.theirs(messages)


@pytest.mark.parametrize(("name", "case"), TAKEN)
def test_conversations_become_the_ids_that_vllm_makes_of_them(family, name, case):
    sides = family(name)
    assert sides.ours(CASES[case]) == sides.theirs(CASES[case])


def test_the_ids_compared_with_are_those_that_chat_gives_the_model(engine, family):
    conversations = [CASES[case] for name, case in TAKEN if name == DEFAULT]

    def chat(llm):
        from vllm import SamplingParams

        outputs = llm.chat(copy.deepcopy(conversations), SamplingParams(max_tokens=1), use_tqdm=False)
        return [list(output.prompt_token_ids) for output in outputs]

    sides = family(DEFAULT)
    assert engine.call(chat) == [sides.theirs(messages) for messages in conversations]


@pytest.mark.parametrize(
    ("name", "messages"),
    [
        pytest.param(name, messages, marks=pytest.mark.xfail(reason=why, raises=AssertionError))
        for name, messages, why in DIFFERENT
    ],
)
def test_known_differences_from_vllm(family, name, messages):
    sides = family(name)
    assert sides.ours(messages) == sides.theirs(messages)


@pytest.mark.parametrize(("name", "case", "words"), [(*key, words) for key, words in REFUSED.items()])
def test_what_a_template_refuses_is_refused_in_its_own_words(family, name, case, words):
    sides = family(name)
    with pytest.raises(ValueError, match=f"the model's chat template refuses these messages: .*{words}"):
        sides.ours(CASES[case])
    with pytest.raises(Exception, match=words):  # vLLM's own error is no ValueError
        sides.theirs(CASES[case])


SYSTEM = ("system", "Be brief.")
DIALOGUE = CASES["dialogue"]
QWEN = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
TEXTS = {
    "llama3": (
        [*turns(SYSTEM), *DIALOGUE],
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nKnock knock.<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nWho's there?<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nOrange.<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "qwen": (
        DIALOGUE,
        f"<|im_start|>system\n{QWEN}<|im_end|>\n<|im_start|>user\nKnock knock.<|im_end|>\n"
        "<|im_start|>assistant\nWho's there?<|im_end|>\n<|im_start|>user\nOrange.<|im_end|>\n"
        "<|im_start|>assistant\n",
    ),
    "mistral": (
        [*turns(SYSTEM), *DIALOGUE],
        "<s>[INST] Knock knock.[/INST] Who's there?</s>[INST] Be brief.\n\nOrange.[/INST]",
    ),
    "gemma": (
        DIALOGUE,
        "<bos><start_of_turn>user\nKnock knock.<end_of_turn>\n"
        "<start_of_turn>model\nWho's there?<end_of_turn>\n"
        "<start_of_turn>user\nOrange.<end_of_turn>\n<start_of_turn>model\n",
    ),
    "phi": (
        [*turns(SYSTEM), *DIALOGUE],
        "<|system|>\nBe brief.<|end|>\n<|user|>\nKnock knock.<|end|>\n<|assistant|>\nWho's there?<|end|>\n"
        "<|user|>\nOrange.<|end|>\n<|assistant|>\n",
    ),
}


@pytest.mark.parametrize("name", CONTROL)
def test_the_ids_spell_the_prompt_format_of_the_family(family, name):
    messages, text = TEXTS[name]
    tokenizer = family(name).tokenizer
    spelled = [tokenizer.vocabulary[i].decode() for i in family(name).ours(messages)]
    assert "".join(spelled) == text
    control = {token for token in STRINGS if token in text}
    assert control <= set(spelled), "a control string is more than one token"


@pytest.mark.parametrize("name", WITH_BOS)
def test_the_beginning_is_marked_once(family, name):
    sides = family(name)
    plain = sides.tokenizer.encode(Request(prompt="Hi"))
    ids = sides.ours(CASES["dialogue"])
    assert sides.tokenizer.vocabulary[plain[0]].decode() == CONTROL[name].bos
    assert ids[0] == plain[0]
    assert ids.count(plain[0]) == 1


PIECES = st.one_of(st.text(), st.sampled_from([*STRINGS, " ", "\n", "\t", "\r\n", "  ", "{{", "%}"]))
TEXT = st.lists(PIECES, min_size=1, max_size=5).map("".join).filter(bool)
CONVERSATIONS = st.lists(TEXT, min_size=1, max_size=5).map(
    lambda texts: turns(*((("user", "assistant")[i % 2], text) for i, text in enumerate(texts)))
)
OPENINGS = st.one_of(st.just([]), TEXT.map(lambda text: turns(("system", text))))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=30)
@given(opening=OPENINGS, conversation=CONVERSATIONS)
def test_any_alternating_conversation_becomes_the_same_ids(family, name, opening, conversation):
    sides = family(name)
    messages = conversation if name == "gemma" else opening + conversation
    assert sides.ours(messages) == sides.theirs(messages)
