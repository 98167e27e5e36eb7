"""Price: costs and benefits of constraining answers to a schema: the same prompts run in four ways."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit._internal.validation import instance_of
from toolkit.analysis.determinism.statistics import holm, mcnemar
from toolkit.core.completion import Completion
from toolkit.core.sampling import Sampling
from toolkit.display.markup import Markup, markup
from toolkit.engines.base import Engine, as_engine
from toolkit.engines.scoring import prefix_choice, to_score
from toolkit.experiments.grid import Cells
from toolkit.experiments.plan import STORE
from toolkit.experiments.run import completions
from toolkit.experiments.sweep import Sweep, as_rows
from toolkit.experiments.unsendable import render_row
from toolkit.prompts.prompt import Prompt, Rendered
from toolkit.store.store import Store
from toolkit.structured.response_format import ResponseFormat, response_format
from toolkit.structured.verdict import Verdict, parsed, verdict

if TYPE_CHECKING:
    import pandas as pd

    from toolkit.display.tables import Table


ARMS = ("free", "instructed", "reasoned", "constrained")
"""free: the prompt as it is. instructed: the schema is added to the prompt. reasoned: the model thinks in prose
first, and its answer is then constrained to the schema. constrained: instructed, and constrained to the schema."""
_THINK = "Think about it step by step, in a few sentences. Do not answer yet."


def price_of_schema(
    engine: Engine,
    prompt: str | Prompt,
    form: Any,
    rows: Iterable[Mapping[str, Any]] | None = None,
    correct: Callable[[Any, Mapping[str, Any]], bool] | None = None,
    store: Store | str | Path = STORE,
    **sampling: Any,
) -> Price:
    """Runs every row in the four ways of `ARMS` and measures each answer.

    form: the schema or type. correct: from the parsed answer and its row to whether it is right; without one, an
    answer is compared with the row's `expected` (JSON text or data) where there is one; JSON in a fenced block is not
    valid but can be correct, prose is neither. sampling: for all arms. The completions go into the store; what is
    there already is not asked again.

    Raises ValueError for a response format that is not JSON. A row that cannot be answered is not valid, and its
    `error` says why: in the arm "reasoned" also when it could not be thought about.
    """
    schema = response_format(form)
    if schema is None or not schema.is_json:
        raise ValueError(f"form must be a JSON Schema or a type, got {form!r}")
    template = Prompt(prompt) if isinstance(prompt, str) else prompt
    if not isinstance(template, Prompt):
        raise TypeError(f"prompt must be text or a Prompt, got {prompt!r}")
    items = as_rows(rows) or ({},)
    rendered = [render_row(template.render, i, row) for i, row in enumerate(items)]
    options = Sampling(**{"top_logprobs": 0, **sampling}).given()
    instructed = [_with_text(r, _instruction(schema)) for r in rendered]
    thinking = _completions(engine, [_with_text(r, _THINK) for r in rendered], None, options, store)
    answers = {
        "free": _completions(engine, rendered, None, options, store),
        "instructed": _completions(engine, instructed, None, options, store),
        "reasoned": _reasoned(engine, rendered, thinking, schema, options, store),
        "constrained": _completions(engine, instructed, schema, options, store),
    }
    masses = {arm: removed_mass(engine, answers[arm]) for arm in ("reasoned", "constrained")}
    table = [
        {
            **_measured(completion, schema, items[i], correct),
            "arm": arm,
            "row": i,
            **_thinking_usage(thinking[i] if arm == "reasoned" else None),
            "removed_mass": float(masses[arm][i].mean()) if arm in masses and masses[arm][i].size else np.nan,
        }
        for arm in ARMS
        for i, completion in enumerate(answers[arm])
    ]
    return Price(str(schema), tuple(table), answers, masses)


def removed_mass(engine: Engine, completions: Sequence[Completion]) -> list[npt.NDArray[np.float64]]:
    """(T,) for each completion: the probability, 0 to 1, that the model gave at each step to tokens which the
    grammar forbade; NaN where it is unknown (no logprobs, or an answer that fills the context window).

    vLLM's logprobs of a constrained answer are taken after the grammar's mask, so they are renormalised over the
    allowed tokens: p' = p / (mass allowed). Scoring the same tokens without the grammar gives p, hence
    removed = 1 − p / p'.
    """
    engine = as_engine(engine)
    for place, item in enumerate(completions):
        instance_of(Completion, f"completions[{place}]", item, "engine.chat(…) and results give them")
    with_logprobs = [c for c in completions if c.logprobs is not None and len(c.token_ids)]
    requests = [
        to_score(c.prompt_token_ids.tolist(), c.token_ids.tolist()).resolve(engine.defaults)
        for c in with_logprobs
    ]
    scored = (c for c in engine.generate(requests) if c.error is None)
    unconstrained = {c.request.key: prefix_choice(c.choices[0]).logprobs for c in scored}
    removed = {}
    for completion, request in zip(with_logprobs, requests, strict=True):
        logprobs = unconstrained.get(request.key)
        if logprobs is not None and completion.logprobs is not None:
            removed[id(completion)] = -np.expm1(
                np.minimum(logprobs.astype(np.float64) - completion.logprobs, 0)
            )
    return [removed.get(id(c), np.full(len(c.token_ids), np.nan)) for c in completions]


@dataclass(frozen=True, eq=False)
class Price:
    """Four arms over the same rows. Made by `price_of_schema`."""

    form: str
    rows: tuple[dict[str, Any], ...]
    answers: Mapping[str, Sequence[Completion]]
    """Arm → completions, by row."""
    removed: Mapping[str, Sequence[npt.NDArray[np.float64]]]
    """Arm → for each row, (T,) the probability that the grammar took away at each token."""

    def frame(self) -> pd.DataFrame:
        """A row for each arm and row: verdict ("error" where there is no answer), valid, correct, tokens and seconds
        (waiting in the batch included; of the answer, and in all with the thinking), removed_mass (mean over the
        tokens), error."""
        import pandas as pd

        first = ["arm", "row", "text", "verdict", "valid", "correct"]
        counts = dict.fromkeys(("completion_tokens", "thinking_tokens", "prompt_tokens"), "Int64")
        times = dict.fromkeys(("seconds", "thinking_seconds"), float)  # NaN where unknown
        table = pd.DataFrame(list(self.rows)).astype({**counts, **times})
        table["all_tokens"] = table["completion_tokens"] + table["thinking_tokens"]
        table["all_seconds"] = table["seconds"] + table["thinking_seconds"]
        return table[[*first, *(c for c in table.columns if c not in first)]]

    def summary(self) -> Table:
        """A row for each arm: shares of valid and of correct answers, means of the rest."""
        from toolkit.display.tables import Table

        frame = self.frame().astype({"correct": "Float64"})
        tokens = ["completion_tokens", "thinking_tokens", "prompt_tokens"]
        columns = ["valid", "correct", *tokens, "all_seconds", "removed_mass"]
        return Table(frame.groupby("arm", sort=False)[columns].mean())

    def pairs(self) -> pd.DataFrame:
        """Every two arms, compared row by row: how many answers are valid (correct) in the first alone and in the
        second alone, with the two-sided exact McNemar test (McNemar 1947: a binomial over those that differ; p values
        corrected for the number of pairs by Holm's method, 1979, to 4 significant digits: none is 0), and the mean
        difference in tokens and seconds, second minus first."""
        import pandas as pd

        frame = self.frame()
        arms = {arm: part.set_index("row") for arm, part in frame.groupby("arm", sort=False)}
        comparisons = []
        for first, second in itertools.combinations(arms, 2):
            a, b = arms[first], arms[second]
            row: dict[str, Any] = {"first": first, "second": second, "rows": len(a)}
            for name in ("valid", "correct"):
                counts = mcnemar(a[name], b[name])
                row |= {f"{name}_{column}": value for column, value in counts.items()}
            for name in ("all_tokens", "all_seconds"):
                row[f"{name}_difference"] = float((b[name] - a[name]).mean())
            comparisons.append(row)
        table = pd.DataFrame(comparisons).round({"all_tokens_difference": 4, "all_seconds_difference": 4})
        corrected = {name: holm(table[name]) for name in ("valid_p", "correct_p")}
        # Decimal places would make the smallest ones 0.
        return table.assign(**{name: [float(f"{p:.4g}") for p in ps] for name, ps in corrected.items()})

    def __repr__(self) -> str:
        return f"Price of {self.form}\n{self.summary()}"

    def _repr_html_(self) -> Markup:
        return markup("<p>Price of {}</p>{}", self.form, self.summary()._repr_html_())


def _instruction(schema: ResponseFormat) -> str:
    return f"Answer with JSON alone, by this JSON Schema:\n{json.dumps(schema.schema, ensure_ascii=False)}"


def _with_text(rendered: Rendered, text: str) -> Rendered:
    """The prompt with a text appended to its last message."""
    *before, last = rendered.messages
    return replace(rendered, messages=(*before, {**last, "content": f"{last['content']}\n\n{text}"}))


def _follow_up(rendered: Rendered, thinking: str, text: str) -> Rendered:
    """The prompt, the model's thinking about it, and a text as the next user message."""
    messages = _with_text(rendered, _THINK).messages
    replies = ({"role": "assistant", "content": thinking}, {"role": "user", "content": text})
    return replace(rendered, messages=(*messages, *replies))


def _completions(
    engine: Engine,
    prompts: Sequence[Rendered],
    schema: ResponseFormat | None,
    options: Mapping[str, Any],
    store: Store | str | Path,
) -> list[Completion]:
    """One completion for each prompt, by position; equal prompts share theirs."""
    cells = Cells([{**options, **({"response_format": schema} if schema else {})}])
    return completions(Sweep(tuple(prompts), (), cells, 1).workload, engine, store)


def _reasoned(
    engine: Engine,
    prompts: Sequence[Rendered],
    thinking: Sequence[Completion],
    schema: ResponseFormat,
    options: Mapping[str, Any],
    store: Store | str | Path,
) -> list[Completion]:
    """The answers after the thinking; of a prompt whose thinking failed, that failure."""
    instruction = _instruction(schema)
    pairs = zip(prompts, thinking, strict=True)
    thought = [_follow_up(prompt, t.text, instruction) for prompt, t in pairs if t.error is None]
    answers = iter(_completions(engine, thought, schema, options, store) if thought else ())
    return [t if t.error is not None else next(answers) for t in thinking]


def _measured(
    completion: Completion,
    schema: ResponseFormat,
    row: Mapping[str, Any],
    correct: Callable[..., bool] | None,
) -> dict[str, Any]:
    if completion.error is not None:
        text_verdict = Verdict("error", reason=completion.error)
    else:
        text_verdict = verdict(completion.text, schema, completion.finish_reason)
    # JSON in a fenced block does not follow the response format, but it can be correct.
    json_verdict = text_verdict if text_verdict.valid else verdict(json.dumps(text_verdict.fenced), schema)
    readable = text_verdict.valid or text_verdict.fenced is not None
    is_correct = (
        _is_right(parsed(json_verdict, schema), json_verdict.value, row, correct)
        if readable and json_verdict.valid
        else None
    )
    return {
        "text": completion.text,
        "verdict": text_verdict.status,
        "valid": text_verdict.valid,
        "correct": _correct_if_unreadable(row, correct) if is_correct is None else is_correct,
        "completion_tokens": completion.usage.completion_tokens,
        "prompt_tokens": completion.usage.prompt_tokens,
        "seconds": completion.seconds,
        "error": completion.error,
    }


def _thinking_usage(completion: Completion | None) -> dict[str, Any]:
    if completion is None:
        return {"thinking_tokens": 0, "thinking_seconds": 0.0}
    return {"thinking_tokens": completion.usage.completion_tokens, "thinking_seconds": completion.seconds}


def _correct_if_unreadable(row: Mapping[str, Any], correct: Any) -> bool | None:
    """For an answer that cannot be parsed: False where the row can be judged, None elsewhere."""
    return False if correct is not None or "expected" in row else None


def _is_right(
    answer: Any, value: Any, row: Mapping[str, Any], correct: Callable[..., bool] | None
) -> bool | None:
    if correct is not None:
        return bool(correct(answer, row))
    if "expected" not in row:
        return None
    expected = row["expected"]
    try:
        return bool(value == (json.loads(expected) if isinstance(expected, str) else expected))
    except ValueError:
        return bool(value == expected)
