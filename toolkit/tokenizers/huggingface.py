"""Tokenizer: messages and text to token ids, as the model's own chat template has it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from toolkit.choice import Vocabulary
from toolkit.messages import Messages, fold_system
from toolkit.models import ModelError
from toolkit.request import Request, digest
from toolkit.tools import Tool, describe, spelt, tool

_REMEMBERED = 4096
_FILL = (
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),  # StarCoder, SantaCoder
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),  # Qwen-Coder, CodeGemma
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # DeepSeek-Coder
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),  # Code Llama
)
"""Tokens before the prefix, before the suffix, and before what is to be filled in, by family."""
_CALLS = (
    (("<seed:tool_call>",), "seed_oss"),
    (("<function=",), "qwen3_coder"),  # Qwen3-Coder, Qwen3.5, Nemotron 3
    (("<arg_key>",), "glm45"),
    (("<tool_call>",), "hermes"),  # Hermes, Qwen 2.5 and 3, Granite 4
    (("[TOOL_CALLS]",), "mistral"),
    (("<｜tool▁calls▁begin｜>", "```json"), "deepseek_v3"),  # R1, too
    (("<｜tool▁calls▁begin｜>",), "deepseek_v31"),
    (("<|tool_calls_section_begin|>",), "kimi_k2"),
    (("<minimax:tool_call>",), "minimax_m2"),
    (("<|tool_call_start|>",), "lfm2"),
    (("<|tool_call>",), "gemma4"),
    (("<start_function_call>",), "functiongemma"),
    (("<|tools_prefix|>",), "apertus"),
    (("<function_calls>",), "olmo3"),
    (("<|channel|>commentary",), "openai"),  # gpt-oss
    (("functools[",), "phi4_mini_json"),
    (("<|tool_call|>",), "granite"),  # Granite 3
    ((" [func_name1(", "<|header_start|>"), "llama4_pythonic"),
    ((" [func_name1(",), "pythonic"),
    (("<|python_tag|>",), "llama3_json"),  # Llama 3.1 and 3.3
    (('"parameters": ', "<|eot_id|>"), "llama3_json"),  # Llama 3.2
)
"""Marks of calls in chat templates, and vLLM's parser for them; the first whose marks are all there holds."""
_GUESS = "hermes"
"""The form that most families write."""
_PROBE = {"type": "function", "function": {"name": "probe", "description": "A zebra.", "parameters": {}}}
_FOLD = (
    "The model takes no system message: toolkit.fold_system(messages), or Prompt(fold_system=True), puts its text "
    "before the first user message"
)


