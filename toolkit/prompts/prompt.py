"""Prompt: the messages sent to a model, made from templates, few-shot examples, documents and a row of data."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

from toolkit.examples import SHOTS, Item, Pool, Selector, identity, ordered
from toolkit.messages import Message, Messages, caption, copied, fold_system, messages, view
from toolkit.sampling import named_fields_only
from toolkit.template import Template, lacks
from toolkit.window import Window, fit

LAYOUTS = ("turns", "flat")
_USUAL = {"answer": "{answer}", "block": "{question}\n{answer}", "document": "[{number}] {text}"}
"""Templates that a prompt has by itself; in Jinja2 the braces are doubled."""
_SHARED = ("template", "system", "developer", "examples", "answer", "layout", "block", "document", "syntax")
"""Fields that the rendered examples depend on."""


@dataclass(frozen=True)
class Rendered:
    """A prompt filled with a row: what is sent, and what it was made of."""

    messages: Messages
    examples: tuple[Any, ...] | None = None
    """Ids (or positions in the pool) of the few-shot examples, in the order shown; None without a pool."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """What `fit` left out: turns, examples, and characters of documents."""
    prompt_tokens: int | None = None
    """As `fit` counted them."""

    @property
    def notes(self) -> dict[str, Any]:
        """What a record of the request says about its making."""
        found = {} if self.examples is None else {"examples": list(self.examples)}
        return {**found, **({"dropped": dict(self.dropped)} if self.dropped else {})}

    def _repr_html_(self) -> str:
        notes = "".join(f"; {name}: {_brief(value)}" for name, value in self.notes.items())
        return view(self.messages, caption(self.messages) + notes)


def _brief(value: Any) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)


@named_fields_only("prompt field")
@dataclass(frozen=True)
class Prompt:
    """Templates with named variables, filled from a row: `{text}` is a variable, `{{` and `}}` are braces.

    The messages are: system and developer text, few-shot examples, the turns of `history`, the template. Frozen;
    `with_` makes variants. Raises ValueError for malformed templates and examples that lack a variable.

    >>> Prompt("Review: {text}", system="Be brief.").messages({"text": "Great!"})[1]["content"]
    'Review: Great!'
    """

    template: str
    """The user message."""
    system: str | None = None
    developer: str | None = None
    examples: Sequence[Mapping[str, Any]] = ()
    """The pool of few-shot examples: dicts with the template's variables, and those of `answer`."""
    answer: str | None = None
    """The assistant's message in an example; its variable `answer` when left out."""
    k: int | None = None
    """How many examples are shown; all of them when left out."""
    selector: Any = "first"
    """Which: first, random, balanced, similar (BM25), mmr, or one of `toolkit.examples` with its options."""
    order_seed: int | None = None
    """Shuffles the chosen examples; left out, they stand as the selector put them."""
    layout: str = "turns"
    """Examples as user and assistant "turns", or "flat" in the user message itself."""
    block: str | None = None
    """How one example reads in the flat layout, by its `question` and `answer`; on lines of their own when this is
    left out. Blank lines stand between examples."""
    documents: Sequence[str | Mapping[str, Any]] = ()
    """Context (texts, or dicts with the variables of `document`), for rows without `documents` of their own. They
    stand where a template has the variable `documents`."""
    document: str | None = None
    """How one document reads; when left out, its `number`, from 1, in brackets and its `text`."""
    history: Sequence[Message] = ()
    """Turns before the template's."""
    syntax: str = "format"
    """Of all templates: Python's "format" or "jinja" (Jinja2)."""
    fold_system: bool = False
    """Puts system and developer text before the first user message, for models that take none."""
    name: str | None = None
    """What tables call it."""

    def __post_init__(self) -> None:
        for name in ("system", "developer"):
            if getattr(self, name) == "":
                object.__setattr__(self, name, None)
        for name in (*self._spoken, *_USUAL):
            self._template(name)
        for name, rule in SHOTS.items():
            if getattr(self, name) is not None:
                object.__setattr__(self, name, rule(name, getattr(self, name)))
        if self.layout not in LAYOUTS:
            raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, got {self.layout!r}")
        object.__setattr__(self, "examples", dicts("examples", self.examples))
        object.__setattr__(self, "documents", _documents(self.documents))
        object.__setattr__(self, "history", messages(self.history) if self.history else ())
        self._check()

    def _check(self) -> None:
        if self.k is not None and self.k > len(self.examples):
            raise ValueError(
                f"k is {self.k}, but there are {len(self.examples)} examples: give more, or lower k"
            )
        if self.documents and "documents" not in self._mentioned:
            raise ValueError(
                "documents are given, but no template has the variable documents: say where they go"
            )
        if more := [n for n in self._template("block").variables if n not in ("question", "answer")]:
            raise ValueError(f"block has the variables question and answer only, not {', '.join(more)}")
        needed = [*self._template("template").variables, *self._template("answer").variables]
        for i, row in enumerate(self.examples):
            if missing := [n for n in self.example_variables if n not in row]:
                raise ValueError(f"examples[{i}]: {lacks(missing, row)}")
            self._refuse_missing(f"examples[{i}]", row, needed)

    def _refuse_missing(self, where: str, row: Mapping[str, Any], names: Sequence[str]) -> None:
        """A frame's missing values would be sent as the words nan and None. (Jinja2 templates may ask for them.)"""
        for name in names:
            value = row.get(name, "")
            if self.syntax == "format" and (value is None or (isinstance(value, float) and value != value)):
                raise ValueError(
                    f"{where} has no value for {name!r}, got {value!r}: fill it, or leave the row out"
                )

    __hash__ = None  # type: ignore[assignment]  # examples are dicts

    def _template(self, name: str) -> Template:
        if name not in self._templates:
            text = getattr(self, name)
            if text is None:
                usual = _USUAL[name]
                text = usual.replace("{", "{{ ").replace("}", " }}") if self.syntax == "jinja" else usual
            try:
                self._templates[name] = Template(text, self.syntax)
            except ValueError as error:
                raise ValueError(str(error) if name == "template" else f"{name}: {error}") from None
        return self._templates[name]

    @cached_property
    def _templates(self) -> dict[str, Template]:
        return {}

    @property
    def _spoken(self) -> tuple[str, ...]:
        """The fields with a text of their own in every request."""
        return tuple(n for n in ("system", "developer", "template") if getattr(self, n) is not None)

    @cached_property
    def _used(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(v for n in self._spoken for v in self._template(n).variables))

    @cached_property
    def _mentioned(self) -> frozenset[str]:
        """Names in these templates, those that a row may lack included."""
        return frozenset(v for n in self._spoken for v in self._template(n).mentions)

    @property
    def _compared(self) -> tuple[str, ...]:
        """The variables whose values tell rows apart: those of the template, or of the other texts, or documents."""
        own = [n for n in self._template("template").mentions if n != "documents"]
        return tuple(own or [n for n in self._used if n != "documents"] or ["documents"])

    @property
    def variables(self) -> tuple[str, ...]:
        """The names that a row must have, in order of appearance."""
        return tuple(v for v in self._used if v != "documents" or not self.documents)

    @property
    def example_variables(self) -> tuple[str, ...]:
        """The names that an example must have: those of the template, then those of the answer."""
        own = (v for name in ("template", "answer") for v in self._template(name).variables)
        return tuple(dict.fromkeys(v for v in own if v != "documents"))

    @cached_property
    def pool(self) -> Pool:
        """The examples, with the texts by which they are compared."""
        answers = tuple(self._template("answer").fill(row) for row in self.examples)
        return Pool(tuple(self.examples), tuple(_text(row, self._compared) for row in self.examples), answers)

    @cached_property
    def _shown(self) -> tuple[Messages | str, ...]:
        """Each example of the pool as it is sent."""
        return tuple(
            self._example(row, text) for row, text in zip(self.examples, self.pool.answers, strict=True)
        )

    def _example(self, row: Mapping[str, Any], answer: str) -> Messages | str:
        # The prompt's own documents belong to the question that is asked, not to each example.
        in_template = "documents" in self._template("template").mentions
        filled = self._with_documents({"documents": (), **row}) if in_template else row
        question = self._template("template").fill(filled)
        if in_template and "documents" not in row:
            question = question.strip()
        if self.layout == "flat":
            return self._template("block").fill({"question": question, "answer": answer})
        return messages([{"role": "user", "content": question}, {"role": "assistant", "content": answer}])

    def messages(self, row: Mapping[str, Any] | None = None) -> Messages:
        """The conversation for one row. Raises ValueError that names all missing variables at once."""
        return self.render(row).messages

    def render(self, row: Mapping[str, Any] | None = None) -> Rendered:
        """The conversation for one row, with the examples that were chosen for it."""
        row = self._checked(row)
        chosen = self._choose(row)
        return Rendered(self._assemble(row, chosen, self.history), self._names(chosen))

    def _checked(self, given: Any) -> Mapping[str, Any]:
        """The row, with all that is needed. Raises ValueError that names what is missing."""
        row = _row(given)
        if missing := [name for name in self.variables if name not in row]:
            raise ValueError(lacks(missing, row))
        self._refuse_missing("the row", row, self.variables)
        return row

    def _names(self, chosen: Sequence[int]) -> tuple[Any, ...] | None:
        """The ids of examples, where all have one; else their places in the pool."""
        if not self.examples:
            return None
        return tuple(self.examples[i]["id"] for i in chosen) if self._identified else tuple(chosen)

    @cached_property
    def _identified(self) -> bool:
        return all(identity(row) is not None for row in self.examples)

    def _choose(self, row: Mapping[str, Any]) -> list[int]:
        k = len(self.examples) if self.k is None else self.k
        if not k:
            return []
        item = Item(_text(row, self._compared), identity(row))
        return ordered(self.selector.select(self.pool, item, k), self.order_seed)

    def chosen(self, row: Mapping[str, Any] | None = None) -> list[int]:
        """Places in `examples` of those that a row is shown, in their order."""
        return self._choose(self._checked(row))

    def example(self, place: int) -> Messages | str:
        """One of `examples` as it is sent: its two messages, or its text in the flat layout."""
        return self._shown[place]

    def sizes(self, row: Mapping[str, Any] | None, count: Callable[[Messages], int]) -> list[int]:
        """What the prompt for a row is made of, in tokens: all but the examples, then what each example adds to
        those before it, in the order shown. The sum is the whole. count: that of messages (an engine's `count`)."""
        row = self._checked(row)
        chosen = self._choose(row)
        first = (chosen[:n] for n in range(len(chosen) + 1))
        totals = [count(self._assemble(row, some, self.history)) for some in first]
        return [totals[0], *(after - before for before, after in pairwise(totals))]

    def _assemble(
        self, row: Mapping[str, Any], chosen: Sequence[int], history: Sequence[Message]
    ) -> Messages:
        filled = self._with_documents(row) if "documents" in self._mentioned else row
        said = {name: self._template(name).fill(filled) for name in self._spoken}
        question = said.pop("template")
        shown = [self._shown[i] for i in chosen]
        if self.layout == "flat":
            question = "\n\n".join([*(str(block) for block in shown), question])
            shown = []
        head = (
            messages([{"role": r, "content": t} for r, t in said.items() if t]) if any(said.values()) else ()
        )
        turns = (*head, *(m for pair in shown for m in pair), *history, *messages(question))
        return copied(fold_system(turns) if self.fold_system else turns)  # type: ignore[arg-type]

    def _with_documents(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row with its documents as texts that read as one."""
        given = row.get("documents", self.documents)
        if isinstance(given, (str, _Texts)):  # read as they are
            return {**row, "documents": given}
        template = self._template("document")
        texts = [template.fill({"number": i, **d}) for i, d in enumerate(_documents(given), 1)]
        return {**row, "documents": _Texts(texts)}

    def fit(
        self,
        row: Mapping[str, Any] | None,
        engine: Window,
        reserve: int,
        strategy: str | Sequence[str] = "refuse",
    ) -> Rendered:
        """The conversation for one row, made short enough for the engine's context window.

        reserve: tokens kept for the answer (its max_tokens). strategy: what to leave out, in this order, until
        prompt and reserve fit: "turns" (the oldest exchanges of `history`), "examples" (the first shown: of
        similar ones the least similar), "documents" (their end, to the character); "refuse" leaves nothing out.

        Raises ValueError, with the numbers, when what may be left out is not enough.
        """
        row = self._checked(row)
        chosen = self._choose(row)
        texts = self._with_documents(row)["documents"] if "documents" in self._mentioned else ()
        lead, exchanges = _exchanges(self.history)
        documents = [{"text": t} for t in ([texts] if isinstance(texts, str) else texts)]
        parts = {"turns": exchanges, "examples": chosen, "documents": documents}

        def build(kept: Mapping[str, Any]) -> Messages:
            history = (*lead, *(m for exchange in kept["turns"] for m in exchange))
            left = _Texts(d["text"] for d in kept["documents"])
            documents = str(left) if isinstance(texts, str) else left
            return self._assemble({**row, "documents": documents}, kept["examples"], history)

        kept, dropped, tokens = fit(build, parts, engine, reserve, strategy)
        return Rendered(build(kept), self._names(kept["examples"]), dropped, tokens)

    def with_(self, **changes: Any) -> Prompt:
        """A copy with some fields changed."""
        new = replace(self, **changes)
        if not any(name in changes for name in _SHARED):
            # Examples are rendered and indexed once for all variants that show the same ones.
            new.__dict__.update(pool=self.pool, _shown=self._shown)
        return new

    def to_dict(self) -> dict[str, Any]:
        """The fields that are set, as plain data."""
        found: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Selector):
                value = value.to_dict()
                value = value["name"] if len(value) == 1 else value
            if isinstance(value, tuple):
                value = [dict(v) if isinstance(v, Mapping) else v for v in value]
            if value != f.default and value != []:
                found[f.name] = value
        return found

    def save(self, path: str | Path) -> Path:
        """Writes the prompt as YAML (.yaml, .yml) or JSON (.json)."""
        path = Path(path)
        data = self.to_dict()
        if _kind(path) == "json":
            text = json.dumps(data, ensure_ascii=False, indent=2) + "\n"
        else:
            import yaml

            # YAML reads these line ends as plain ones, unless they are escaped.
            odd = any(mark in json.dumps(data, ensure_ascii=False) for mark in "\x85\u2028\u2029")
            text = yaml.safe_dump(data, allow_unicode=not odd, sort_keys=False, width=100)
        path.write_text(text, encoding="utf-8")
        return path

    @classmethod
    def load(cls, path: str | Path) -> Prompt:
        """What `save` wrote, or a person. Raises ValueError or TypeError that names the file."""
        path = Path(path)
        data = read(path)
        try:
            return cls(**data)
        except (ValueError, TypeError) as error:
            raise type(error)(f"{path}: {error}") from None

    def _repr_html_(self) -> str:
        row = {name: _Blank(f"{{{name}}}") for name in self.variables}
        try:
            shown = self.render(row)
        except ValueError:  # a template that computes cannot be shown with its variables open: its source can
            source = [{"role": n, "content": getattr(self, n)} for n in self._spoken if n != "template"]
            shown = Rendered(messages([*source, {"role": "user", "content": self.template}]))
        pool = f"; {len(shown.examples or ())} of {len(self.examples)} examples" if self.examples else ""
        unfilled = "; variables not filled" if row else ""
        return view(shown.messages, caption(shown.messages) + pool + unfilled)


class _Texts(list[str]):
    """Texts that a template may go through one by one, or write as one."""

    def __str__(self) -> str:
        return "\n\n".join(self)

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


class _Blank(str):
    """Stands for a variable that is not filled, whatever format a template asks of it."""

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        return str(self)


def read(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file."""
    text = path.read_text(encoding="utf-8")
    import yaml

    try:
        data = json.loads(text) if _kind(path) == "json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path} is not valid {_kind(path).upper()}: {error}") from None
    if not isinstance(data, dict) or not all(isinstance(name, str) for name in data):
        raise ValueError(f"{path} must hold the fields of a prompt, such as `template:`, got {data!r:.80}")
    return data


