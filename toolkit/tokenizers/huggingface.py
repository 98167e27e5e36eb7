"""Tokenizer: messages and text to token IDs, with the model's own chat template."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from toolkit._internal.hashing import digest
from toolkit.core.choice import Vocabulary
from toolkit.core.request import Request, check_token_ids
from toolkit.errors import ModelError
from toolkit.prompts.messages import Messages, check_tool_calls, fold_system
from toolkit.structured.response_format import ResponseFormat
from toolkit.structured.special_tokens import check_special_tokens
from toolkit.structured.tools import Tool, format_tool_call, tool, tools_prompt
from toolkit.tokenizers.tool_call_formats import FILL_IN_TOKENS, TOOL_CALL_MARKS

_CACHE_SIZE = 4096
"""Most conversations whose token IDs are cached."""
_DEFAULT_TOOL_FORMAT = "hermes"
"""The format that most model families write."""
_PROBE_TOOL = {"type": "function", "function": {"name": "probe", "description": "A zebra.", "parameters": {}}}
_FOLD_HINT = (
    "The model takes no system message: toolkit.fold_system(messages), or Prompt(fold_system=True), puts its text "
    "before the first user message"
)


class Tokenizer:
    """A model's tokenizer and chat template, loaded with transformers: no engine needed."""

    def __init__(self, path: str, revision: str | None = None) -> None:
        try:
            from transformers import AutoTokenizer
        except ImportError:
            raise ModelError(
                f"the tokenizer of {path} needs transformers: pip install 'vllm-toolkit[engine]'"
            ) from None
        try:
            self.hf: Any = AutoTokenizer.from_pretrained(path, revision=revision)
        except (OSError, ValueError) as error:
            raise ModelError(f"{path} has no tokenizer that transformers can load: {error}") from error
        self._path, self._revision = path, revision
        self.name = Path(path).name
        self._cache: dict[str, tuple[int, ...]] = {}

    def encode(self, request: Request) -> tuple[int, ...]:
        """The token IDs of a request's prompt, or of its conversation in the chat template: (P,).

        Raises ValueError when the model has no chat template, its template rejects the conversation, or a token ID is
        not in its vocabulary.
        """
        if isinstance(request.prompt, tuple) or isinstance(request.prefix, tuple):
            check_token_ids(request, self.name, self.size)
        # Sweeps send the same conversation under many settings: it is rendered once.
        ids = self._cache.get(request.input)
        if ids is None:
            if len(self._cache) >= _CACHE_SIZE:
                self._cache.clear()
            ids = self._cache[request.input] = tuple(self._encode(request))
        return ids

    def _encode(self, request: Request) -> list[int] | tuple[int, ...]:
        if isinstance(request.prompt, tuple):
            return request.prompt
        if request.prompt is not None:
            text, suffix = request.prompt, request.suffix
            return self._encode_fill_in(text, suffix) if suffix else self._encode_text(text)
        if not self.hf.chat_template:
            raise ValueError("the model has no chat template: use engine.complete(text), or a chat model")
        turns = request.messages or ()
        check_tool_calls(turns)
        tools = () if request.tool_choice == "none" else request.tools
        if any("tool_calls" in m for m in turns) and not self.shows_calls:
            turns = tuple(_with_calls_as_text(m) for m in turns)
        if tools and not self.knows_tools:
            turns, tools = _with_described_tools(turns, tools, request.tool_choice), ()
        try:
            return self._render(turns, tools)
        except Exception as error:
            hint = f". {_FOLD_HINT}" if self._accepts_folded(turns) else ""
            raise ValueError(f"the model's chat template refuses these messages: {error}{hint}") from error

    def prefix(self, request: Request) -> tuple[int, ...]:
        """The token IDs of the request's prefix, which follow those of the prompt.

        After a text prompt they are those in the encoding of prompt + prefix, if the prompt's tokens stay the same
        there; else, and in a chat, the prefix is tokenized by itself, since a model continues from given tokens.
        """
        prefix, prompt = request.prefix, request.prompt
        if prefix is None or isinstance(prefix, tuple):
            return prefix or ()
        if isinstance(prompt, str):
            prompt_ids, all_ids = self._encode_text(prompt), self._encode_text(prompt + prefix)
            if all_ids[: len(prompt_ids)] == prompt_ids:
                return tuple(all_ids[len(prompt_ids) :])
        return tuple(self.hf.encode(prefix, add_special_tokens=False))

    def _encode_text(self, text: str) -> list[int]:
        return list(self.hf.encode(text))

    def _render(self, turns: Messages, tools: Sequence[Tool] = ()) -> list[int]:
        sent = [self._sent_message(m) for m in self._merged_system(turns)]
        schemas = [t.to_openai() for t in tools] or None
        return list(
            self.hf.apply_chat_template(sent, tools=schemas, add_generation_prompt=True, return_dict=False)
        )

    def _render_or_none(self, turns: Messages, tools: Sequence[Tool] = ()) -> list[int] | None:
        """The result of `_render`; None where the template rejects the conversation."""
        try:
            return self._render(turns, tools)
        except Exception:  # noqa: BLE001  # templates may raise anything
            return None

    @cached_property
    def knows_tools(self) -> bool:
        """Whether the chat template renders the tools passed to it."""
        turns: Messages = ({"role": "user", "content": "-"},)
        without, with_tool = self._render_or_none(turns), self._render_or_none(turns, [tool(_PROBE_TOOL)])
        return without is not None and with_tool is not None and without != with_tool

    @cached_property
    def shows_calls(self) -> bool:
        """Whether the chat template renders the tool calls of earlier turns instead of losing them."""
        function = {"name": "zebra", "arguments": '{"zebra": 1}'}
        call = {"id": "c00000000", "type": "function", "function": function}
        turns = ({"role": "user", "content": "-"}, {"role": "assistant", "content": "", "tool_calls": [call]})
        ids = self._render_or_none(turns)
        return ids is not None and "zebra" in self.decode(tuple(ids))

    @property
    def tool_format(self) -> str:
        """The name of vLLM's parser for the calls that this model writes: from the marks in its template, or guessed
        (`guesses_calls`); for a template without tools, of the format that `tools_prompt` asks for."""
        return (self._parser_from_marks if self.knows_tools else None) or _DEFAULT_TOOL_FORMAT

    @property
    def guesses_calls(self) -> bool:
        """Whether the template renders tools, but has no known marks of a call format."""
        return self.knows_tools and self._parser_from_marks is None

    @property
    def _parser_from_marks(self) -> str | None:
        text = self._template_text
        return next((name for marks, name in TOOL_CALL_MARKS if all(mark in text for mark in marks)), None)

    @property
    def _template_text(self) -> str:
        """The text of the chat template, or of all of them: some models have a separate one for tools."""
        template = self.hf.chat_template
        return "\n".join(template.values()) if isinstance(template, dict) else template or ""

    def _merged_system(self, turns: Messages) -> Messages:
        """As in vLLM: for a template without the developer role, all system and developer text becomes one system
        message at the front, for templates that accept only one there."""
        if not self.renames_developer or not any(m["role"] == "developer" for m in turns):
            return turns
        system_roles = ("system", "developer")
        text = "\n\n".join(m["content"] for m in turns if m["role"] in system_roles)
        return ({"role": "system", "content": text}, *(m for m in turns if m["role"] not in system_roles))

    def _sent_message(self, turn: dict[str, Any]) -> dict[str, Any]:
        """A message as chat templates expect it: arguments of calls as data, content as parts where needed."""
        calls = [{**c, "function": _with_data_arguments(c["function"])} for c in turn.get("tool_calls") or ()]
        content = [{"type": "text", "text": turn["content"]}] if self._needs_parts else turn["content"]
        return {**turn, "content": content, **({"tool_calls": calls} if calls else {})}

    @cached_property
    def _needs_parts(self) -> bool:
        """Whether the chat template loops over content parts, and would lose content that is a string."""
        probe = "zebra"
        try:
            text = self.hf.apply_chat_template([{"role": "user", "content": probe}], tokenize=False)
        except Exception:  # noqa: BLE001  # templates may raise anything; a real message shows the error
            return False
        return probe not in text

    def _accepts_folded(self, turns: Messages) -> bool:
        """Whether the template accepts the conversation with its system text in the first user message."""
        roles = {m["role"] for m in turns}
        return (
            bool(roles & {"system", "developer"})
            and "user" in roles
            and bool(self._render_or_none(fold_system(turns)))
        )

    @property
    def renames_developer(self) -> bool:
        """Whether the chat template lacks the developer role, which is then sent under its former name: system."""
        return "'developer'" not in self._template_text and '"developer"' not in self._template_text

    def notes(self, request: Request) -> dict[str, Any]:
        """The parts of a conversation that are not sent as given."""
        developer = any(m["role"] == "developer" for m in request.messages or ())
        changes = {"developer": "sent as system"} if developer and self.renames_developer else {}
        if request.tools and request.tool_choice != "none" and not self.knows_tools:
            changes["tools"] = "described in the system message"
        return changes

    def _encode_fill_in(self, prefix: str, suffix: str) -> list[int]:
        """Prefix and suffix in the model's own fill-in-the-middle tokens, prefix first (PSM; Bavarian et al.,
        arXiv 2207.14255)."""
        vocabulary = self.hf.get_vocab()
        marks = next((m for m in FILL_IN_TOKENS if all(mark in vocabulary for mark in m)), None)
        if marks is None:
            raise ValueError(
                "suffix needs a model trained to fill in the middle, and this one has no tokens for it "
                f"(such as {', '.join(FILL_IN_TOKENS[0])}): leave suffix out, or load a code model that has them"
            )
        before_prefix, before_suffix, before_middle = (vocabulary[mark] for mark in marks)
        prefix_ids, suffix_ids = (
            list(self.hf.encode(text, add_special_tokens=False)) for text in (prefix, suffix)
        )
        start = [self.hf.bos_token_id] if self._encode_text("")[:1] == [self.hf.bos_token_id] else []
        return [*start, before_prefix, *prefix_ids, before_suffix, *suffix_ids, before_middle]

    @cached_property
    def special_tokens(self) -> tuple[str, ...]:
        """The names of the special tokens."""
        added = self.hf.added_tokens_decoder.values()
        return tuple(dict.fromkeys([*self.hf.all_special_tokens, *(t.content for t in added if t.special)]))

    def check_format(self, response_format: ResponseFormat) -> None:
        """Raises ValueError for a response format with the name of a special token, which no answer can contain."""
        check_special_tokens(response_format, self.special_tokens)

    def decode(self, token_ids: Sequence[int], special: bool = True) -> str:
        """The text of token IDs, special tokens by their names or omitted."""
        return str(self.hf.decode(list(token_ids), skip_special_tokens=not special))

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The bytes of each token ID of the model: a special token's are its name, and those of IDs that pad the
        model's matrices are empty."""
        from xgrammar import TokenizerInfo

        return list(TokenizerInfo.from_huggingface(self.hf, vocab_size=self._vocabulary_size).decoded_vocab)

    @cached_property
    def ends(self) -> frozenset[int]:
        """The IDs that end a text: the tokenizer's own, and those of the model's generation config."""
        from transformers import GenerationConfig

        try:
            configured = GenerationConfig.from_pretrained(self._path, revision=self._revision).eos_token_id
        except (OSError, ValueError):  # a model need not have one
            configured = None
        ids = configured if isinstance(configured, list) else [configured]
        return frozenset(i for i in (self.hf.eos_token_id, *ids) if i is not None)

    @cached_property
    def _vocabulary_size(self) -> int | None:
        """The number of IDs that the model gives probabilities to: more than its tokenizer's, where it is padded."""
        from transformers import AutoConfig

        try:
            config = AutoConfig.from_pretrained(self._path, revision=self._revision)
        except (OSError, ValueError):  # a tokenizer without a model
            return None
        return max(int(config.get_text_config().vocab_size), len(self.hf))

    @cached_property
    def size(self) -> int:
        """The number of token IDs."""
        return self._vocabulary_size or len(self.hf)

    @cached_property
    def hashes(self) -> dict[str, str]:
        """Content hashes of the tokenizer (vocabulary, merges, added tokens) and of the chat template."""
        backend = getattr(self.hf, "backend_tokenizer", None)
        content = backend.to_str() if backend is not None else sorted(self.hf.get_vocab().items())
        return {"tokenizer": digest(content, 8), "chat_template": digest(self.hf.chat_template, 8)}


def _with_described_tools(turns: Messages, tools: Sequence[Tool], choice: str | None) -> Messages:
    """The conversation with its tools described in the system message."""
    description = tools_prompt(tools, choice)
    if turns[0]["role"] in ("system", "developer"):
        return ({**turns[0], "content": f"{turns[0]['content']}\n\n{description}"}, *turns[1:])
    return ({"role": "system", "content": description}, *turns)


def _with_calls_as_text(turn: dict[str, Any]) -> dict[str, Any]:
    """A message with its tool calls, or the result of one, as text."""
    if turn["role"] == "tool":
        return {"role": "user", "content": f"<tool_response>\n{turn['content']}\n</tool_response>"}
    calls = "\n".join(format_tool_call(call) for call in turn.get("tool_calls", ()))
    return (
        {"role": turn["role"], "content": "\n".join(t for t in (turn["content"], calls) if t)}
        if calls
        else turn
    )


def _with_data_arguments(function: dict[str, Any]) -> dict[str, Any]:
    """A call with its arguments as data, where they are valid JSON."""
    try:
        return {**function, "arguments": json.loads(function["arguments"])}
    except (KeyError, TypeError, ValueError):
        return function
