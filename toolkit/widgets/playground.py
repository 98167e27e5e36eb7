"""Playground: messages and settings, answered piece by piece by an engine; what was answered is kept."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from toolkit.completion import Completion
from toolkit.count import Count, count_tokens
from toolkit.engine import Engine, EngineError, load
from toolkit.findings import many
from toolkit.messages import Message, plain_text
from toolkit.messages import messages as checked
from toolkit.models import DEFAULT, ModelError
from toolkit.prices import LocalPrice, ModelPrice, dollars, model_price
from toolkit.sampling import DEFAULT_MAX_TOKENS, Sampling
from toolkit.schema import KINDS
from toolkit.widgets.code import sweep_code
from toolkit.widgets.draft import CONTROLS, ROLES, SHOWN, Draft, Drafts, control, editable
from toolkit.widgets.engines import labels, window_of
from toolkit.widgets.reply import (
    BRIEF,
    Reply,
    brief,
    facts,
    judged,
    line,
    settings,
    sides,
)
from toolkit.widgets.view import View, assets, escaped, plain, said, visible

_PERIOD = 0.05
"""Seconds between messages to the browser while an answer comes."""
_BOX = "margin:4px 0;padding:2px 8px;border-left:3px solid "


class Playground(View):
    """Messages, settings and the form of the answer, which streams in and can be stopped; what was answered is kept,
    compared, continued, and made a sweep of.

    engine: None for `toolkit.load()` at the first run. Of several the one that answers is chosen beside the settings;
    none is started before it is asked, nor closed. messages: what the editor begins with; a string is one user
    message. price: of a provider's model by name, a ModelPrice, or a LocalPrice for the time of this machine.
    sampling: what the controls begin with; fields that have no control hold for every answer.

    Raises ValueError or TypeError for bad messages or sampling, TypeError for what is no engine, PriceError for an
    unknown model, EngineError when a server that must tell its model's name cannot be reached.

    >>> playground = tk.playground(engine, "What is the capital of France?", temperature=0)  # doctest: +SKIP
    >>> playground = tk.playground([engine, tk.connect("http://localhost:8000/v1")])  # doctest: +SKIP
    """

    _esm, _css = assets("playground")

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
        begun = Sampling(**sampling)
        fixed = {name: value for name, value in begun.given().items() if name not in CONTROLS}
        self._drafts = Drafts(fixed)
        self._lock = threading.Lock()
        self._views = 0
        turns = editable(checked(messages)) if messages else ({"role": "user", "content": ""},)
        self._begun = settings(begun, None)
        super().__init__(
            {
                "roles": ROLES,
                "kinds": KINDS,
                "controls": [control(name) for name in CONTROLS],
                "fixed": [f"{name} {brief(value)}" for name, value in fixed.items()],
                "draft": self._drafts.of(turns, begun, None),
                "history": [],
                "model": self._model,
                "models": self._labels,
            }
        )

    @property
    def _model(self) -> str:
        if not self.engines:
            return f"{DEFAULT}, loaded by the first run"
        return ", ".join(self._labels) or visible(str(self.engines[0].model), BRIEF)

    def _engine(self, draft: Draft) -> Engine | None:
        """The one that is to answer; None before it is loaded."""
        return self.engines[draft["model"]] if self.engines else None

    @property
    def replies(self) -> tuple[Reply, ...]:
        """Every answer, the oldest first: those that were stopped or failed too."""
        return tuple(self._replies)

    @property
    def history(self) -> list[Completion]:
        """The completions, the oldest first. An answer that was stopped has none; `replies` has its text."""
        return [reply.completion for reply in self._replies if reply.completion is not None]

    @property
    def running(self) -> bool:
        """An answer is coming."""
        return any(reply.state == "running" for reply in self._replies)

    def stop(self) -> None:
        """Ends the answer that is coming, at its next token, and the engine's work on it; its text so far is kept."""
        for reply in self._replies:
            reply.stop.set()

    def close(self) -> None:
        """Takes the widget away, and stops what runs."""
        self.stop()
        super().close()

    # What the browser asks for. All of it returns at once: answers come from a thread.

    def do_open(self) -> None:
        """A view begins, and is told of the answer that is coming."""
        self._views += 1
        with self._lock:
            for reply in self._replies:
                if reply.state == "running":
                    self.tell("began", self._told(reply))

    def do_gone(self) -> None:
        """A view goes; with the last one (the cell was run again, or cleared) nobody waits for an answer."""
        self._views -= 1
        if self._views <= 0:
            self.stop()

    def do_run(self, draft: Draft) -> Any:
        request, errors = self._drafts.request(draft)
        if request is None:
            return {"errors": errors}
        with self._lock:
            if self.running:
                return {"errors": {"run": "an answer is coming: wait for its end, or stop it first"}}
            size = request.sampling.n or 1
            reply = Reply(
                len(self._replies) + 1, request, self._engine(draft), texts=[""] * size, told=[0] * size
            )
            self._replies.append(reply)
            self.tell("began", self._told(reply))
        threading.Thread(target=self._work, args=(reply,), name="toolkit-playground", daemon=True).start()
        return {"errors": {}}

    def do_stop(self) -> None:
        self.stop()

    def do_count(self, draft: Draft) -> Any:
        """Tokens of the prompt, what remains of the window, and the cost."""
        request, errors = self._drafts.request(draft)
        if request is None:
            return {"errors": errors}
        engine = self._engine(draft)
        try:
            tokens = count_tokens(request, engine)
            window = window_of(engine)
        except (ValueError, EngineError, ModelError) as error:
            why = str(error) if engine else "tokens are counted once the engine is loaded, by the first run"
            return {"errors": {}, "note": visible(why, 600)}
        settings = request.sampling
        most = (settings.max_tokens or DEFAULT_MAX_TOKENS) * (settings.n or 1)
        return {
            "errors": {},
            "tokens": int(tokens),
            "how": f"{'about, by ' if tokens.estimate else 'exact, by '}{tokens.how}",
            "estimate": tokens.estimate,
            "answer": settings.max_tokens or DEFAULT_MAX_TOKENS,
            "window": window,
            "cost": self._expected(tokens, most),
        }

    def do_reply(self, number: int) -> Any:
        return self._told(self._replies[number - 1])

    def do_again(self, number: int) -> Any:
        """The messages, model and settings of an answer, to change and ask again."""
        return self._asked(self._replies[number - 1])

    def do_continue(self, number: int, choice: int) -> Any:
        """The same with the answer as the assistant's turn, and room for what is said next."""
        reply = self._replies[number - 1]
        said = {"role": "assistant", "content": reply.texts[choice]}
        return self._asked(reply, said, {"role": "user", "content": ""})

    def _asked(self, reply: Reply, *more: Message) -> Any:
        """The draft that asks the same of the same engine, with these messages after it."""
        request = reply.request
        model = self.engines.index(reply.engine) if reply.engine else 0
        turns = (*(request.messages or ()), *more)
        return self._drafts.of(turns, request.sampling, request.response_format, model)

    def do_code(self, draft: Draft) -> Any:
        request, errors = self._drafts.request(draft)
        return {"errors": errors} if request is None else {"code": sweep_code(request, self._engine(draft))}

    def do_compare(self, first: int, second: int) -> Any:
        """Two answers side by side: settings that differ, and texts by words."""
        one, other = self._replies[first - 1], self._replies[second - 1]
        left, right = (self._settings(reply) for reply in (one, other))
        names = [n for n in {**left, **right} if left.get(n) != right.get(n)]
        return {
            "sides": [self._told(one), self._told(other)],
            "differ": [
                [n, *(brief(given[n]) if n in given else "–" for given in (left, right))] for n in names
            ],
            "messages": one.request.messages == other.request.messages,
            "texts": sides(visible(one.texts[0], SHOWN), visible(other.texts[0], SHOWN)),
        }

    # The thread of an answer.

    def _work(self, reply: Reply) -> None:
        began = time.monotonic()
        try:
            self._stream(reply)
            state = "done" if reply.completion else "stopped"
        except Exception as error:  # noqa: BLE001  # a thread has nobody to whom it could raise
            reply.error, state = str(error) or type(error).__name__, "error"
        reply.seconds = time.monotonic() - began
        reply.state = state
        self._keep(reply)

    def _keep(self, reply: Reply) -> None:
        """Of an answer that has ended: views are told, and those to come find it."""
        history = [self._told(r, brief=r is not reply) for r in self._replies]
        draft = self._asked(reply)
        self.content = {**self.content, **plain({"history": history, "draft": draft, "model": self._model})}
        self.tell("done", self._told(reply))

    def _stream(self, reply: Reply) -> None:
        if reply.engine is None:
            reply.engine = load()
            self.engines = (reply.engine,)
        reply.model = reply.engine.model
        last = -math.inf  # the first piece is told at once, on a machine that has just started as well
        with contextlib.closing(reply.engine.stream_request(reply.request)) as deltas:  # type: ignore[type-var]
            for delta in deltas:
                reply.texts[delta.index] += delta.text
                reply.completion = delta.completion
                if reply.stop.is_set():
                    reply.fingerprint = reply.engine.fingerprint.id
                    break
                if (now := time.monotonic()) - last >= _PERIOD:
                    self._more(reply)
                    last = now
        if c := reply.completion:
            reply.texts = [choice.text for choice in c.choices]
            reply.model, reply.fingerprint = c.model, c.system_fingerprint

    def _more(self, reply: Reply) -> None:
        """Tells what came since the last time, as (choice, text); all views, and so none that opens in between."""
        news = []
        with self._lock:
            for choice, text in enumerate(reply.texts):
                begin, end = reply.told[choice], min(len(text), SHOWN)
                if begin < end:
                    news.append((choice, visible(text[begin:end])))
                    reply.told[choice] = end
            if news:
                self.tell("more", {"number": reply.number, "news": news})

    # What is told of an answer.

    def _told(self, reply: Reply, brief: bool = False) -> dict[str, Any]:
        most = BRIEF if brief else SHOWN
        return {
            "number": reply.number,
            "state": reply.state,
            "brief": brief,
            "error": visible(reply.error, 2000),
            "model": visible(reply.model, BRIEF) or self._model,
            "settings": line(self._settings(reply)),
            "texts": [visible(text, most) for text in reply.shown],
            "reasons": [c.finish_reason for c in reply.completion.choices] if reply.completion else [],
            "facts": facts(reply, self.price),
            "verdict": judged(reply),
        }

    def _settings(self, reply: Reply) -> dict[str, Any]:
        """What was chosen for an answer: the model too, where there are several."""
        given = settings(reply.request.sampling, reply.request.response_format)
        if not self._labels or reply.engine is None:
            return given
        return {"model": self._labels[self.engines.index(reply.engine)], **given}

    def _expected(self, tokens: Count, most: int) -> str | None:
        """The cost of the prompt, and of the longest answer; time has a price once it is spent."""
        if not isinstance(self.price, ModelPrice):
            return None
        low, high = (float(self.price.of(int(tokens), answer)) for answer in (0, most))
        return f"{dollars(low)} for the prompt, at most {dollars(high)} with the answer ({self.price.model})"

    # Without a browser.

    def html(self) -> str:
        head = f"<b>Playground</b> <small>{escaped(self._model)}</small>"
        turns = _conversation(self.content["draft"]["messages"])
        begun = "" if self._replies else f"{turns}<small>{escaped(line(self._begun))}</small>"
        return f"<div style='overflow-wrap:anywhere'>{head}{begun}{''.join(map(self._section, self._replies))}</div>"

    def _section(self, reply: Reply) -> str:
        told = self._told(reply)
        facts = " · ".join(f"{escaped(name)} <b>{escaped(value)}</b>" for name, value in _facts(told))
        texts = "".join(map(said, reply.texts))
        error = f'<p style="color:#b3261e">{escaped(reply.error, 2000)}</p>' if reply.error else ""
        asked = _conversation([self._drafts.shown(turn) for turn in reply.request.messages or ()])
        head = f"<b>#{reply.number}</b> {reply.state} <small>{escaped(told['settings'])}</small>"
        answer = f'<div style="{_BOX}#009e73">{texts}{error}</div>'
        return f'<div style="margin:10px 0">{head}{asked}{answer}<small>{facts}</small></div>'

    def text(self) -> str:
        head = f"Playground on {self._model}, {many(len(self._replies), 'answer')}"
        if self._replies:
            return "\n".join([head, *map(self._lines, self._replies)])
        turns = [_spoken(turn["role"], turn["text"]) for turn in self.content["draft"]["messages"]]
        return "\n".join([head, *turns, f"[{line(self._begun)}]"])

    def _lines(self, reply: Reply) -> str:
        told = self._told(reply)
        turns = [_spoken(turn["role"], plain_text(turn)) for turn in reply.request.messages or ()]
        texts = [_spoken("answer", text) for text in reply.texts]
        error = [visible(reply.error, 2000)] if reply.error else []
        facts = ", ".join(f"{name} {value}" for name, value in _facts(told))
        return "\n".join(
            [f"#{reply.number} {reply.state}; {told['settings']}", *turns, *texts, *error, f"[{facts}]"]
        )


def _engines(given: Engine | Sequence[Engine] | None) -> tuple[Engine, ...]:
    """Raises TypeError for what is no engine, nor several."""
    found = given if isinstance(given, Sequence) else [] if given is None else [given]
    if not all(isinstance(one, Engine) for one in found) or not (found or given is None):
        raise TypeError("engine must be an engine, a list of engines, or None for toolkit.load()")
    return tuple(dict.fromkeys(found))


def _facts(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Of an answer as it is told, the verdict among them."""
    form = [("verdict", told["verdict"][2])] if told["verdict"] else []
    return [*((name, value) for name, value, _ in told["facts"]), *form]


def _spoken(who: str, text: str) -> str:
    return f"{who}: {visible(text, SHOWN)}"


def _conversation(turns: Sequence[Draft]) -> str:
    rows = (f"<small>{escaped(turn['role'])}</small>{said(turn['text'])}" for turn in turns)
    return f'<div style="{_BOX}#0072b2">{"".join(rows)}</div>'
