"""Wire: requests as the bodies that OpenAI's API takes, and its answers as choices with arrays. No network here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from toolkit.choice import PROMPT, Choice, Vocabulary
from toolkit.completion import Usage
from toolkit.request import Request
from toolkit.sampling import DEFAULT_MAX_TOKENS, NEUTRAL
from toolkit.schema import ResponseFormat
from toolkit.tools import CHOICES, ToolCall, call_id

_OPENAI = ("temperature", "top_p", "frequency_penalty", "presence_penalty", "seed", "n", "stop", "logit_bias")
_VLLM = (
    "top_k", "min_p", "repetition_penalty", "min_tokens", "stop_token_ids", "ignore_eos", "bad_words",
    "allowed_token_ids", "include_stop_str_in_output", "skip_special_tokens", "prompt_logprobs",
)  # fmt: skip
_ALWAYS = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
)
"""Sent although neutral: a server fills in what its model's generation config says, and what is stored is what was
asked."""
_PROBED = ("logprobs", "seed")
"""What a server is asked for when it is asked what it is: some refuse it, some pass over it in silence."""
_ID = "token_id:"
"""Stands before the number in a token's name, where vLLM is asked for ids."""
_MOST = 20
"""Most top_logprobs that a server takes if nobody said otherwise."""
_REASONING = ("reasoning", "reasoning_content")
_TOO_MANY = 1 << 31
"""No count of tokens is so large."""

Step = tuple[int | None, float, int, list[tuple[int, float]]]
"""A token: its id, log probability, rank (0: not known), and the likely ones, best first."""
Ids = Callable[[str, bytes | None], int | None]
"""The id of a token, from its name and bytes; None where it is not known."""


class BadAnswer(ValueError):
    """An answer that is not what OpenAI's API gives."""


class NoLogprobs(BadAnswer):
    """An answer without the log probabilities that were asked for."""


_ODD = (KeyError, TypeError, AttributeError, IndexError, ArithmeticError)
"""What comes of reading an answer that is put together in another way."""


def odd(error: Exception, said: Any) -> BadAnswer:
    why = f"{type(error).__name__}: {error}"
    return BadAnswer(f"the server's answer lacks what an answer has ({why}): {said!r}")


def sound(value: Any) -> Any:
    """JSON data whose texts can be written: halves of a character that JSON spells as two (\\ud83d\\ude00) are put
    together, and one that has lost its other half is replaced, as a decoder would."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {name: sound(one) for name, one in value.items()}
    return [sound(one) for one in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class Dialect:
    """What a server takes, as far as is known."""

    vllm: bool = False
    limit: str = "max_tokens"
    """The name of max_tokens there."""
    left_out: frozenset[str] = frozenset()
    """Fields that it refuses even at their neutral value: then they are not sent."""
    lacks: frozenset[str] = frozenset()
    """Of `_PROBED`, what it refuses or passes over: a request that needs it is not sent."""

    def without(self, said: str, body: Mapping[str, Any]) -> Dialect | None:
        """The dialect of a server that refused a body with these words; None when nothing in it can be left out."""
        told = said.replace("_", "").lower()  # some spell presencePenalty

        def named(name: str) -> bool:
            return name in body and name.replace("_", "") in told

        if self.limit == "max_tokens" and "maxcompletiontokens" in told:
            return replace(self, limit="max_completion_tokens")
        fewer = {n for n in _ALWAYS if named(n) and body[n] == NEUTRAL[n]}
        lacks = {n for n in _PROBED if named(n)}
        if not fewer and not lacks:
            lacks = {n for n in _PROBED if n in body}  # the refusal may be of these, in other words
        if not fewer and not lacks:
            return None
        return replace(self, left_out=self.left_out | fewer, lacks=self.lacks | lacks)

    def lacking(self, name: str) -> Dialect:
        return replace(self, lacks=self.lacks | {name})

    def fewer(self, request: Request) -> Request:
        """A request without what the server lacks."""
        return replace(request, sampling=replace(request.sampling, **dict.fromkeys(self.lacks)))


@dataclass(frozen=True)
class Given:
    """What stands before an answer that is asked for by the ids of its prompt (vLLM only)."""

    prompt: tuple[int, ...]
    prefix: tuple[int, ...] = ()
    before: str = ""
    """The text that the answer begins with: an echo, and the prefix."""
    text: str = ""
    """The prompt's."""


