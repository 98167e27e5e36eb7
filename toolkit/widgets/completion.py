"""CompletionView: a completion for reading: its prompt, each choice, how it ended, and its usage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from toolkit._internal.text import MISSING, plural
from toolkit._internal.value_text import seconds_text, short_number
from toolkit.analysis.logprobs import Logprobs
from toolkit.core.choice import Choice
from toolkit.core.completion import Completion
from toolkit.core.request import Request
from toolkit.core.sampling import NEUTRAL
from toolkit.display.markup import Markup, joined, markup
from toolkit.prompts.messages_html import view
from toolkit.structured.verdict import Verdict, verdict
from toolkit.widgets.base import View, assets, command, escaped, model_text_html, visible
from toolkit.widgets.logprobs import Texts, boxed_html

_MAX_IMAGE = 300_000
"""Characters of an image's data: URL that are sent to the frontend; a larger one is only named."""
_SHOWN_ELSEWHERE = ("seed", "logprobs")
"""Settings left out of the list: the seed has its own entry, and logprobs goes with top_logprobs."""
_DETAILS = "<details><summary>{}</summary>{}</details>"
_BOX = "margin:0 0 6px 0;padding-left:8px;border-left:3px solid "
_MAX_NOTE = 300
"""Characters of a verdict's message or of a fact."""


class CompletionView(View):
    """A completion: its messages or prompt, the text and calls of each choice, finish reason, verdict, usage,
    seconds, fingerprint and seed; where it has log probabilities, its tokens as `LogprobsView` shows them."""

    _esm, _css = assets("completion")

    def __init__(self, completion: Completion) -> None:
        self._completion = completion
        self._logprobs = _logprobs(completion)
        if self._logprobs:  # other completions do not carry these assets
            self._esm, self._css = assets("colored_tokens", "logprobs", "completion")
        super().__init__(
            {
                "request": _request_content(completion.request),
                "choices": [_choice(completion, choice) for choice in completion.choices],
                "facts": _facts(completion),
                "error": completion.error and visible(completion.error),
                "tokens": self._logprobs is not None,
            }
        )

    @cached_property
    def _texts(self) -> Texts:
        if self._logprobs is None:
            raise ValueError("this completion has no log probabilities: ask with top_logprobs=5")
        return Texts(self._logprobs)

    @command
    def tokens(self) -> dict[str, Any]:
        """The initial content of the view of the tokens."""
        return self._texts.content()

    @command
    def text_content(self, number: int) -> dict[str, Any]:
        return self._texts.text(number)

    @command
    def pieces(self, number: int, first: int) -> list[dict[str, Any]]:
        return self._texts.pieces(number, first)

    def html(self) -> Markup:
        content, messages = self.content, self._completion.request.messages or ()
        rest = content["request"]["turns"][len(messages) :]
        turns = joined([boxed_html(view(messages)), *map(_turn_html, rest)])
        prompt = markup(_DETAILS, escaped(content["request"]["title"]), turns)
        choices = joined(_choice_html(choice, len(content["choices"])) for choice in content["choices"])
        if content["error"]:
            choices = markup("<p><b>error</b></p>{}", model_text_html(content["error"]))
        tokens = Markup()
        if self._logprobs:
            tokens = markup(_DETAILS, "tokens", boxed_html(self._logprobs._repr_html_()))
        facts = joined(
            (markup("{} {}", escaped(name), escaped(value)) for name, value in content["facts"]), " · "
        )
        parts = joined([prompt, choices, tokens])
        style = "text-align:left;overflow-wrap:anywhere"
        return markup('<div style="{}">{}<small>{}</small></div>', style, parts, facts)

    def text(self) -> str:
        content = self.content
        turns = [f"{turn['role']}: {turn['text']}" for turn in content["request"]["turns"]]
        choices = [_choice_text(choice, len(content["choices"])) for choice in content["choices"]]
        facts = ", ".join(f"{name} {value}" for name, value in content["facts"])
        response = [f"error: {content['error']}"] if content["error"] else choices
        return "\n".join([*turns, *response, f"[{facts}]"])


def _logprobs(completion: Completion) -> Logprobs | None:
    """None where there are none to show: not requested, logits, or of tokens with unknown bytes."""
    try:
        for choice in completion.choices:
            choice.token_bytes(0)
        return Logprobs(completion.choices)
    except ValueError:
        return None


def _request_content(request: Request) -> dict[str, Any]:
    """The request: a title, and turns of (role, text, images)."""
    turns: list[dict[str, Any]] = [_turn(m) for m in request.messages or ()]
    title = plural(len(turns), "message")
    if request.messages is None:
        title, turns = "prompt", [{"role": "prompt", "text": visible(_prompt(request))}]
        turns += [{"role": "suffix", "text": visible(request.suffix)}] if request.suffix else []
    if request.prefix:
        prefix = request.prefix if isinstance(request.prefix, str) else _token_ids_text(request.prefix)
        turns.append({"role": "prefix of the answer", "text": visible(prefix)})
    if request.tools:
        tools = "\n".join(json.dumps(tool.to_openai(), ensure_ascii=False) for tool in request.tools)
        turns.append({"role": f"tools, tool_choice {request.tool_choice}", "text": visible(tools)})
    if request.response_format:
        text = json.dumps(request.response_format.to_openai(), ensure_ascii=False)
        turns.append({"role": "response_format", "text": visible(text)})
    return {"title": title, "turns": turns}


