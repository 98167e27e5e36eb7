"""Playground: messages and settings, answers streamed by an engine, and their history."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from toolkit._internal.text import dollars, plural
from toolkit.analysis.token_counts import Count, count_tokens
from toolkit.core.completion import Completion
from toolkit.core.sampling import DEFAULT_MAX_TOKENS, Sampling
from toolkit.display.markup import Markup, joined, markup
from toolkit.engines.base import Engine
from toolkit.engines.loading import load
from toolkit.errors import EngineError, ModelError
from toolkit.models import DEFAULT
from toolkit.pricing.prices import LocalPrice, ModelPrice, model_price
from toolkit.prompts.messages import Message, messages as checked, plain_text
from toolkit.structured.response_format import KINDS
from toolkit.widgets.base import View, assets, command, escaped, model_text_html, plain, visible
from toolkit.widgets.engine_labels import labels, window_of
from toolkit.widgets.playground_draft import (
    CONTROLS,
    MAX_TEXT,
    ROLES,
    Draft,
    Drafts,
    control,
    require_editable,
)
from toolkit.widgets.playground_reply import (
    MAX_VALUE,
    Reply,
    diff_sides,
    facts,
    settings,
    settings_text,
    value_text,
    verdict_badge,
)
from toolkit.widgets.python_source import sweep_code

_PERIOD = 0.05
"""Seconds between messages to the frontend while an answer streams."""
_BOX = "margin:4px 0;padding:2px 8px;border-left:3px solid "


class Playground(View):
    """Messages, sampling parameters and a response format; answers stream in and can be stopped, and are kept in a
    history, where they can be compared, continued, and turned into a sweep.

    engine: None for `toolkit.load()` at the first run. Of several engines one is selected beside the settings; none
    is started before its first run, and none is closed. messages: the initial messages; a string is one user message.
    price: a provider's model by name, a ModelPrice, or a LocalPrice for the time of this machine. sampling: the
    initial values of the controls; fields without a control apply to every answer.

    Raises ValueError or TypeError for bad messages or sampling, TypeError if `engine` is no engine, PriceError for an
    unknown model, EngineError when a server that must report its model's name cannot be reached.

    >>> playground = tk.playground(engine, "What is the capital of France?", temperature=0)  # doctest: +SKIP
    >>> playground = tk.playground([engine, tk.connect("http://localhost:8000/v1")])  # doctest: +SKIP
    """

    _esm, _css = assets("playground_editor", "playground")

    def __init__(
        self,
        engine: Engine | Sequence[Engine] | None = None,
        messages: str | Sequence[Message] = (),
        *,
        price: str | ModelPrice | LocalPrice | None = None,
        **sampling: Any,
    ) -> None:
        self._replies: list[Reply] = []
        self.engines = _engines(engine)
        self._labels = labels(self.engines) if len(self.engines) > 1 else ()
        self.price = price if isinstance(price, LocalPrice) or price is None else model_price(price)
        initial = Sampling(**sampling)
        fixed = {name: value for name, value in initial.given().items() if name not in CONTROLS}
        self._drafts = Drafts(fixed)
        self._lock = threading.Lock()
        self._views = 0
        turns = require_editable(checked(messages)) if messages else ({"role": "user", "content": ""},)
        self._initial_settings = settings(initial, None)
        super().__init__(
            {
                "roles": ROLES,
                "kinds": KINDS,
                "controls": [control(name) for name in CONTROLS],
                "fixed": [f"{name} {value_text(value)}" for name, value in fixed.items()],
                "draft": self._drafts.draft(turns, initial, None),
                "history": [],
                "model": self._model,
                "models": self._labels,
            }
        )

    @property
    def _model(self) -> str:
        if not self.engines:
            return f"{DEFAULT}, loaded by the first run"
        return ", ".join(self._labels) or visible(str(self.engines[0].model), MAX_VALUE)

    def _engine(self, draft: Draft) -> Engine | None:
        """The selected engine; None before it is loaded."""
        return self.engines[draft["model"]] if self.engines else None

    @property
    def replies(self) -> tuple[Reply, ...]:
        """All answers, the oldest first, including those that were stopped or failed."""
        return tuple(self._replies)

    @property
    def history(self) -> list[Completion]:
        """The completions, the oldest first. A stopped answer has none; its text is in `replies`."""
        return [reply.completion for reply in self._replies if reply.completion is not None]

    @property
    def running(self) -> bool:
        """Whether an answer is being generated."""
        return any(reply.state == "running" for reply in self._replies)

    @command
    def stop(self) -> None:
        """Stops the running answer at its next token, and its generation in the engine; the text so far is kept."""
        for reply in self._replies:
            reply.stop.set()

    def close(self) -> None:
        """Closes the widget, and stops the running answer."""
        self.stop()
        super().close()

    # Commands of the frontend. All return at once: replies are generated in a thread.

    @command
    def view_opened(self) -> None:
        """A view was opened: it is notified of a running answer."""
        self._views += 1
        with self._lock:
            for reply in self._replies:
                if reply.state == "running":
                    self.notify("reply_started", self._reply_content(reply))

    @command
    def view_closed(self) -> None:
        """A view was closed; with the last one (the cell was run again, or cleared) the running answer stops."""
        self._views -= 1
        if self._views <= 0:
            self.stop()

    @command
    def run(self, draft: Draft) -> Any:
        request, errors = self._drafts.request(draft)
        if request is None:
            return {"errors": errors}
        with self._lock:
            if self.running:
                return {"errors": {"run": "an answer is being generated: wait for its end, or stop it first"}}
            size = request.sampling.n or 1
            reply = Reply(
                len(self._replies) + 1, request, self._engine(draft), texts=[""] * size, sent=[0] * size
            )
            self._replies.append(reply)
            self.notify("reply_started", self._reply_content(reply))
        threading.Thread(target=self._run, args=(reply,), name="toolkit-playground", daemon=True).start()
        return {"errors": {}}

    @command
    def prompt_size(self, draft: Draft) -> Any:
        """Tokens of the prompt, the context window, and the expected cost."""
        request, errors = self._drafts.request(draft)
        if request is None:
            return {"errors": errors}
        engine = self._engine(draft)
        try:
            tokens = count_tokens(request, engine)
            window = window_of(engine)
        except (ValueError, EngineError, ModelError) as error:
            note = str(error) if engine else "tokens are counted once the engine is loaded, by the first run"
            return {"errors": {}, "note": visible(note, 600)}
        max_tokens = request.sampling.max_tokens or DEFAULT_MAX_TOKENS
        return {
            "errors": {},
            "tokens": int(tokens),
            "how": f"{'about, by ' if tokens.estimate else 'exact, by '}{tokens.how}",
            "estimate": tokens.estimate,
            "answer": max_tokens,
            "window": window,
            "cost": self._expected_cost(tokens, max_tokens * (request.sampling.n or 1)),
        }

    @command
    def reply(self, number: int) -> Any:
        return self._reply_content(self._replies[number - 1])

    @command
    def reply_draft(self, number: int) -> Any:
        """The draft of an answer's messages, model and settings, to edit and run again."""
        return self._draft_of(self._replies[number - 1])

    @command
    def continuation(self, number: int, choice: int) -> Any:
        """The same draft with the answer as the assistant's message, and an empty user message after it."""
        reply = self._replies[number - 1]
        answer = {"role": "assistant", "content": reply.texts[choice]}
        return self._draft_of(reply, answer, {"role": "user", "content": ""})

    def _draft_of(self, reply: Reply, *added: Message) -> Any:
        """The draft of the same request to the same engine, with more messages after it."""
        request = reply.request
        model = self.engines.index(reply.engine) if reply.engine else 0
        turns = (*(request.messages or ()), *added)
        return self._drafts.draft(turns, request.sampling, request.response_format, model)

    @command
    def code(self, draft: Draft) -> Any:
        request, errors = self._drafts.request(draft)
        return {"errors": errors} if request is None else {"code": sweep_code(request, self._engine(draft))}

    @command
    def compare(self, first: int, second: int) -> Any:
        """Two answers side by side: settings that differ, and a word diff of their texts."""
        left, right = self._replies[first - 1], self._replies[second - 1]
        both = [self._settings(reply) for reply in (left, right)]
        names = [n for n in {**both[0], **both[1]} if both[0].get(n) != both[1].get(n)]
        return {
            "sides": [self._reply_content(left), self._reply_content(right)],
            "differ": [
                [n, *(value_text(values[n]) if n in values else "–" for values in both)] for n in names
            ],
            "messages": left.request.messages == right.request.messages,
            "texts": diff_sides(visible(left.texts[0], MAX_TEXT), visible(right.texts[0], MAX_TEXT)),
        }

    # The thread that generates a reply

    def _run(self, reply: Reply) -> None:
        began = time.monotonic()
        try:
            self._stream(reply)
            state = "done" if reply.completion else "stopped"
        except Exception as error:  # noqa: BLE001  # a thread has no caller: the frontend shows it
            reply.error, state = str(error) or type(error).__name__, "error"
        reply.seconds = time.monotonic() - began
        reply.state = state
        self._finish(reply)

    def _finish(self, reply: Reply) -> None:
        """Adds a finished answer to the content, and notifies the views."""
        history = [self._reply_content(r, brief=r is not reply) for r in self._replies]
        draft = self._draft_of(reply)
        self.content = {**self.content, **plain({"history": history, "draft": draft, "model": self._model})}
        self.notify("reply_finished", self._reply_content(reply))

    def _stream(self, reply: Reply) -> None:
        if reply.engine is None:
            reply.engine = load()
            self.engines = (reply.engine,)
        reply.model = reply.engine.model
        last = -math.inf  # the first piece is sent at once, even where the clock has just started
        with contextlib.closing(reply.engine.stream_request(reply.request)) as deltas:  # type: ignore[type-var]
            for delta in deltas:
                reply.texts[delta.index] += delta.text
                reply.completion = delta.completion
                if reply.stop.is_set():
                    reply.fingerprint = reply.engine.fingerprint.id
                    break
                if (now := time.monotonic()) - last >= _PERIOD:
                    self._send_text(reply)
                    last = now
        if c := reply.completion:
            reply.texts = [choice.text for choice in c.choices]
            reply.model, reply.fingerprint = c.model, c.system_fingerprint

    def _send_text(self, reply: Reply) -> None:
        """Sends the new text of each choice to all views, as (choice, text). The lock keeps views from opening
        meanwhile, which would get it twice."""
        deltas = []
        with self._lock:
            for choice, text in enumerate(reply.texts):
                begin, end = reply.sent[choice], min(len(text), MAX_TEXT)
                if begin < end:
                    deltas.append((choice, visible(text[begin:end])))
                    reply.sent[choice] = end
            if deltas:
                self.notify("reply_text", {"number": reply.number, "deltas": deltas})

    # The content of an answer

    def _reply_content(self, reply: Reply, brief: bool = False) -> dict[str, Any]:
        limit = MAX_VALUE if brief else MAX_TEXT
        return {
            "number": reply.number,
            "state": reply.state,
            "brief": brief,
            "error": visible(reply.error, 2000),
            "model": visible(reply.model, MAX_VALUE) or self._model,
            "settings": settings_text(self._settings(reply)),
            "texts": [visible(text, limit) for text in reply.sent_texts],
            "reasons": [c.finish_reason for c in reply.completion.choices] if reply.completion else [],
            "facts": facts(reply, self.price),
            "verdict": verdict_badge(reply),
        }

    def _settings(self, reply: Reply) -> dict[str, Any]:
        """The settings of an answer, with the model where there are several."""
        values = settings(reply.request.sampling, reply.request.response_format)
        if not self._labels or reply.engine is None:
            return values
        return {"model": self._labels[self.engines.index(reply.engine)], **values}

    def _expected_cost(self, tokens: Count, max_tokens: int) -> str | None:
        """The cost of the prompt, and with the longest answer; None for a price of time, unknown beforehand."""
        if not isinstance(self.price, ModelPrice):
            return None
        low, high = (float(self.price.of(int(tokens), answer)) for answer in (0, max_tokens))
        return f"{dollars(low)} for the prompt, at most {dollars(high)} with the answer ({self.price.model})"

    # Static output

    def html(self) -> Markup:
        head = markup("<b>Playground</b> <small>{}</small>", escaped(self._model))
        turns = _messages_html(self.content["draft"]["messages"])
        draft = markup("{}<small>{}</small>", turns, escaped(settings_text(self._initial_settings)))
        replies = [self._reply_html(reply) for reply in self._replies]
        return markup("<div style='overflow-wrap:anywhere'>{}</div>", joined([head, *(replies or [draft])]))

    def _reply_html(self, reply: Reply) -> Markup:
        content = self._reply_content(reply)
        facts = joined(
            (markup("{} <b>{}</b>", escaped(name), escaped(value)) for name, value in _facts(content)), " · "
        )
        texts = joined(map(model_text_html, reply.texts))
        error = markup('<p style="color:#b3261e">{}</p>', escaped(reply.error, 2000)) if reply.error else ""
        messages = _messages_html([self._drafts.message(turn) for turn in reply.request.messages or ()])
        settings = escaped(content["settings"])
        head = markup("<b>#{}</b> {} <small>{}</small>", reply.number, reply.state, settings)
        answer = markup('<div style="{}#009e73">{}{}</div>', _BOX, texts, error)
        parts = joined([head, messages, answer])
        return markup('<div style="margin:10px 0">{}<small>{}</small></div>', parts, facts)

    def text(self) -> str:
        head = f"Playground on {self._model}, {plural(len(self._replies), 'answer')}"
        if self._replies:
            return "\n".join([head, *map(self._reply_text, self._replies)])
        turns = [_message_text(turn["role"], turn["text"]) for turn in self.content["draft"]["messages"]]
        return "\n".join([head, *turns, f"[{settings_text(self._initial_settings)}]"])

    def _reply_text(self, reply: Reply) -> str:
        content = self._reply_content(reply)
        turns = [_message_text(turn["role"], plain_text(turn)) for turn in reply.request.messages or ()]
        texts = [_message_text("answer", text) for text in reply.texts]
        error = [visible(reply.error, 2000)] if reply.error else []
        facts = ", ".join(f"{name} {value}" for name, value in _facts(content))
        return "\n".join(
            [f"#{reply.number} {reply.state}; {content['settings']}", *turns, *texts, *error, f"[{facts}]"]
        )


def _engines(engine: Engine | Sequence[Engine] | None) -> tuple[Engine, ...]:
    """The engines as a tuple. Raises TypeError for anything else than an engine or several."""
    engines = engine if isinstance(engine, Sequence) else [] if engine is None else [engine]
    if not all(isinstance(item, Engine) for item in engines) or not (engines or engine is None):
        raise TypeError("engine must be an engine, a list of engines, or None for toolkit.load()")
    return tuple(dict.fromkeys(engines))


def _facts(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The facts of an answer, with its verdict."""
    verdict = [("verdict", content["verdict"][2])] if content["verdict"] else []
    return [*((name, value) for name, value, _ in content["facts"]), *verdict]


def _message_text(role: str, text: str) -> str:
    return f"{role}: {visible(text, MAX_TEXT)}"


def _messages_html(turns: Sequence[Draft]) -> Markup:
    rows = (
        markup("<small>{}</small>{}", escaped(turn["role"]), model_text_html(turn["text"])) for turn in turns
    )
    return markup('<div style="{}#0072b2">{}</div>', _BOX, joined(rows))
