"""Playground: messages and settings, answered piece by piece by an engine; what was answered is kept."""

from __future__ import annotations

import contextlib
import math
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import regex

from toolkit.completion import Completion
from toolkit.count import Count, count_tokens
from toolkit.diff import diff, words
from toolkit.engine import Engine, EngineError, NotTold, load
from toolkit.messages import Message, Messages, plain_text
from toolkit.messages import messages as checked
from toolkit.models import ModelError
from toolkit.prices import LocalPrice, ModelPrice, model_price
from toolkit.request import Request
from toolkit.sampling import DEFAULT_MAX_TOKENS, NEUTRAL, Real, Sampling, Whole, rule
from toolkit.schema import KINDS, ResponseFormat, response_format
from toolkit.verdict import loads
from toolkit.widgets.code import call, loading, written
from toolkit.widgets.view import View, assets, escaped, plain, said, visible

T = TypeVar("T")
Draft = Mapping[str, Any]
"""What the browser's half holds: messages (role, text, and where the text came from), sampling (texts), form."""
Errors = dict[str, str]
"""What is wrong, by the place where it is shown."""

ROLES = ("system", "developer", "user", "assistant")
CONTROLS = (
    "temperature", "top_p", "frequency_penalty", "presence_penalty", "max_tokens", "seed", "n", "stop", "logprobs",
)  # fmt: skip
_PERIOD = 0.05
"""Seconds between messages to the browser while an answer comes."""
_SHOWN = 20_000
"""Characters of an answer, or of one message, that the browser's half shows."""
_UNIT = {Real: "real", Whole: "whole"}
_BRIEF = 120
"""Characters of a value, or of an answer, on a line."""
_BOX = "margin:4px 0;padding:2px 8px;border-left:3px solid "