def _kind(path: Path) -> str:
    kinds = {".json": "json", ".yaml": "yaml", ".yml": "yaml"}
    if path.suffix.lower() not in kinds:
        raise ValueError(f"a prompt is saved as .yaml or .json, got {path.name!r}")
    return kinds[path.suffix.lower()]


def _row(given: Any) -> Mapping[str, Any]:
    """A row as a mapping; a row of a frame is one."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        if not hasattr(given, "to_dict"):
            raise TypeError(f"a row must be a dict of variable → value, got {given!r}")
        given = given.to_dict()
    return cast("Mapping[str, Any]", given)


def dicts(name: str, given: Any) -> tuple[dict[str, Any], ...]:
    """Rows of a list or a frame as dicts. Raises TypeError for what is no row."""
    given = () if given is None else given
    if hasattr(given, "to_dict"):  # a DataFrame
        given = given.to_dict("records")
    for i, row in enumerate(given := tuple(given)):
        if not isinstance(row, Mapping):
            raise TypeError(f"{name}[{i}] must be a dict of variable → value, got {row!r}")
    return tuple(dict(row) for row in given)


def _documents(given: Any) -> tuple[dict[str, Any], ...]:
    """Documents as dicts; a text is {"text": …}."""
    if hasattr(given, "to_dict") or given is None:
        return dicts("documents", given)
    given = (given,) if isinstance(given, (str, Mapping)) else given
    return dicts("documents", [{"text": d} if isinstance(d, str) else d for d in given])


def _text(row: Mapping[str, Any], names: Sequence[str]) -> str:
    """The text by which rows are compared: the values of the template's variables."""
    return "\n".join(str(row[name]) for name in names if name in row)


def _exchanges(turns: Sequence[Message]) -> tuple[Sequence[Message], tuple[tuple[Message, ...], ...]]:
    """What stands before the first user message (a system message stays), and the rest in groups that begin with a
    user message, so that none loses its question."""
    start = next(
        (i for i, turn in enumerate(turns) if turn["role"] not in ("system", "developer")), len(turns)
    )
    groups: list[list[Message]] = []
    for turn in turns[start:]:
        if turn["role"] == "user" or not groups:
            groups.append([])
        groups[-1].append(turn)
    return turns[:start], tuple(tuple(group) for group in groups)