@dataclass(frozen=True)
class Ask:
    """A request as it is sent."""

    request: Request
    body: dict[str, Any]
    given: Given | None = None
    unsent: tuple[str, ...] = ()
    """Neutral values that the server does not take."""

    @property
    def chat(self) -> bool:
        return "messages" in self.body


def by_ids(request: Request, dialect: Dialect) -> bool:
    """Whether the prompt has to be sent as token ids: nothing in OpenAI's API begins an answer, and what vLLM echoes
    is hard to tell from the answer."""
    return dialect.vllm and (
        request.prefix is not None or request.echo or request.sampling.prompt_logprobs is not None
    )


def check(request: Request, dialect: Dialect) -> None:
    """Raises ValueError for what a server that is no vLLM has no field for, and for what no server can do."""
    if request.prefix is not None and request.tools and request.tool_choice != "none":
        raise ValueError("a server reads no calls out of an answer with a prefix: leave out prefix, or tools")
    lacking = [n for n in sorted(dialect.lacks) if getattr(request.sampling, n) not in (None, False)]
    if lacking:
        raise ValueError(
            f"{' and '.join(lacking)}: this server refuses it or passes over it, as it did when it was asked what it "
            "is: leave it out"
        )
    if dialect.vllm:
        return
    asked = [n for n in _VLLM if getattr(request.sampling, n) not in (None, NEUTRAL.get(n))]
    asked += ["prefix"] if request.prefix is not None else []
    asked += ["echo with logprobs"] if request.echo and request.sampling.logprobs else []
    form = request.response_format
    asked += [f"response_format of type {form.kind}"] if form is not None and not form.is_json else []
    if asked:
        raise ValueError(
            f"{', '.join(asked)}: only vLLM's own server takes this, and this one does not say that it is one: leave "
            "it out"
        )


def ask(request: Request, model: str, dialect: Dialect, given: Given | None = None) -> Ask:
    """The body of a resolved request. Raises ValueError (see `check`)."""
    check(request, dialect)
    body = {
        "model": model,
        **_prompt(request, given),
        **_sampling(request, dialect),
        **_form(request, dialect),
    }
    if dialect.vllm:
        body |= {"return_token_ids": True}
        body |= {"return_tokens_as_token_ids": True} if request.sampling.logprobs else {}
    body |= _logprobs(request, dialect, chat="messages" in body)
    # A value that somebody chose is sent, and refused if need be: what is stored is what was asked.
    unsent = tuple(n for n in body if n in dialect.left_out and body[n] == NEUTRAL[n])
    return Ask(request, {n: v for n, v in body.items() if n not in unsent}, given, unsent)


def _prompt(request: Request, given: Given | None) -> dict[str, Any]:
    if given is None and request.prompt is None:
        return {"messages": list(request.messages or ())}
    own = [*given.prompt, *given.prefix] if given else request.prompt
    prompt = list(own) if isinstance(own, tuple) else own
    more = {"suffix": request.suffix, "echo": request.echo and given is None}
    return {"prompt": prompt, **{name: value for name, value in more.items() if value}}