class Tokenizer:
    """A model's tokenizer and chat template, loaded with transformers: no engine needed."""

    def __init__(self, path: str, revision: str | None = None) -> None:
        from transformers import AutoTokenizer

        try:
            self.hf: Any = AutoTokenizer.from_pretrained(path, revision=revision)
        except (OSError, ValueError) as error:
            raise ModelError(f"{path} has no tokenizer that transformers can load: {error}") from error
        self._path, self._revision = path, revision
        self._encoded: dict[str, tuple[int, ...]] = {}

    def encode(self, request: Request) -> tuple[int, ...]:
        """The token ids of a request's prompt, or of its conversation in the chat template: (P,).

        Raises ValueError when the model has no chat template, or its template refuses the conversation.
        """
        # Sweeps ask the same conversation under many settings: one rendering serves them all.
        ids = self._encoded.get(request.input)
        if ids is None:
            if len(self._encoded) >= _REMEMBERED:
                self._encoded.clear()
            ids = self._encoded[request.input] = tuple(self._encode(request))
        return ids

    def _encode(self, request: Request) -> list[int] | tuple[int, ...]:
        if isinstance(request.prompt, tuple):
            return request.prompt
        if request.prompt is not None:
            return (
                self._fill(request.prompt, request.suffix) if request.suffix else self._plain(request.prompt)
            )
        if not self.hf.chat_template:
            raise ValueError("the model has no chat template: use engine.complete(text), or a chat model")
        turns = request.messages or ()
        known = () if request.tool_choice == "none" else request.tools
        if any("tool_calls" in m for m in turns) and not self.shows_calls:
            turns = tuple(_written(m) for m in turns)
        if known and not self.knows_tools:
            turns, known = _told(turns, known, request.tool_choice), ()
        try:
            return self._render(turns, known)
        except Exception as error:
            hint = f". {_FOLD}" if self._wants_folding(turns) else ""
            raise ValueError(f"the model's chat template refuses these messages: {error}{hint}") from error

    def prefix(self, request: Request) -> tuple[int, ...]:
        """The token ids that the answer begins with, after those of the prompt.

        After plain text they are as the whole text has them, where the prompt's own tokens stay the same in it; else,
        and in a chat, the text is cut into tokens by itself, as a model goes on from the tokens it was given.
        """
        given, prompt = request.prefix, request.prompt
        if given is None or isinstance(given, tuple):
            return given or ()
        if isinstance(prompt, str):
            own, whole = self._plain(prompt), self._plain(prompt + given)
            if whole[: len(own)] == own:
                return tuple(whole[len(own) :])
        return tuple(self.hf.encode(given, add_special_tokens=False))

    def _plain(self, text: str) -> list[int]:
        return list(self.hf.encode(text))

    def _render(self, turns: Messages, known: Sequence[Tool] = ()) -> list[int]:
        sent = [self._sent(m) for m in self._roles(turns)]
        shown = [one.to_openai() for one in known] or None
        return list(
            self.hf.apply_chat_template(sent, tools=shown, add_generation_prompt=True, return_dict=False)
        )

    def _tried(self, turns: Messages, known: Sequence[Tool] = ()) -> list[int] | None:
        """What `_render` gives; None where the template refuses."""
        try:
            return self._render(turns, known)
        except Exception:  # noqa: BLE001  # templates raise what they like
            return None

    @cached_property
    def knows_tools(self) -> bool:
        """The chat template says something of tools that it is given."""
        turns: Messages = ({"role": "user", "content": "-"},)
        without, told = self._tried(turns), self._tried(turns, [tool(_PROBE)])
        return without is not None and told is not None and without != told

    @cached_property
    def shows_calls(self) -> bool:
        """The chat template writes the calls of an earlier turn, and does not lose them."""
        function = {"name": "zebra", "arguments": '{"zebra": 1}'}
        call = {"id": "c00000000", "type": "function", "function": function}
        turns = ({"role": "user", "content": "-"}, {"role": "assistant", "content": "", "tool_calls": [call]})
        found = self._tried(turns)
        return found is not None and "zebra" in self.decode(tuple(found))

    @property
    def tool_format(self) -> str:
        """The name of vLLM's parser for the calls that this model writes, told by the marks in its template, or
        guessed (`guesses_calls`); for a model whose template knows no tools, of the calls that we ask it for."""
        return (self._marked if self.knows_tools else None) or _GUESS

    @property
    def guesses_calls(self) -> bool:
        """The template knows tools, and shows no form of calls that is known here."""
        return self.knows_tools and self._marked is None

    @property
    def _marked(self) -> str | None:
        found = (name for marks, name in _CALLS if all(mark in self._templates for mark in marks))
        return next(found, None)

    @property
    def _templates(self) -> str:
        """The text of the chat template, or of all of them: some models have one of its own for tools."""
        own = self.hf.chat_template
        return "\n".join(own.values()) if isinstance(own, dict) else own or ""

    def _roles(self, turns: Messages) -> Messages:
        """As vLLM does it: for a template that knows no developer, all system and developer text becomes one
        system message at the front, so that templates with a single place for it take it."""
        if not self.renames_developer or not any(m["role"] == "developer" for m in turns):
            return turns
        above = ("system", "developer")
        text = "\n\n".join(m["content"] for m in turns if m["role"] in above)
        return ({"role": "system", "content": text}, *(m for m in turns if m["role"] not in above))

    def _sent(self, turn: dict[str, Any]) -> dict[str, Any]:
        """A message as chat templates expect it: arguments of calls as data, content as parts if need be."""
        calls = [{**c, "function": _with_data(c["function"])} for c in turn.get("tool_calls") or ()]
        content = [{"type": "text", "text": turn["content"]}] if self._wants_parts else turn["content"]
        return {**turn, "content": content, **({"tool_calls": calls} if calls else {})}

    @cached_property
    def _wants_parts(self) -> bool:
        """The chat template loops over content parts, and would lose a text that is none."""
        probe = "zebra"
        try:
            shown = self.hf.apply_chat_template([{"role": "user", "content": probe}], tokenize=False)
        except Exception:  # noqa: BLE001  # templates raise what they like; what they take shows when used
            return False
        return probe not in shown

    def _wants_folding(self, turns: Messages) -> bool:
        """The template takes the conversation once its system text is part of the first user message."""
        roles = {m["role"] for m in turns}
        return (
            bool(roles & {"system", "developer"})
            and "user" in roles
            and bool(self._tried(fold_system(turns)))
        )

    @property
    def renames_developer(self) -> bool:
        """The chat template is older than the developer role, which it gets under its former name: system."""
        return "'developer'" not in self._templates and '"developer"' not in self._templates

    def notes(self, request: Request) -> dict[str, Any]:
        """What of a conversation is not sent as it was given."""
        developer = any(m["role"] == "developer" for m in request.messages or ())
        found = {"developer": "sent as system"} if developer and self.renames_developer else {}
        if request.tools and request.tool_choice != "none" and not self.knows_tools:
            found["tools"] = "described in the system message"
        return found

    def _fill(self, prefix: str, suffix: str) -> list[int]:
        """Prefix and suffix with the model's own fill-in-the-middle tokens, prefix first (PSM; Bavarian et al.,
        arXiv 2207.14255)."""
        known = self.hf.get_vocab()
        marks = next((m for m in _FILL if all(mark in known for mark in m)), None)
        if marks is None:
            raise ValueError(
                "suffix needs a model trained to fill in the middle, and this one has no tokens for it "
                f"(such as {', '.join(_FILL[0])}): leave suffix out, or load a code model that has them"
            )
        first, second, last = (known[mark] for mark in marks)
        before, after = (list(self.hf.encode(text, add_special_tokens=False)) for text in (prefix, suffix))
        begin = [self.hf.bos_token_id] if self._plain("")[:1] == [self.hf.bos_token_id] else []
        return [*begin, first, *before, second, *after, last]

    def decode(self, token_ids: Sequence[int], special: bool = True) -> str:
        """The text of token ids, special tokens by their names or left out."""
        return str(self.hf.decode(list(token_ids), skip_special_tokens=not special))

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The bytes of each token id of the model: a special token's are its name, and those of ids that pad the
        model's matrices are empty."""
        from xgrammar import TokenizerInfo

        return list(TokenizerInfo.from_huggingface(self.hf, vocab_size=self._model_ids).decoded_vocab)

    @cached_property
    def ends(self) -> frozenset[int]:
        """The ids that end a text: the tokenizer's own, and those of the model's generation config."""
        from transformers import GenerationConfig

        try:
            found = GenerationConfig.from_pretrained(self._path, revision=self._revision).eos_token_id
        except (OSError, ValueError):  # a model need not have one
            found = None
        more = found if isinstance(found, list) else [found]
        return frozenset(i for i in (self.hf.eos_token_id, *more) if i is not None)

    @cached_property
    def _model_ids(self) -> int | None:
        """How many ids the model gives probabilities to: more than its tokenizer knows, where it is padded."""
        from transformers import AutoConfig

        try:
            config = AutoConfig.from_pretrained(self._path, revision=self._revision)
        except (OSError, ValueError):  # a tokenizer alone
            return None
        return max(int(config.get_text_config().vocab_size), len(self.hf))

    @cached_property
    def hashes(self) -> dict[str, str]:
        """Content hashes of the tokenizer (vocabulary, merges, added tokens) and of the chat template."""
        backend = getattr(self.hf, "backend_tokenizer", None)
        content = backend.to_str() if backend is not None else sorted(self.hf.get_vocab().items())
        return {"tokenizer": digest(content, 8), "chat_template": digest(self.hf.chat_template, 8)}


def _told(turns: Messages, known: Sequence[Tool], choice: str | None) -> Messages:
    """The conversation with its tools described at the front."""
    described = describe(known, choice)
    if turns[0]["role"] in ("system", "developer"):
        return ({**turns[0], "content": f"{turns[0]['content']}\n\n{described}"}, *turns[1:])
    return ({"role": "system", "content": described}, *turns)


def _written(turn: dict[str, Any]) -> dict[str, Any]:
    if turn["role"] == "tool":
        return {"role": "user", "content": f"<tool_response>\n{turn['content']}\n</tool_response>"}
    calls = "\n".join(spelt(call) for call in turn.get("tool_calls", ()))
    return (
        {"role": turn["role"], "content": "\n".join(t for t in (turn["content"], calls) if t)}
        if calls
        else turn
    )


def _with_data(function: dict[str, Any]) -> dict[str, Any]:
    """A call with its arguments as data instead of JSON, where they are JSON."""
    try:
        return {**function, "arguments": json.loads(function["arguments"])}
    except (KeyError, TypeError, ValueError):
        return function
