"""CompletionView: a completion as people read it: what was asked, each answer, how it ended and what it took."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from toolkit.choice import Choice
from toolkit.completion import Completion
from toolkit.findings import many
from toolkit.logprobs import Logprobs
from toolkit.messages import view
from toolkit.request import Request
from toolkit.sampling import NEUTRAL
from toolkit.verdict import Verdict, verdict
from toolkit.widgets.logprobs import Texts, inside
from toolkit.widgets.view import View, assets, escaped, said, visible

_PICTURE = 300_000
"""Characters of an image's data: URL that are sent to the browser; a larger one is only named."""
_SAID = ("seed", "logprobs")
"""What is told elsewhere: the seed has a place of its own, and logprobs go with top_logprobs."""
_BOX = "margin:0 0 6px 0;padding-left:8px;border-left:3px solid "
_NOTE = 300
"""Characters of what a verdict says."""


class CompletionView(View):
    """A completion: its messages or prompt, the text and calls of each choice, finish reason, verdict, usage,
    seconds, fingerprint and seed; where it has log probabilities, its tokens as `LogprobsView` shows them."""

    _esm, _css = assets("completion")

    def __init__(self, completion: Completion) -> None:
        self._completion = completion
        self._logprobs = _logprobs(completion)
        if self._logprobs:  # what most completions cannot use they need not carry
            self._esm, self._css = assets("strip", "logprobs", "completion")
        super().__init__(
            {
                "asked": _asked(completion.request),
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

    def do_tokens(self) -> dict[str, Any]:
        """What the view of the tokens begins with."""
        return self._texts.content()

    def do_text(self, number: int) -> dict[str, Any]:
        return self._texts.text(number)

    def do_pieces(self, number: int, first: int) -> list[dict[str, Any]]:
        return self._texts.pieces(number, first)

    def html(self) -> str:
        content, messages = self.content, self._completion.request.messages or ()
        rest = content["asked"]["turns"][len(messages) :]
        turns = inside(view(messages)) + "".join(map(_turn_html, rest))
        asked = f"<details><summary>{escaped(content['asked']['title'])}</summary>{turns}</details>"
        answers = "".join(_answer(choice, len(content["choices"])) for choice in content["choices"])
        if content["error"]:
            answers = f"<p><b>error</b></p>{said(content['error'])}"
        told = ""
        if self._logprobs:
            told = f"<details><summary>tokens</summary>{inside(self._logprobs._repr_html_())}</details>"
        facts = " · ".join(f"{escaped(name)} {escaped(value)}" for name, value in content["facts"])
        style = "text-align:left;overflow-wrap:anywhere"
        return f'<div style="{style}">{asked}{answers}{told}<small>{facts}</small></div>'

    def text(self) -> str:
        content = self.content
        asked = [f"{turn['role']}: {turn['text']}" for turn in content["asked"]["turns"]]
        answers = [_plain(choice, len(content["choices"])) for choice in content["choices"]]
        facts = ", ".join(f"{name} {value}" for name, value in content["facts"])
        answered = [f"error: {content['error']}"] if content["error"] else answers
        return "\n".join([*asked, *answered, f"[{facts}]"])


def _logprobs(completion: Completion) -> Logprobs | None:
    """None where there are none that can be shown: not asked for, logits, or of tokens that nobody knows."""
    try:
        for choice in completion.choices:
            choice.token_bytes(0)
        return Logprobs(completion.choices)
    except ValueError:
        return None


def _asked(request: Request) -> dict[str, Any]:
    """What was asked: a title, and turns of (role, text, images)."""
    turns: list[dict[str, Any]] = [_turn(m) for m in request.messages or ()]
    title = many(len(turns), "message")
    if request.messages is None:
        title, turns = "prompt", [{"role": "prompt", "text": visible(_prompt(request))}]
        turns += [{"role": "suffix", "text": visible(request.suffix)}] if request.suffix else []
    if request.prefix:
        prefix = request.prefix if isinstance(request.prefix, str) else _ids(request.prefix)
        turns.append({"role": "prefix of the answer", "text": visible(prefix)})
    if request.tools:
        named = "\n".join(json.dumps(tool.to_openai(), ensure_ascii=False) for tool in request.tools)
        turns.append({"role": f"tools, tool_choice {request.tool_choice}", "text": visible(named)})
    if request.response_format:
        form = json.dumps(request.response_format.to_openai(), ensure_ascii=False)
        turns.append({"role": "response_format", "text": visible(form)})
    return {"title": title, "turns": turns}


def _turn(message: Mapping[str, Any]) -> dict[str, Any]:
    content = message["content"]
    parts: list[Any] = [{"type": "text", "text": content}] if isinstance(content, str) else content
    urls = [str(part["image_url"]["url"]) for part in parts if part["type"] != "text"]
    shown = [url for url in urls if url.startswith("data:image/") and len(url) <= _PICTURE]
    lines = [part["text"] for part in parts if part["type"] == "text" and part["text"]]
    lines += [f"[image {url[:80]}]" for url in urls if url not in shown]
    calls = (call["function"] for call in message.get("tool_calls") or ())
    lines += [f"→ {call['name']}({call['arguments']})" for call in calls]
    return {"role": message["role"], "text": visible("\n".join(lines)), "images": shown}


def _prompt(request: Request) -> str:
    return request.prompt if isinstance(request.prompt, str) else _ids(request.prompt or ())


def _ids(ids: tuple[int, ...]) -> str:
    return f"{len(ids)} token ids: {' '.join(map(str, ids))}"


def _choice(completion: Completion, choice: Choice) -> dict[str, Any]:
    """A choice as plain data: its text, calls and how it ended."""
    request = completion.request
    form = request.response_format
    found = None
    if form and completion.error is None and not choice.tool_calls:
        first = choice is completion.choices[0]
        found = completion.schema_verdict if first else verdict(choice.text, form, choice.finish_reason)
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
        "verdict": _badge(found) if found else None,
    }


def _badge(found: Verdict) -> dict[str, Any]:
    told = str(found).removeprefix(found.status).removeprefix(": ")
    return {"status": found.status, "valid": found.valid, "told": visible(told, _NOTE)}


def _facts(completion: Completion) -> list[tuple[str, str]]:
    """Names and values, those that are known and not neutral."""
    usage, sampling = completion.usage, completion.request.sampling
    cached = f" ({usage.cached_tokens:,} cached)" if usage.cached_tokens else ""
    apart = {name: value for name, value in NEUTRAL.items() if name != "temperature"}
    given = {n: v for n, v in sampling.given().items() if n not in _SAID and apart.get(n) != v}
    first = completion.first_token_seconds
    facts = {
        "model": completion.model,
        "tokens": f"{usage.prompt_tokens:,}{cached} + {usage.completion_tokens:,}",
        "seconds": completion.seconds and f"{completion.seconds:.2f}",
        "first token after": first and f"{first:.2f} s",
        "seed": sampling.seed,
        "sampling": ", ".join(f"{n} {v}" for n, v in given.items()),
        "fingerprint": completion.system_fingerprint,
        "id": completion.id,
    }
    return [(n, visible(str(v), _NOTE)) for n, v in facts.items() if v not in (None, "")]


def _ended(choice: Mapping[str, Any], count: int) -> str:
    """How a choice ended, in words, and which it is of several."""
    number = f"choice {choice['index'] + 1} of {count}: " if count > 1 else ""
    at = f" at {choice['stop_reason']}" if choice["stop_reason"] else ""
    return f"{number}{choice['finish_reason']}{at}"


def _plain(choice: Mapping[str, Any], count: int) -> str:
    """A choice as text."""
    calls = [
        f"→ {call['name']}({call['arguments']}) [{_verdict(call['verdict'])}]" for call in choice["calls"]
    ]
    ended = _ended(choice, count) + (f", {_verdict(choice['verdict'])}" if choice["verdict"] else "")
    text = [f"answer: {_text(choice)}"] if _text(choice) else []
    return "\n".join([*text, *calls, f"[{ended}]"])


def _text(choice: Mapping[str, Any]) -> str:
    return choice["text"] or ("" if choice["calls"] else "(no text)")


def _verdict(badge: Mapping[str, Any]) -> str:
    return f"{badge['status']}: {badge['told']}" if badge["told"] else str(badge["status"])


def _turn_html(turn: Mapping[str, Any]) -> str:
    """What was asked beside messages, as HTML."""
    return f'<div style="{_BOX}#777"><small>{escaped(turn["role"])}</small>{said(turn["text"])}</div>'


def _answer(choice: Mapping[str, Any], count: int) -> str:
    """A choice as HTML."""
    calls = "".join(
        said(f"→ {call['name']}({call['arguments']}) {_verdict(call['verdict'])}") for call in choice["calls"]
    )
    found = choice["verdict"]
    form = f" · <b>{escaped(found['status'])}</b> {escaped(found['told'])}" if found else ""
    ended = f"<small>{escaped(_ended(choice, count))}{form}</small>"
    return f'<div style="{_BOX}#0072b2">{said(_text(choice))}{calls}{ended}</div>'
