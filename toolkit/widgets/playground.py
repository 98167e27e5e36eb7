"""Playground: messages and settings, answered piece by piece by an engine; what was answered is kept."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from typing import Any

from toolkit.completion import Completion
from toolkit.count import Count, count_tokens
from toolkit.engine import Engine, EngineError, NotTold, load
from toolkit.messages import Message, plain_text
from toolkit.messages import messages as checked
from toolkit.models import ModelError
from toolkit.prices import LocalPrice, ModelPrice, model_price
from toolkit.sampling import DEFAULT_MAX_TOKENS, Sampling
from toolkit.schema import KINDS
from toolkit.widgets.code import sweep_code
from toolkit.widgets.draft import CONTROLS, ROLES, SHOWN, Draft, Drafts, control, editable
from toolkit.widgets.reply import BRIEF, Reply, brief, dollars, facts, judged, line, settings, sides
from toolkit.widgets.view import View, assets, escaped, plain, said, visible

_PERIOD = 0.05
"""Seconds between messages to the browser while an answer comes."""
_BOX = "margin:4px 0;padding:2px 8px;border-left:3px solid "


class Playground(View):
    """Messages, settings and the form of the answer, which streams in and can be stopped; what was answered is kept,
    compared, continued, and made a sweep of.

    engine: None for `toolkit.load()` at the first run. messages: what the editor begins with; a string is one user
    message. price: of a provider's model by name, a ModelPrice, or a LocalPrice for the time of this machine.
    sampling: what the controls begin with; fields that have no control hold for every answer.

    Raises ValueError or TypeError for bad messages or sampling, PriceError for an unknown model.

    >>> playground = tk.Playground(engine, "What is the capital of France?", temperature=0)  # doctest: +SKIP
    """

    _esm, _css = assets("playground")

    def __init__(
        self,
        engine: Engine | None = None,
        messages: str | Sequence[Message] = (),
        *,
        price: str | ModelPrice | LocalPrice | None = None,
        **sampling: Any,
    ) -> None:
        self._replies: list[Reply] = []
        self.engine = engine
        self.price = price if isinstance(price, LocalPrice) or price is None else model_price(price)
        begun = Sampling(**sampling)
        fixed = {name: value for name, value in begun.given().items() if name not in CONTROLS}
        self._drafts = Drafts(fixed)
        self._lock = threading.Lock()
        self._views = 0
        turns = editable(checked(messages)) if messages else ({"role": "user", "content": ""},)
        super().__init__(
            {
                "roles": ROLES,
                "kinds": KINDS,
                "controls": [control(name) for name in CONTROLS],
                "fixed": [f"{name} {brief(value)}" for name, value in fixed.items()],
                "draft": self._drafts.of(turns, begun, None),
                "history": [],
                "engine": None if engine is None else engine.model,
            }
        )

    @property
    def replies(self) -> tuple[Reply, ...]:
        """Every answer, the oldest first: those that were stopped or failed too."""
        return tuple(self._replies)

    @property
    def history(self) -> list[Completion]:
        """The completions, the oldest first. An answer that was stopped is none; `replies` has what came of it."""
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

    def do_open(self) -> Any:
        """A view begins. Gives the answer that is coming."""
        self._views += 1
        return next((self._told(r) for r in self._replies if r.state == "running"), None)

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
            reply = Reply(len(self._replies) + 1, request, texts=[""] * size, told=[0] * size)
            self._replies.append(reply)
        threading.Thread(target=self._work, args=(reply,), name="toolkit-playground", daemon=True).start()
        return {"reply": self._told(reply)}

    def do_stop(self) -> None:
        self.stop()

    def do_count(self, draft: Draft) -> Any:
        """Tokens of the prompt, what remains of the window, and the cost."""
        request, errors = self._drafts.request(draft)
        if request is None:
            return {"errors": errors}
        try:
            tokens = count_tokens(request, self.engine)
            window = self._window()
        except (ValueError, EngineError, ModelError) as error:
            why = (
                str(error)
                if self.engine
                else "tokens are counted once the engine is loaded, by the first run"
            )
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
        """The messages and settings of an answer, to change and ask again."""
        request = self._replies[number - 1].request
        return self._drafts.of(request.messages or (), request.sampling, request.response_format)

    def do_continue(self, number: int, choice: int) -> Any:
        """The same with the answer as the assistant's turn, and room for what is said next."""
        reply = self._replies[number - 1]
        request = reply.request
        said = {"role": "assistant", "content": reply.texts[choice]}
        turns = (*(request.messages or ()), said, {"role": "user", "content": ""})
        return self._drafts.of(turns, request.sampling, request.response_format)

    def do_code(self, draft: Draft) -> Any:
        request, errors = self._drafts.request(draft)
        return {"errors": errors} if request is None else {"code": sweep_code(request, self.engine)}

    def do_compare(self, first: int, second: int) -> Any:
        """Two answers side by side: settings that differ, and texts by words."""
        one, other = self._replies[first - 1], self._replies[second - 1]
        left, right = settings(one.request), settings(other.request)
        names = [n for n in {**left, **right} if left.get(n) != right.get(n)]
        said, meant = (" ".join(map(plain_text, r.request.messages or ())) for r in (one, other))
        return {
            "sides": [self._told(one), self._told(other)],
            "differ": [[n, left.get(n, "–"), right.get(n, "–")] for n in names],
            "messages": said == meant,
            "texts": sides(visible(one.texts[0], SHOWN), visible(other.texts[0], SHOWN)),
        }

    # The thread of an answer.

    def _work(self, reply: Reply) -> None:
        began = time.monotonic()
        try:
            self._stream(reply)
            reply.state = "done" if reply.completion else "stopped"
        except Exception as error:  # noqa: BLE001  # a thread has nobody to whom it could raise
            reply.error = str(error) or type(error).__name__
            reply.state = "error"
        reply.seconds = time.monotonic() - began
        history = [self._told(r, brief=r is not reply) for r in self._replies]
        last = self._drafts.of(
            reply.request.messages or (), reply.request.sampling, reply.request.response_format
        )
        name = None if self.engine is None else self.engine.model
        self.content = {**self.content, **plain({"history": history, "draft": last, "engine": name})}
        self.tell("done", self._told(reply))

    def _stream(self, reply: Reply) -> None:
        if self.engine is None:
            self.engine = load()
        last = 0.0  # the first piece is told at once
        with contextlib.closing(self.engine.stream_request(reply.request)) as deltas:  # type: ignore[type-var]
            for delta in deltas:
                reply.texts[delta.index] += delta.text
                reply.completion = delta.completion
                if reply.stop.is_set():
                    break
                if (now := time.monotonic()) - last >= _PERIOD:
                    self._more(reply)
                    last = now
        if reply.completion:
            reply.texts = [choice.text for choice in reply.completion.choices]

    def _more(self, reply: Reply) -> None:
        """Tells what came since the last time: (choice, first character, end, text)."""
        news = []
        for choice, text in enumerate(reply.texts):
            begin, end = reply.told[choice], min(len(text), SHOWN)
            if begin < end:
                news.append((choice, begin, end, visible(text[begin:end])))
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
            "settings": line(reply.request),
            "texts": [visible(text, most) for text in reply.texts],
            "told": list(reply.told),
            "reasons": [c.finish_reason for c in reply.completion.choices] if reply.completion else [],
            "facts": facts(reply, self.price),
            "verdict": judged(reply),
        }

    def _expected(self, tokens: Count, most: int) -> str | None:
        """The cost of the prompt, and of the longest answer; time has a price once it is spent."""
        if not isinstance(self.price, ModelPrice):
            return None
        low, high = (float(self.price.of(int(tokens), answer)) for answer in (0, most))
        return f"{dollars(low)} for the prompt, at most {dollars(high)} with the answer ({self.price.model})"

    def _window(self) -> int | None:
        """The context window, where it is known without starting the engine."""
        engine: Any = self.engine
        if engine is None or not (getattr(engine, "running", True) or engine.spec.remembered()):
            return None
        try:
            return int(engine.window)
        except NotTold:
            return None

    # Without a browser.

    def html(self) -> str:
        head = f"<b>Playground</b> <small>{escaped(self.content['engine'] or 'toolkit.load()')}</small>"
        turns = "" if self._replies else _conversation(self.content["draft"]["messages"])
        return f"<div style='overflow-wrap:anywhere'>{head}{turns}{''.join(map(self._section, self._replies))}</div>"

    def _section(self, reply: Reply) -> str:
        told = self._told(reply)
        facts = " · ".join(f"{escaped(name)} <b>{escaped(value)}</b>" for name, value, _ in told["facts"])
        texts = "".join(map(said, reply.texts))
        error = f'<p style="color:#b3261e">{escaped(reply.error, 2000)}</p>' if reply.error else ""
        form = f" · <b>{escaped(told['verdict'][1])}</b>" if told["verdict"] else ""
        asked = _conversation([self._drafts.shown(turn) for turn in reply.request.messages or ()])
        head = f"<b>#{reply.number}</b> {reply.state} <small>{escaped(told['settings'])}</small>"
        answer = f'<div style="{_BOX}#009e73">{texts}{error}</div>'
        return f'<div style="margin:10px 0">{head}{asked}{answer}<small>{facts}{form}</small></div>'

    def text(self) -> str:
        lines = [f"Playground on {self.content['engine'] or 'toolkit.load()'}, {len(self._replies)} answers"]
        for reply in self._replies:
            c = reply.completion
            used = (
                f"{c.usage.prompt_tokens} + {c.usage.completion_tokens} tokens"
                if c
                else reply.error or "no usage"
            )
            said = visible(" | ".join(reply.texts), BRIEF).replace("\n", "⏎")
            lines.append(
                f"#{reply.number} {reply.state}; {line(reply.request)}; {visible(used, BRIEF)}: {said}"
            )
        return "\n".join(lines)


def _conversation(turns: Sequence[Draft]) -> str:
    rows = (f"<small>{escaped(turn['role'])}</small>{said(turn['text'])}" for turn in turns)
    return f'<div style="{_BOX}#0072b2">{"".join(rows)}</div>'