def _turn(message: Mapping[str, Any]) -> dict[str, Any]:
    content = message["content"]
    parts: list[Any] = [{"type": "text", "text": content}] if isinstance(content, str) else content
    urls = [str(part["image_url"]["url"]) for part in parts if part["type"] != "text"]
    images = [url for url in urls if url.startswith("data:image/") and len(url) <= _MAX_IMAGE]
    lines = [part["text"] for part in parts if part["type"] == "text" and part["text"]]
    lines += [f"[image {url[:80]}]" for url in urls if url not in images]
    calls = (call["function"] for call in message.get("tool_calls") or ())
    lines += [f"→ {call['name']}({call['arguments']})" for call in calls]
    return {"role": message["role"], "text": visible("\n".join(lines)), "images": images}


def _prompt(request: Request) -> str:
    return request.prompt if isinstance(request.prompt, str) else _token_ids_text(request.prompt or ())


def _token_ids_text(ids: tuple[int, ...]) -> str:
    return f"{len(ids)} token ids: {' '.join(map(str, ids))}"


def _choice(completion: Completion, choice: Choice) -> dict[str, Any]:
    """A choice as plain data: its text, tool calls and how it ended."""
    request = completion.request
    response_format = request.response_format
    outcome = None
    if response_format and completion.error is None and not choice.tool_calls:
        if choice is completion.choices[0]:
            outcome = completion.schema_verdict
        else:
            outcome = verdict(choice.text, response_format, choice.finish_reason)
    calls = [
        {
            "name": visible(call.name, 200),
            "arguments": visible(call.arguments),
            "verdict": _badge(call.verdict(request.tools)),
        }
        for call in choice.tool_calls
    ]
    reason = None if choice.stop_reason is None else visible(repr(choice.stop_reason), 80)
    return {
        "index": choice.index,
        "text": visible(choice.text),
        "calls": calls,
        "finish_reason": choice.finish_reason,
        "stop_reason": reason,
        "verdict": _badge(outcome) if outcome else None,
    }


def _badge(outcome: Verdict) -> dict[str, Any]:
    message = str(outcome).removeprefix(outcome.status).removeprefix(": ")
    return {"status": outcome.status, "valid": outcome.valid, "message": visible(message, _MAX_NOTE)}


def _facts(completion: Completion) -> list[tuple[str, str]]:
    """Names and values: those that are known and not neutral."""
    usage, sampling = completion.usage, completion.request.sampling
    cached = f" ({usage.cached_tokens:,} cached)" if usage.cached_tokens else ""
    prompt, generated = (
        MISSING if n is None else f"{n:,}" for n in (usage.prompt_tokens, usage.completion_tokens)
    )
    neutral = {name: value for name, value in NEUTRAL.items() if name != "temperature"}
    settings = {
        n: v for n, v in sampling.given().items() if n not in _SHOWN_ELSEWHERE and neutral.get(n) != v
    }
    times = {
        "seconds": completion.seconds,
        "queued": completion.queued_seconds,
        "first token after": completion.first_token_seconds,
        "decoding": completion.decode_seconds,
    }
    rate = completion.tokens_per_second
    facts = {
        "model": completion.model,
        "tokens": f"{prompt}{cached} + {generated}",
        **{name: seconds and seconds_text(seconds) for name, seconds in times.items()},
        "decoding rate": rate and f"{short_number(rate)} tokens/s",
        "seed": sampling.seed,
        "sampling": ", ".join(f"{n} {v}" for n, v in settings.items()),
        "fingerprint": completion.system_fingerprint,
        "id": completion.id,
    }
    return [(n, visible(str(v), _MAX_NOTE)) for n, v in facts.items() if v not in (None, "")]


def _ending(choice: Mapping[str, Any], count: int) -> str:
    """How a choice ended, in words, and its number among several."""
    number = f"choice {choice['index'] + 1} of {count}: " if count > 1 else ""
    at = f" at {choice['stop_reason']}" if choice["stop_reason"] else ""
    return f"{number}{choice['finish_reason']}{at}"


def _choice_text(choice: Mapping[str, Any], count: int) -> str:
    """A choice as text."""
    calls = [
        f"→ {call['name']}({call['arguments']}) [{_verdict_text(call['verdict'])}]"
        for call in choice["calls"]
    ]
    ending = _ending(choice, count) + (f", {_verdict_text(choice['verdict'])}" if choice["verdict"] else "")
    text = [f"answer: {_text(choice)}"] if _text(choice) else []
    return "\n".join([*text, *calls, f"[{ending}]"])


def _text(choice: Mapping[str, Any]) -> str:
    return choice["text"] or ("" if choice["calls"] else "(no text)")


def _verdict_text(badge: Mapping[str, Any]) -> str:
    return f"{badge['status']}: {badge['message']}" if badge["message"] else str(badge["status"])


def _turn_html(turn: Mapping[str, Any]) -> Markup:
    """A part of the request other than its messages, as HTML."""
    content = escaped(turn["role"]), model_text_html(turn["text"])
    return markup('<div style="{}#777"><small>{}</small>{}</div>', _BOX, *content)


def _choice_html(choice: Mapping[str, Any], count: int) -> Markup:
    """A choice as HTML."""
    calls = joined(
        model_text_html(f"→ {call['name']}({call['arguments']}) {_verdict_text(call['verdict'])}")
        for call in choice["calls"]
    )
    badge = choice["verdict"]
    outcome = markup(" · <b>{}</b> {}", escaped(badge["status"]), escaped(badge["message"])) if badge else ""
    ending = markup("<small>{}{}</small>", escaped(_ending(choice, count)), outcome)
    parts = joined([model_text_html(_text(choice)), calls, ending])
    return markup('<div style="{}#0072b2">{}</div>', _BOX, parts)
