"""Prompt: the messages sent to a model, rendered from templates, few-shot examples, documents and a row of data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from toolkit._internal.field_docs import documented
from toolkit._internal.files import user_path, write_atomically
from toolkit._internal.jsonable import library_value, to_plain
from toolkit._internal.missing import is_missing
from toolkit._internal.text import short_repr
from toolkit._internal.validation import named_fields_only, position
from toolkit.display.markup import Markup
from toolkit.prompts.context_window import TokenCounter, fit
from toolkit.prompts.example_pool import Item, Pool, row_id
from toolkit.prompts.messages import Message, Messages, copy_messages, fold_system, messages
from toolkit.prompts.messages_html import caption, view
from toolkit.prompts.prompt_files import file_text, read_mapping, with_files_read
from toolkit.prompts.rendered import Rendered, fields_repr
from toolkit.prompts.rows import (
    BlankValue,
    JoinedTexts,
    as_data,
    as_documents,
    as_row,
    compared_text,
    document_texts,
    split_exchanges,
)
from toolkit.prompts.selectors import FEW_SHOT_AXES, Selector, ordered
from toolkit.prompts.template import RowError, Template, default_template, gaps_message, lacking_message

LAYOUTS = ("turns", "flat")
_RENDERING_FIELDS = ("template", "system", "developer", "examples", "answer", "layout", "block", "document",
                     "syntax")  # fmt: skip
"""Fields that the rendered examples depend on."""


@documented
@named_fields_only("prompt field")
@dataclass(frozen=True)
class Prompt:
    """Templates with named variables, filled from a row: `{text}` is a variable, `{{` and `}}` are braces.

    The messages are: system and developer text, few-shot examples, the turns of `history`, the template. Frozen;
    `with_` makes variants. Raises ValueError for malformed templates and for examples without a needed variable.

    >>> Prompt("Review: {text}", system="Be brief.").messages({"text": "Great!"})[1]["content"]
    'Review: Great!'
    """

    template: str
    """The user message."""
    system: str | None = None
    """The system message; a template too."""
    developer: str | None = None
    """The developer message; a template too."""
    examples: Sequence[Mapping[str, Any]] = ()
    """The pool of few-shot examples: dicts with the template's variables, and those of `answer`."""
    answer: str | None = None
    """The assistant's message in an example; its variable `answer` by default."""
    k: int | None = None
    """The number of examples in a prompt; all by default."""
    selector: Any = "first"
    """first, random, balanced, similar (BM25), mmr, or one of `toolkit.examples` with its options."""
    order_seed: int | None = None
    """Shuffles the selected examples; by default they keep the selector's order."""
    layout: str = "turns"
    """Examples as user and assistant "turns", or "flat" in the user message itself."""
    block: str | None = None
    """Template of one example in the flat layout, with the variables `question` and `answer`; by default each is on
    its own line. Blank lines separate examples."""
    documents: Sequence[str | Mapping[str, Any]] = ()
    """Context (texts, or dicts with the variables of `document`), for rows without their own `documents`. They
    are inserted where a template has the variable `documents`."""
    document: str | None = None
    """Template of one document; by default its `number`, from 1, in brackets and its `text`."""
    history: Sequence[Message] = ()
    """Earlier turns, before the message of the template."""
    syntax: str = "format"
    """Syntax of all templates: Python's "format" or "jinja" (Jinja2)."""
    fold_system: bool = False
    """Puts system and developer text before the first user message, for models without a system role."""
    name: str | None = None
    """The name shown in tables."""

    def __post_init__(self) -> None:
        for name in ("system", "developer"):
            if getattr(self, name) == "":
                object.__setattr__(self, name, None)
        for name in (*self._text_fields, "answer", "block", "document"):
            self._template(name)
        for name, rule in FEW_SHOT_AXES.items():
            if getattr(self, name) is not None:
                object.__setattr__(self, name, rule(name, getattr(self, name)))
        if self.layout not in LAYOUTS:
            raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, got {short_repr(self.layout)}")
        if not isinstance(self.fold_system, bool):
            raise ValueError(f"fold_system must be True or False, got {short_repr(self.fold_system)}")
        object.__setattr__(self, "examples", as_data("examples", self.examples))
        object.__setattr__(self, "documents", as_documents(self.documents))
        empty = self.history is None or (isinstance(self.history, list | tuple) and not self.history)
        object.__setattr__(self, "history", () if empty else messages(self.history))
        self._validate()

    def _validate(self) -> None:
        if self.k is not None and self.k > len(self.examples):
            raise ValueError(
                f"k is {self.k}, but there are {len(self.examples)} examples: give more, or lower k"
            )
        if self.documents and "documents" not in self._mentioned_variables:
            raise ValueError(
                "documents are given, but no template has the variable documents: say where they go"
            )
        if unknown := [n for n in self._template("block").variables if n not in ("question", "answer")]:
            raise ValueError(f"block has the variables question and answer only, not {', '.join(unknown)}")
        for i, row in enumerate(self.examples):
            if lacking := [n for n in self.example_variables if n not in row]:
                raise ValueError(f"examples[{i}]: {lacking_message(lacking, row)}")
            self._refuse_gaps(f"examples[{i}]", row, ("template", "answer"))

    def _refuse_gaps(self, where: str, row: Mapping[str, Any], templates: Sequence[str]) -> None:
        """A missing value would be sent as the word nan or None."""
        others = {
            name: value for name, value in row.items() if name != "documents"
        }  # whose template has rules too
        gaps = [name for template in templates for name in self._template(template).gaps(others)]
        if self.syntax == "format" and "documents" in self._mentioned_variables:
            gaps += [name for name in ("documents",) if is_missing(row.get(name, ()))]
        if gaps:
            raise ValueError(gaps_message(where, list(dict.fromkeys(gaps)), row))

    __hash__ = None  # type: ignore[assignment]  # examples are dicts

    def _template(self, name: str) -> Template:
        if name not in self._templates:
            text = getattr(self, name)
            if text is None:
                text = default_template(name, self.syntax)
            try:
                self._templates[name] = Template(text, self.syntax)
            except ValueError as error:
                raise ValueError(str(error) if name == "template" else f"{name}: {error}") from None
        return self._templates[name]

    @cached_property
    def _templates(self) -> dict[str, Template]:
        return {}

    @property
    def _text_fields(self) -> tuple[str, ...]:
        """Names of the templates that are part of every request."""
        return tuple(n for n in ("system", "developer", "template") if getattr(self, n) is not None)

    @cached_property
    def _used_variables(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(v for n in self._text_fields for v in self._template(n).variables))

    @cached_property
    def _mentioned_variables(self) -> frozenset[str]:
        """All names in these templates, including optional ones."""
        return frozenset(v for n in self._text_fields for v in self._template(n).mentions)

    @property
    def _compared_variables(self) -> tuple[str, ...]:
        """The variables that rows are compared by: those of the template, else of the other texts, else documents."""
        names = [n for n in self._template("template").mentions if n != "documents"]
        return tuple(names or [n for n in self._used_variables if n != "documents"] or ["documents"])

    @property
    def variables(self) -> tuple[str, ...]:
        """The names that a row must have, in order of appearance."""
        return tuple(v for v in self._used_variables if v != "documents" or not self.documents)

    @property
    def example_variables(self) -> tuple[str, ...]:
        """The names that an example must have: those of the template, then those of the answer."""
        names = (v for name in ("template", "answer") for v in self._template(name).variables)
        return tuple(dict.fromkeys(v for v in names if v != "documents"))

    @cached_property
    def pool(self) -> Pool:
        """The examples, with the texts by which they are compared."""
        answers = tuple(self._fill_example("answer", i, row) for i, row in enumerate(self.examples))
        texts = tuple(compared_text(row, self._compared_variables) for row in self.examples)
        return Pool(tuple(self.examples), texts, answers)

    @cached_property
    def _rendered_examples(self) -> tuple[Messages | str, ...]:
        """Each example of the pool, rendered."""
        return tuple(
            self._render_example(i, row, text)
            for i, (row, text) in enumerate(zip(self.examples, self.pool.answers, strict=True))
        )

    def _fill_example(self, name: str, number: int, row: Mapping[str, Any]) -> str:
        try:
            return self._template(name).fill(row)
        except ValueError as error:
            raise ValueError(f"examples[{number}]: {error}") from None

    def _render_example(self, number: int, row: Mapping[str, Any], answer: str) -> Messages | str:
        # The prompt's documents belong to the final question, not to each example.
        in_template = "documents" in self._template("template").mentions
        filled = self._with_documents({"documents": (), **row}) if in_template else row
        question = self._fill_example("template", number, filled)
        if in_template and "documents" not in row:
            question = question.strip()
        if self.layout == "flat":
            return self._template("block").fill({"question": question, "answer": answer})
        return messages([{"role": "user", "content": question}, {"role": "assistant", "content": answer}])

    def messages(self, row: Mapping[str, Any] | None = None) -> Messages:
        """The conversation for one row. Raises ValueError that names all missing variables at once."""
        return self.render(row).messages

    def render(self, row: Mapping[str, Any] | None = None) -> Rendered:
        """The conversation for one row, with the examples that were selected for it."""
        row = self._validated_row(row)
        selected = self._select(row)
        return Rendered(self._assemble(row, selected, self.history), self._example_ids(selected))

    def _validated_row(self, source: Any) -> Mapping[str, Any]:
        """The row, validated. Raises ValueError that names all missing variables at once."""
        row = {} if source is None else as_row("a row", source)
        if lacking := [name for name in self.variables if name not in row]:
            raise ValueError(lacking_message(lacking, row))
        self._refuse_gaps("the row", row, self._text_fields)
        return row

    def _example_ids(self, positions: Sequence[int]) -> tuple[Any, ...] | None:
        """The ids of examples if all of the pool have one, else their positions; None without a pool."""
        if not self.examples:
            return None
        return tuple(self.examples[i]["id"] for i in positions) if self._all_have_ids else tuple(positions)

    @cached_property
    def _all_have_ids(self) -> bool:
        return all(row_id(row) is not None for row in self.examples)

    def _select(self, row: Mapping[str, Any]) -> list[int]:
        k = len(self.examples) if self.k is None else self.k
        if not k:
            return []
        item = Item(compared_text(row, self._compared_variables), row_id(row))
        return ordered(self.selector.select(self.pool, item, k), self.order_seed)

    def chosen(self, row: Mapping[str, Any] | None = None) -> list[int]:
        """Positions in `examples` of those in the prompt of a row, in their order."""
        return self._select(self._validated_row(row))

    def example(self, place: int) -> Messages | str:
        """One of `examples`, rendered: its two messages, or its text in the flat layout. Raises IndexError."""
        return self._rendered_examples[position("place", place, len(self.examples))]

    def sizes(self, row: Mapping[str, Any] | None, count: Callable[[Messages], int]) -> list[int]:
        """The tokens of the prompt for a row by part: all but the examples, then what each example adds to those
        before it, in their order. They sum to the prompt's tokens. count: counts messages (an engine's `count`)."""
        row = self._validated_row(row)
        selected = self._select(row)
        prefixes = (selected[:n] for n in range(len(selected) + 1))
        totals = [count(self._assemble(row, prefix, self.history)) for prefix in prefixes]
        return [totals[0], *(after - before for before, after in pairwise(totals))]

    def _assemble(
        self, row: Mapping[str, Any], positions: Sequence[int], history: Sequence[Message]
    ) -> Messages:
        filled = self._with_documents(row) if "documents" in self._mentioned_variables else row
        texts = {name: self._template(name).fill(filled) for name in self._text_fields}
        question = texts.pop("template")
        examples = [self._rendered_examples[i] for i in positions]
        if self.layout == "flat":
            question = "\n\n".join([*(str(block) for block in examples), question])
            examples = []
        if not question:
            raise RowError("the template is empty once it is filled")
        instructions = [{"role": role, "content": text} for role, text in texts.items() if text]
        head = messages(instructions) if instructions else ()
        turns = (*head, *(m for pair in examples for m in pair), *history, *messages(question))
        return copy_messages(fold_system(turns) if self.fold_system else turns)  # type: ignore[arg-type]

    def _with_documents(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row with its documents rendered as joined texts; a string is kept as it is."""
        documents = row.get("documents", self.documents)
        if isinstance(documents, (str, JoinedTexts)):
            return {**row, "documents": documents}
        return {**row, "documents": document_texts(documents, self._template("document"))}

    def fit(
        self,
        row: Mapping[str, Any] | None,
        engine: TokenCounter,
        reserve: int,
        strategy: str | Sequence[str] = "refuse",
    ) -> Rendered:
        """The conversation for one row, shortened to fit the engine's context window.

        reserve: tokens kept for the answer (its max_tokens). strategy: what to leave out, in this order, until
        prompt and reserve fit: "turns" (the oldest exchanges of `history`), "examples" (the first in the prompt: of
        similar ones the least similar), "documents" (from their end, by character); "refuse" leaves nothing out.

        Raises ValueError, with the numbers, when leaving these out is not enough.
        """
        row = self._validated_row(row)
        selected = self._select(row)
        texts = self._with_documents(row)["documents"] if "documents" in self._mentioned_variables else ()
        head, exchanges = split_exchanges(self.history)
        documents = [{"text": t} for t in ([texts] if isinstance(texts, str) else texts)]
        parts = {"turns": exchanges, "examples": selected, "documents": documents}

        def build(kept: Mapping[str, Any]) -> Messages:
            history = (*head, *(m for exchange in kept["turns"] for m in exchange))
            remaining = JoinedTexts(d["text"] for d in kept["documents"])
            documents = str(remaining) if isinstance(texts, str) else remaining
            return self._assemble({**row, "documents": documents}, kept["examples"], history)

        kept, dropped, tokens = fit(build, parts, engine, reserve, strategy)
        return Rendered(build(kept), self._example_ids(kept["examples"]), dropped, tokens)

    def with_(self, **changes: Any) -> Prompt:
        """A copy with some fields changed."""
        new = replace(self, **changes)
        if not any(name in changes for name in _RENDERING_FIELDS):
            # Variants with the same pool share its rendered examples and its index.
            new.__dict__.update(pool=self.pool, _rendered_examples=self._rendered_examples)
        return new

    def to_dict(self) -> dict[str, Any]:
        """The fields that differ from their defaults, as plain data."""
        changed: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Selector):
                value = value.to_dict()
                value = value["name"] if len(value) == 1 else value
            if isinstance(value, tuple):
                value = [dict(v) if isinstance(v, Mapping) else v for v in value]
            if value != f.default and value != []:
                changed[f.name] = value
        return changed

    def save(self, path: str | Path) -> Path:
        """Writes the prompt as YAML (.yaml, .yml) or JSON (.json). Raises ValueError for another name, OSError."""
        path = user_path(path)
        write_atomically(path, file_text(path, to_plain(self.to_dict(), library_value)))
        return path

    @classmethod
    def load(cls, path: str | Path, *, allow_files: bool = False) -> Prompt:
        """A prompt from a YAML or JSON file; YAML's texts need no quotes (see `read_mapping`). Raises ValueError or
        TypeError that names the file, OSError where it cannot be read.

        allow_files: whether images in its `history` may name files of this machine, which are then read and sent.
        """
        path = user_path(path)
        data = read_mapping(path)
        try:
            return cls(**(with_files_read(data) if allow_files else data))
        except (ValueError, TypeError) as error:
            raise type(error)(f"{path}: {error}") from None

    def __repr__(self) -> str:
        return fields_repr(self)

    def _repr_html_(self) -> Markup:
        row = {name: BlankValue(f"{{{name}}}") for name in self.variables}
        try:
            rendered = self.render(row)
        except ValueError:  # a template that computes with its variables is displayed as its source
            source = [{"role": n, "content": getattr(self, n)} for n in self._text_fields if n != "template"]
            rendered = Rendered(messages([*source, {"role": "user", "content": self.template}]))
        pool = f"; {len(rendered.examples or ())} of {len(self.examples)} examples" if self.examples else ""
        unfilled = "; variables not filled" if row else ""
        return view(rendered.messages, caption(rendered.messages) + pool + unfilled)