@dataclass(eq=False)
class Reply:
    """An answer, while it comes and after."""

    number: int
    request: Request
    state: str = "running"
    """running, done, stopped or error."""
    texts: list[str] = field(default_factory=list)
    """Of each choice, so far."""
    completion: Completion | None = None
    """None until it is done: an engine tells no more of an answer that was stopped than its text."""
    error: str = ""
    seconds: float = 0.0
    """Until it ended here, the engine's start included."""
    stop: threading.Event = field(default_factory=threading.Event, repr=False)
    told: list[int] = field(default_factory=list, repr=False)
    """Characters of each text that the browser was told."""


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
        self._fixed = {name: value for name, value in begun.given().items() if name not in CONTROLS}
        self._texts: list[str] = []
        self._lock = threading.Lock()
        self._views = 0
        turns = _editable(checked(messages)) if messages else ({"role": "user", "content": ""},)
        super().__init__(
            {
                "roles": ROLES,
                "kinds": KINDS,
                "controls": [_control(name) for name in CONTROLS],
                "fixed": [f"{name} {_brief(value)}" for name, value in self._fixed.items()],
                "draft": self._draft(turns, begun, None),
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
        request, errors = self._request(draft)
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
        request, errors = self._request(draft)
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
        return self._draft(request.messages or (), request.sampling, request.response_format)

    def do_continue(self, number: int, choice: int) -> Any:
        """The same with the answer as the assistant's turn, and room for what is said next."""
        reply = self._replies[number - 1]
        request = reply.request
        said = {"role": "assistant", "content": reply.texts[choice]}
        turns = (*(request.messages or ()), said, {"role": "user", "content": ""})
        return self._draft(turns, request.sampling, request.response_format)

    def do_code(self, draft: Draft) -> Any:
        request, errors = self._request(draft)
        return {"errors": errors} if request is None else {"code": sweep_code(request, self.engine)}

    def do_compare(self, first: int, second: int) -> Any:
        """Two answers side by side: settings that differ, and texts by words."""
        one, other = self._replies[first - 1], self._replies[second - 1]
        left, right = _settings(one.request), _settings(other.request)
        names = [n for n in {**left, **right} if left.get(n) != right.get(n)]
        said, meant = (" ".join(map(plain_text, r.request.messages or ())) for r in (one, other))
        return {
            "sides": [self._told(one), self._told(other)],
            "differ": [[n, left.get(n, "–"), right.get(n, "–")] for n in names],
            "messages": said == meant,
            "texts": sides(visible(one.texts[0], _SHOWN), visible(other.texts[0], _SHOWN)),
        }

    # From what the browser holds to a request, and back.

    def _request(self, draft: Draft) -> tuple[Request | None, Errors]:
        """What is to be asked, or what is wrong with it, by the place where it is to be shown."""
        errors: Errors = {}

        def tried(place: str, make: Callable[..., T], *given: Any, **named: Any) -> T | None:
            try:
                return make(*given, **named)
            except (TypeError, ValueError) as error:
                errors[_place(str(error), place)] = visible(str(error), 600)
                return None

        turns = tried("messages", checked, [self._turn(turn) for turn in draft["messages"]])
        fields = {
            name: value
            for name in CONTROLS
            if (value := _value(name, draft["sampling"].get(name))) is not None
        }
        for name, value in fields.items():
            tried(name, Sampling, **{name: value})
        form = tried("form", _form, **draft["form"])
        settings = None if errors else tried("run", Sampling, **{**self._fixed, **fields})
        if errors:
            return None, errors
        return tried("form", Request, turns, sampling=settings, response_format=form), errors

    def _turn(self, turn: Draft) -> dict[str, Any]:
        """A message as it was given, unless its text was changed in the browser."""
        text = turn["text"] if turn.get("kept") is None else self._texts[turn["kept"]]
        return {"role": turn["role"], "content": text}

    def _draft(self, turns: Sequence[Message], settings: Sampling, form: ResponseFormat | None) -> Any:
        given = settings.given()
        return {
            "messages": [self._shown(turn) for turn in turns],
            "sampling": {name: _typed(name, given.get(name)) for name in CONTROLS},
            "form": _form_text(form),
        }

    def _shown(self, turn: Message) -> dict[str, Any]:
        """A message as the browser may show it; where that is another text, the given one is kept here."""
        text = turn["content"]
        shown = {"role": turn["role"], "text": visible(text, _SHOWN), "cut": len(text) > _SHOWN}
        if shown["text"] == text:
            return shown
        self._texts.append(text)
        return {**shown, "kept": len(self._texts) - 1}

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
        last = self._draft(
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
            begin, end = reply.told[choice], min(len(text), _SHOWN)
            if begin < end:
                news.append((choice, begin, end, visible(text[begin:end])))
                reply.told[choice] = end
        if news:
            self.tell("more", {"number": reply.number, "news": news})

    # What is told of an answer.

    def _told(self, reply: Reply, brief: bool = False) -> dict[str, Any]:
        most = _BRIEF if brief else _SHOWN
        return {
            "number": reply.number,
            "state": reply.state,
            "brief": brief,
            "error": visible(reply.error, 2000),
            "settings": _line(reply.request),
            "texts": [visible(text, most) for text in reply.texts],
            "told": list(reply.told),
            "reasons": [c.finish_reason for c in reply.completion.choices] if reply.completion else [],
            "facts": self._facts(reply),
            "verdict": _verdict(reply),
        }

    def _facts(self, reply: Reply) -> list[tuple[str, str, str]]:
        """(name, value, what it means) of all that is known of an answer."""
        c = reply.completion
        if c is None:
            return [] if reply.state == "running" else [("seconds", f"{reply.seconds:.2f}", "until it ended")]
        stopped = [str(choice.stop_reason) for choice in c.choices if choice.stop_reason is not None]
        by = f", by {', '.join(map(repr, stopped))}" if stopped else ""
        reasons = ", ".join(dict.fromkeys(choice.finish_reason for choice in c.choices))
        cached = (
            f", {c.usage.cached_tokens:,} of the prompt's were in the prefix cache"
            if c.usage.cached_tokens
            else ""
        )
        tokens = f"{c.usage.prompt_tokens:,} + {c.usage.completion_tokens:,}"
        seed = c.request.sampling.seed
        found = [
            (
                "finish_reason",
                reasons + by,
                "stop: the model ended, or a stop string; length: max_tokens was reached",
            ),
            ("usage", f"{tokens} tokens", f"of the prompt, and of the answer{cached}"),
        ]
        if c.seconds:
            rate = c.usage.completion_tokens / c.seconds
            first = (
                ""
                if c.first_token_seconds is None
                else f"; the first token after {c.first_token_seconds:.2f} s"
            )
            found.append(("seconds", f"{c.seconds:.2f}", f"from the request to its last token{first}"))
            found.append(("tokens/s", f"{rate:.1f}", "tokens of the answer in these seconds"))
        if (cost := self._paid(c)) is not None:
            found.append(("cost", cost, f"at {self.price}"))
        found.append(("seed", "none" if seed is None else str(seed), "none: a fresh draw each time"))
        found.append(("fingerprint", c.system_fingerprint, f"of the engine that answered, on {c.model}"))
        found += [(name, str(value), "how the request was sent") for name, value in c.notes.items()]
        return [(name, visible(value, 200), visible(meaning, 400)) for name, value, meaning in found]

    def _expected(self, tokens: Count, most: int) -> str | None:
        """The cost of the prompt, and of the longest answer; time has a price once it is spent."""
        if not isinstance(self.price, ModelPrice):
            return None
        low, high = (float(self.price.of(int(tokens), answer)) for answer in (0, most))
        return (
            f"{_dollars(low)} for the prompt, at most {_dollars(high)} with the answer ({self.price.model})"
        )

    def _paid(self, c: Completion) -> str | None:
        usage = c.usage
        try:
            if isinstance(self.price, LocalPrice):
                return _dollars(float(self.price.of(c.seconds or float("nan"))))
            if self.price is not None:
                paid = self.price.of(usage.prompt_tokens, usage.completion_tokens)
                return _dollars(float(paid))
        except ValueError:  # what the device drew is told of runs alone
            return "not known"
        return None

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
        asked = _conversation([self._shown(turn) for turn in reply.request.messages or ()])
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
            said = visible(" | ".join(reply.texts), _BRIEF).replace("\n", "⏎")
            lines.append(
                f"#{reply.number} {reply.state}; {_line(reply.request)}; {visible(used, _BRIEF)}: {said}"
            )
        return "\n".join(lines)


def _editable(turns: Messages) -> Messages:
    """Raises ValueError for messages that the editor has no place for."""
    for i, turn in enumerate(turns):
        if turn["role"] not in ROLES or not isinstance(turn["content"], str) or len(turn) > 2:
            raise ValueError(
                f"messages[{i}] is more than a text by {', '.join(ROLES)}: the playground edits these alone; ask "
                "with engine.chat"
            )
    return turns


def _control(name: str) -> dict[str, Any]:
    """What the browser needs to draw a control: its kind, range, and what it means when it is left empty."""
    own = rule(name)
    kind = _UNIT.get(type(own), "lines" if name == "stop" else "flag")
    limits = {}
    if isinstance(own, Real):
        step = (own.high - own.low) / 40
        limits = {"low": own.low + step * own.open_low, "high": own.high, "step": step}
    fix = own.fix if isinstance(own, Real | Whole) else ""
    return {"name": name, "kind": kind, "neutral": NEUTRAL.get(name), "fix": fix, **limits}


def _value(name: str, typed: Any) -> Any:
    """A setting from what was typed; None where nothing was. What is no number stays text, which the rule refuses."""
    own = rule(name)
    if isinstance(typed, bool):
        return typed or None
    if typed is None or not str(typed).strip("\r\n" if name == "stop" else None):
        return None
    if name == "stop":
        return [_unescaped(line) for line in str(typed).splitlines() if line]
    try:
        return int(typed) if isinstance(own, Whole) else float(typed)
    except ValueError:
        return typed


def _typed(name: str, value: Any) -> Any:
    """A setting as it would be typed."""
    if name == "logprobs":
        return bool(value)
    if name == "stop":
        return "\n".join(_escaped(text) for text in value or ())
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


_ENDS = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}


def _unescaped(line: str) -> str:
    r"""A stop string as it is typed on one line: \n is a line's end."""
    return re.sub(r"\\([nrt\\])", lambda found: _ENDS[found[1]], line)


def _escaped(text: str) -> str:
    return re.sub(r"[\n\r\t\\]", lambda f: "\\" + next(k for k, v in _ENDS.items() if v == f[0]), text)


def _form(kind: str, text: str) -> ResponseFormat | None:
    """The form of the answer from what was typed. Raises ValueError or TypeError."""
    if kind in ("text", "json_object"):
        return response_format({"type": kind})
    if kind == "json_schema":
        try:
            return response_format(loads(text))
        except ValueError as error:
            raise ValueError(f"JSON Schema: {error}") from None
    if kind == "regex":
        try:
            regex.compile(text)
        except regex.error as error:
            raise ValueError(f"{text!r} is no regex: {error}") from None
    lines = [line for line in text.splitlines() if line.strip()]
    return response_format({"type": kind, kind: lines if kind == "choice" else text})


def _form_text(form: ResponseFormat | None) -> dict[str, str]:
    """A form as it would be typed."""
    if form is None:
        return {"kind": "text", "text": ""}
    import json

    schema = json.dumps(form.schema, ensure_ascii=False, indent=2) if form.kind == "json_schema" else ""
    return {"kind": form.kind, "text": schema or "\n".join(form.choices) or form.value}


def _place(error: str, usual: str) -> str:
    """Where an error is shown: at the message or the control that it names."""
    found = re.match(r"messages\[\d+\]|\w+", error)
    name = found[0] if found else ""
    return name if name in CONTROLS or name.startswith("messages[") else usual


def _settings(request: Request) -> dict[str, str]:
    """The settings that were given, in words."""
    found = {name: _brief(value) for name, value in request.sampling.given().items()}
    form = (
        {"response_format": visible(str(request.response_format), _BRIEF)} if request.response_format else {}
    )
    return {**found, **form}


def _line(request: Request) -> str:
    return (
        " · ".join(f"{name} {value}" for name, value in _settings(request).items())
        or "the model's own settings"
    )


def _brief(value: Any) -> str:
    shown = (
        ", ".join(map(repr, value))
        if isinstance(value, tuple)
        else f"{value:g}"
        if isinstance(value, float)
        else value
    )
    return visible(str(shown), _BRIEF)


def _verdict(reply: Reply) -> tuple[bool, str, str] | None:
    """Whether the answer has its form, in a word, and in a sentence."""
    found = reply.completion.schema_verdict if reply.completion else None
    return None if found is None else (found.valid, found.status, visible(str(found), 600))


def _dollars(amount: float) -> str:
    """With two digits that tell something: $0.0000095."""
    if math.isnan(amount):
        return "not known"
    return f"${amount:,.{max(2, 1 - math.floor(math.log10(amount))) if amount else 0}f}"


def _conversation(turns: Sequence[Draft]) -> str:
    rows = (f"<small>{escaped(turn['role'])}</small>{said(turn['text'])}" for turn in turns)
    return f'<div style="{_BOX}#0072b2">{"".join(rows)}</div>'


def sides(first: str, second: str) -> list[list[tuple[bool, str]]]:
    """Two texts in pieces: (the other has it too, piece), by words."""
    found = diff(words(first), words(second))
    left = [(op == "equal", text) for op, text in found.ops if op in ("equal", "delete")]
    right = [(op != "insert", text) for op, text in found.ops if op != "delete"]
    rest = first[sum(len(text) for _, text in left) :]  # of what is too long to be compared
    return [[*left, *([(True, rest)] if rest else [])], right]


def sweep_code(request: Request, engine: Engine | None) -> str:
    """Python that asks the same at several temperatures and with several seeds, as it stands."""
    given = request.sampling.given()
    seed, own = given.pop("seed", None) or 0, given.pop("temperature", NEUTRAL["temperature"])
    given.pop("n", None)  # seeds take its place, and one of the temperatures is 0
    axes = {"temperature": written(sorted({0.0, 0.7, own})), "seed": f"range({seed}, {seed + 4})"}
    # A list is an axis: one that is a single value stands in another.
    axes |= {name: written([list(v)] if isinstance(v, tuple) else v) for name, v in given.items()}
    if request.response_format:
        axes["response_format"] = written(request.response_format.to_openai())
    turns = written([dict(turn) for turn in request.messages or ()])
    return "\n".join(
        [
            "import toolkit as tk",
            "",
            f"engine = {loading(engine)}",
            f"sweep = {call('tk.sweep', turns, call('tk.grid', **axes))}",
            'results = sweep.run(engine, store="runs/playground.db")',
            "results.summary()",
            "",
        ]
    )