def _sampling(request: Request, dialect: Dialect) -> dict[str, Any]:
    sampling = request.sampling
    names = (*_OPENAI, *(_VLLM if dialect.vllm else ()))
    found = {n: v for n in names if (v := getattr(sampling, n)) is not None}
    found = {n: v for n, v in found.items() if n in _ALWAYS or v != NEUTRAL.get(n)}
    if sampling.logit_bias is not None:
        found["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias}
    plain = {n: list(v) if isinstance(v, tuple) else v for n, v in found.items()}
    return {**plain, dialect.limit: sampling.max_tokens or DEFAULT_MAX_TOKENS}


def _logprobs(request: Request, dialect: Dialect, chat: bool) -> dict[str, Any]:
    sampling = request.sampling
    asked: dict[str, Any] = {}
    if sampling.logprobs:
        top = sampling.top_logprobs or 0
        # The first place of vLLM's list is the chosen token's, wherever it ranks: one more keeps the last of the k.
        wide = top + 1 if dialect.vllm and 0 < top < _MOST else top
        asked = {"logprobs": True, "top_logprobs": wide} if chat else {"logprobs": top}
    if request.echo and sampling.logprobs and sampling.prompt_logprobs is None:
        asked["prompt_logprobs"] = sampling.top_logprobs or 0
    return asked


def _form(request: Request, dialect: Dialect) -> dict[str, Any]:
    form, found = request.response_format, dict[str, Any]()
    if form is not None and form.is_json:
        found["response_format"] = form.to_openai()
    elif form is not None:
        found["structured_outputs"] = _structured(form)
    if request.tools:
        choice = request.tool_choice
        named = {"type": "function", "function": {"name": choice}}
        found["tools"] = [tool.to_openai() for tool in request.tools]
        found["tool_choice"] = choice if choice in CHOICES else named
    return found


def _structured(form: ResponseFormat) -> dict[str, Any]:
    """vLLM's own forms."""
    return {form.kind: list(form.choices) if form.kind == "choice" else form.value}


@dataclass(frozen=True)
class Answer:
    """What a server said, as choices."""

    choices: tuple[Choice, ...]
    prompt: Choice | None
    usage: Usage
    prompt_token_ids: tuple[int, ...]
    name: str
    """The server's id of the completion; may be empty."""
    fingerprint: str | None
    """Its system_fingerprint."""
    notes: Mapping[str, Any] = field(default_factory=dict)


def answer(asked: Ask, said: Any, ids: Ids, vocabulary: Callable[[], Vocabulary] | None) -> Answer:
    """The answer to a request, from a response as data. Raises BadAnswer."""
    parts = said.get("choices") if isinstance(said, Mapping) else None
    if not isinstance(parts, list) or not parts:
        raise BadAnswer(f"the server's answer has no choices: {said!r}")
    fingerprint = said.get("system_fingerprint") or None
    if not isinstance(fingerprint, str | None):
        raise BadAnswer(f"the server's system_fingerprint is no text: {fingerprint!r}")
    try:
        prompt_ids = asked.given.prompt if asked.given else _whole(said, parts[0])
        made = [_choice(asked, part, ids, vocabulary) for part in parts]
        own = _prompt_choice(asked, parts[0], vocabulary)
        usage = _usage(said, prompt_ids, made)
    except _ODD as error:
        raise odd(error, said) from None
    name = str(said.get("id") or "").removeprefix("chatcmpl-").removeprefix("cmpl-")
    notes = next(({"reasoning": text} for part in parts if (text := _reasoning(part))), {})
    choices = tuple(sorted(made, key=lambda choice: choice.index))
    return Answer(choices, own, usage, prompt_ids, name, fingerprint, notes)


def _whole(said: Mapping[str, Any], first: Mapping[str, Any]) -> tuple[int, ...]:
    """Token ids of the prompt: vLLM tells those of a chat beside its choices, and those of a text in each."""
    return tuple(said.get("prompt_token_ids") or first.get("prompt_token_ids") or ())


def _reasoning(part: Mapping[str, Any]) -> str | None:
    message = part.get("message") or {}
    return next((str(message[name]) for name in _REASONING if message.get(name)), None)


def _choice(
    asked: Ask, part: Mapping[str, Any], ids: Ids, vocabulary: Callable[[], Vocabulary] | None
) -> Choice:
    if not part["finish_reason"]:
        raise BadAnswer(f"the server's answer has no finish_reason, so it may have been cut: {part!r}")
    if part.get("error") or part["finish_reason"] == "error":
        raise BadAnswer(f"the server's answer broke off: {part.get('error') or part!r}")
    message = part["message"] if asked.chat else {"content": part["text"]}
    calls = tuple(_call(call) for call in message.get("tool_calls") or ())
    text = message.get("content") or message.get("refusal") or ""
    given, token_ids = asked.given or Given(()), part.get("token_ids") or []
    steps = _steps(asked, part, ids) if asked.request.sampling.logprobs else None
    if steps is None and asked.request.sampling.logprobs and not calls:
        raise NoLogprobs("log probabilities were asked for, and the server gave none: leave logprobs out")
    arrays: dict[str, Any] = {"token_ids": np.array([*given.prefix, *token_ids], np.int32)}
    if steps is not None:
        before = _prompt_steps(part, [*given.prompt, *given.prefix])[len(given.prompt) :]
        arrays = _arrays([*before, *steps], asked.request.sampling.top_logprobs or 0)
    return Choice(
        index=int(part["index"]),
        text=given.before + text,
        finish_reason=str(part["finish_reason"]),
        stop_reason=part.get("stop_reason"),
        given=len(given.prefix),
        tool_calls=calls,
        vocabulary=vocabulary,
        **arrays,
    )


def _call(said: Mapping[str, Any]) -> ToolCall:
    about = said["function"]
    return ToolCall(said.get("id") or call_id(), about["name"], about.get("arguments") or "")


def _steps(asked: Ask, part: Mapping[str, Any], ids: Ids) -> list[Step] | None:
    """The tokens of an answer with what is known of them; None where the server gave nothing."""
    said = part.get("logprobs")
    entries = None if said is None else said.get("content") if asked.chat else _legacy(said)
    if entries is None:
        return None
    top = asked.request.sampling.top_logprobs or 0
    steps = [_step(entry, ids, top) for entry in entries]
    widest = "return_token_ids" in asked.body and asked.body.get("top_logprobs") == top
    return [_narrowed(step) for step in steps] if widest else steps


def _narrowed(step: Step) -> Step:
    """A step of the widest list that vLLM gives: it begins with the chosen token, for which the last of the likely
    ones may have made room. Where the chosen one is the least of the list, its rank is not known."""
    own, logprob, rank, likely = step
    return (own, logprob, 0, likely[:-1]) if rank == len(likely) == _MOST else step


def _legacy(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The lists of a text completion as the entries of a chat's."""
    tops = said.get("top_logprobs") or [None] * len(said["tokens"])
    return [
        {
            "token": token,
            "logprob": logprob,
            "top_logprobs": [{"token": name, "logprob": value} for name, value in (top or {}).items()],
        }
        for token, logprob, top in zip(said["tokens"], said["token_logprobs"], tops, strict=True)
    ]


def _step(entry: Mapping[str, Any], ids: Ids, top: int) -> Step:
    own = _id(entry, ids)
    found = [(_id(one, ids), float(one["logprob"])) for one in entry.get("top_logprobs") or ()]
    likely = [(i, p) for i, p in found if i is not None]
    own = own if len(likely) == len(found) else None
    likely.sort(key=lambda pair: -pair[1])
    logprob = float("nan") if entry["logprob"] is None else float(entry["logprob"])
    places = [place for place, (i, _) in enumerate(likely, 1) if i == own]
    # Beyond the k asked for the list holds the chosen token only because it was chosen.
    rank = places[0] if places and (top < 0 or places[0] <= top) else 0
    return own, logprob, rank, likely


def _id(entry: Mapping[str, Any], ids: Ids) -> int | None:
    name, raw = str(entry["token"]), entry.get("bytes")
    if name.startswith(_ID) and name[len(_ID) :].isdigit():
        return int(name[len(_ID) :])
    return ids(name, None if raw is None else bytes(raw))


def _arrays(steps: Sequence[Step], top: int) -> dict[str, Any]:
    """The arrays of a choice. Without the ids of all its tokens there are only their log probabilities."""
    logprobs = np.array([step[1] for step in steps], np.float32)
    if any(step[0] is None for step in steps):
        return {"logprobs": logprobs}
    width = max((len(step[3]) for step in steps), default=0) if top < 0 else top
    top_ids = np.zeros((len(steps), width), np.int32)
    values = np.full((len(steps), width), np.nan, np.float32)
    for place, (_, _, _, likely) in enumerate(steps):
        for rank, (token, logprob) in enumerate(likely[:width]):
            top_ids[place, rank], values[place, rank] = token, logprob
    return {
        "token_ids": np.array([step[0] for step in steps], np.int32),
        "logprobs": logprobs,
        "ranks": np.array([step[2] for step in steps], np.int32),
        "top_ids": top_ids,
        "top_logprobs": values,
    }


def _prompt_steps(part: Mapping[str, Any], token_ids: Sequence[int]) -> list[Step]:
    """The tokens of a prompt: vLLM gives a table by ids for each, and nothing for the first."""
    said = part.get("prompt_logprobs") or [None] * len(token_ids)
    return [_prompt_step(token, table) for token, table in zip(token_ids, said, strict=True)]


def _prompt_step(token: int, table: Mapping[str, Any] | None) -> Step:
    if table is None:
        return token, float("nan"), 0, []
    own = table[str(token)]
    likely = [(int(name), float(one["logprob"])) for name, one in table.items()]
    likely.sort(key=lambda pair: -pair[1])
    return token, float(own["logprob"]), int(own["rank"]), likely


def _prompt_choice(
    asked: Ask, part: Mapping[str, Any], vocabulary: Callable[[], Vocabulary] | None
) -> Choice | None:
    """The prompt as a choice, where it was asked for."""
    request, given = asked.request, asked.given
    wanted = request.echo or request.sampling.prompt_logprobs is not None
    if given is None or not wanted:
        return None
    arrays: dict[str, Any] = {"token_ids": np.array(given.prompt, np.int32)}
    if part.get("prompt_logprobs") is not None:
        steps = _prompt_steps(part, [*given.prompt, *given.prefix])[: len(given.prompt)]
        asked_for = request.sampling.prompt_logprobs
        arrays = _arrays(steps, (request.sampling.top_logprobs if asked_for is None else asked_for) or 0)
    return Choice(PROMPT, given.text, "prompt", vocabulary=vocabulary, **arrays)


def _usage(said: Mapping[str, Any], prompt_ids: Sequence[int], made: Iterable[Choice]) -> Usage:
    """As the server counts; where it does not, by the ids that it gave."""
    told = said.get("usage") or {}
    generated = sum(len(choice.token_ids) - choice.given for choice in made)
    details = told.get("prompt_tokens_details") or {}
    cached = details.get("cached_tokens") or told.get("prompt_cache_hit_tokens")  # the latter is DeepSeek's
    found = (
        told.get("prompt_tokens") or len(prompt_ids),
        told.get("completion_tokens") or generated,
        cached or 0,
    )
    if not all(0 <= n < _TOO_MANY for n in found):
        raise OverflowError(f"usage of {found} tokens")
    return Usage(*map(int, found))


class Pieces:
    """The chunks of a streamed answer, put together as the response that it would have been at once."""

    def __init__(self, chat: bool) -> None:
        self._chat = chat
        self.said: dict[str, Any] = {"choices": []}
        self._parts: dict[int, dict[str, Any]] = {}

    def add(self, chunk: Mapping[str, Any]) -> list[tuple[int, str, str | None]]:
        """Takes a chunk; (index, text, finish_reason) of each of its choices. Raises BadAnswer."""
        try:
            parts = chunk.get("choices") or []
            self.said |= {n: v for n, v in chunk.items() if n != "choices" and v is not None}
            return [self._add(part) for part in parts]
        except _ODD as error:
            raise odd(error, chunk) from None

    def _add(self, part: Mapping[str, Any]) -> tuple[int, str, str | None]:
        index = int(part["index"])
        whole = self._parts.get(index)
        if whole is None:
            whole = self._parts[index] = {"index": index, "finish_reason": None}
            whole |= {"message": {"content": ""}} if self._chat else {"text": ""}
            self.said["choices"].append(whole)
        for name in ("finish_reason", "stop_reason", "prompt_token_ids", "prompt_logprobs"):
            if part.get(name) is not None:
                whole[name] = part[name]
        if part.get("token_ids"):
            whole["token_ids"] = [*whole.get("token_ids", ()), *part["token_ids"]]
        if part.get("logprobs"):
            whole["logprobs"] = _longer(whole.get("logprobs") or {}, part["logprobs"])
        return index, self._text(whole, part), part.get("finish_reason")

    def _text(self, whole: dict[str, Any], part: Mapping[str, Any]) -> str:
        if not self._chat:
            text = str(part.get("text") or "")
            whole["text"] += text
            return text
        delta, message = part.get("delta") or {}, whole["message"]
        for name in ("refusal", *_REASONING):
            if delta.get(name):
                message[name] = message.get(name, "") + delta[name]
        for call in delta.get("tool_calls") or ():
            _lengthen(message.setdefault("tool_calls", []), call)
        text = str(delta.get("content") or "")
        message["content"] += text
        return text


def _longer(whole: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Lists of log probabilities, one after the other."""
    return {**whole, **{n: [*(whole.get(n) or ()), *v] for n, v in more.items() if isinstance(v, list)}}


def _lengthen(calls: list[dict[str, Any]], piece: Mapping[str, Any]) -> None:
    """Adds a piece to the call that it belongs to."""
    place = int(piece.get("index", len(calls)))
    while len(calls) <= place:
        calls.append({"id": None, "function": {"name": "", "arguments": ""}})
    call, about = calls[place], piece.get("function") or {}
    call["id"] = call["id"] or piece.get("id")
    for name in ("name", "arguments"):
        call["function"][name] += about.get(name) or ""
