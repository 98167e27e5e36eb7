"""Price: what it costs, and what it gives, to hold answers to a schema: the same questions asked in four ways."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit.cells import Cells
from toolkit.completion import Completion, Usage
from toolkit.engine import Engine
from toolkit.plan import STORE
from toolkit.prompt import Prompt, Rendered
from toolkit.sampling import Sampling
from toolkit.schema import ResponseFormat, response_format
from toolkit.scoring import given, to_score
from toolkit.store import Store
from toolkit.sweep import Sweep, as_rows
from toolkit.verdict import parsed, verdict

if TYPE_CHECKING:
    import pandas as pd

ARMS = ("free", "instructed", "reasoned", "constrained")
"""free: the prompt as it is. instructed: the schema is added to it in words. reasoned: the model thinks in words
first, and its answer is then held to the schema. constrained: instructed, and held to the schema."""
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
    """Asks every row in the four ways of `ARMS` and measures each answer.

    form: the schema or type. correct: from the parsed answer and its row to whether it is right; without one, an
    answer is compared with the row's `expected` (JSON text or data) where there is one; JSON in a fenced block is not
    valid but can be correct, prose is neither. sampling: for all arms. The completions go into the store; what is
    there already is not asked again.

    Raises ValueError for a form that is no JSON. A row that cannot be answered is not valid.
    """
    held_to = response_format(form)
    if held_to is None or not held_to.is_json:
        raise ValueError(f"the price is that of a JSON Schema, got {form!r}: give a schema or a type")
    made = Prompt(prompt) if isinstance(prompt, str) else prompt
    if not isinstance(made, Prompt):
        raise TypeError(f"prompt must be text or a Prompt, got {prompt!r}")
    items = as_rows(rows) or ({},)
    rendered = [made.render(row) for row in items]
    options = Sampling(**{"top_logprobs": 0, **sampling}).given()
    told = [_and(r, _instruction(held_to)) for r in rendered]
    thoughts = _ask(engine, [_and(r, _THINK) for r in rendered], None, options, store)
    thought = [_after(r, t.text, _instruction(held_to)) for r, t in zip(rendered, thoughts, strict=True)]
    asked: dict[str, tuple[Sequence[Rendered], ResponseFormat | None]] = {
        "free": (rendered, None),
        "instructed": (told, None),
        "reasoned": (thought, held_to),
        "constrained": (told, held_to),
    }
    answers = {arm: _ask(engine, *how, options, store) for arm, how in asked.items()}
    masses = {arm: removed_mass(engine, answers[arm]) for arm, (_, held) in asked.items() if held}
    table = [
        {
            **_measured(completion, held_to, items[i], correct),
            "arm": arm,
            "row": i,
            **_thought(thoughts[i] if arm == "reasoned" else None),
            "removed_mass": float(masses[arm][i].mean()) if arm in masses and masses[arm][i].size else np.nan,
        }
        for arm in ARMS
        for i, completion in enumerate(answers[arm])
    ]
    return Price(str(held_to), tuple(table), answers, masses)


def removed_mass(engine: Engine, completions: Sequence[Completion]) -> list[npt.NDArray[np.float64]]:
    """(T,) for each completion: the probability, 0 to 1, that the model gave at each step to tokens which the
    grammar forbade; NaN where it is not known (no logprobs, or an answer that fills the window).

    vLLM's logprobs of a constrained answer are taken after the grammar's mask, so they are renormalised over the
    allowed tokens: p' = p / (mass allowed). Scoring the same tokens without the grammar gives p, hence
    removed = 1 − p / p'.
    """
    known = [c for c in completions if c.logprobs is not None and len(c.token_ids)]
    asked = [
        to_score(c.prompt_token_ids.tolist(), c.token_ids.tolist()).resolve(engine.defaults) for c in known
    ]
    answers = (c for c in engine.generate(asked) if c.error is None)
    free = {c.request.key: given(c.choices[0]).logprobs for c in answers}
    found = {}
    for completion, request in zip(known, asked, strict=True):
        own = free.get(request.key)
        if own is not None and completion.logprobs is not None:
            found[id(completion)] = -np.expm1(np.minimum(own.astype(np.float64) - completion.logprobs, 0))
    return [found.get(id(c), np.full(len(c.token_ids), np.nan)) for c in completions]


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
        """A row for each arm and row: verdict, valid, correct, tokens and seconds (waiting in the batch included; of
        the answer, and in all with the thinking), removed_mass (mean over the tokens)."""
        import pandas as pd

        first = ["arm", "row", "text", "verdict", "valid", "correct"]
        table = pd.DataFrame(list(self.rows))
        table["all_tokens"] = table["completion_tokens"] + table["thinking_tokens"]
        table["all_seconds"] = table["seconds"].fillna(0) + table["thinking_seconds"]
        return table[[*first, *(c for c in table.columns if c not in first)]]

    def summary(self) -> pd.DataFrame:
        """A row for each arm: shares of valid and of correct answers, means of the rest."""
        frame = self.frame().astype({"correct": "Float64"})
        tokens = ["completion_tokens", "thinking_tokens", "prompt_tokens"]
        columns = ["valid", "correct", *tokens, "all_seconds", "removed_mass"]
        return frame.groupby("arm", sort=False)[columns].mean().round(3)

    def pairs(self) -> pd.DataFrame:
        """Every two arms, compared row by row: how many answers are valid (correct) in the first alone and in the
        second alone, with the two-sided exact McNemar test (McNemar 1947: a binomial over those that differ; p values
        corrected for the number of pairs by Holm's method, 1979), and the mean difference in tokens and seconds,
        second minus first."""
        import pandas as pd

        frame = self.frame()
        arms = {arm: part.set_index("row") for arm, part in frame.groupby("arm", sort=False)}
        found = []
        for one, other in itertools.combinations(arms, 2):
            a, b = arms[one], arms[other]
            row: dict[str, Any] = {"first": one, "second": other, "rows": len(a)}
            for name in ("valid", "correct"):
                row |= _mcnemar(name, a[name], b[name])
            for name in ("all_tokens", "all_seconds"):
                row[f"{name}_difference"] = float((b[name] - a[name]).mean())
            found.append(row)
        table = pd.DataFrame(found)
        return table.assign(valid_p=_holm(table["valid_p"]), correct_p=_holm(table["correct_p"])).round(4)

    def __repr__(self) -> str:
        return f"Price of {self.form}\n{self.summary().to_string()}"

    def _repr_html_(self) -> str:
        from toolkit.report import table

        return f"<p>Price of {self.form}</p>{table(self.summary().reset_index())}"


def _holm(values: Any) -> npt.NDArray[np.float64]:
    """p values corrected for their number."""
    p = np.asarray(values, np.float64)
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    found = np.empty_like(p)
    found[order] = np.minimum(stepped, 1)
    return found


def _mcnemar(name: str, a: Any, b: Any) -> dict[str, Any]:
    from scipy.stats import binomtest

    known = a.notna() & b.notna()
    first, second = a[known].astype(bool), b[known].astype(bool)
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    differ = only_first + only_second
    p = binomtest(only_first, differ).pvalue if differ else 1.0
    found = {f"{name}_first_only": only_first, f"{name}_second_only": only_second, f"{name}_p": float(p)}
    return found if known.any() else dict.fromkeys(found, np.nan)


def _instruction(form: ResponseFormat) -> str:
    return f"Answer with JSON alone, by this JSON Schema:\n{json.dumps(form.schema, ensure_ascii=False)}"


def _and(rendered: Rendered, text: str) -> Rendered:
    """The prompt with a text after its last message."""
    *before, last = rendered.messages
    return Rendered((*before, {**last, "content": f"{last['content']}\n\n{text}"}), rendered.examples)


def _after(rendered: Rendered, thought: str, text: str) -> Rendered:
    """The prompt after the model has thought about it."""
    asked = _and(rendered, _THINK).messages
    turns = ({"role": "assistant", "content": thought}, {"role": "user", "content": text})
    return Rendered((*asked, *turns), rendered.examples)


def _ask(
    engine: Engine,
    prompts: Sequence[Rendered],
    form: ResponseFormat | None,
    options: Mapping[str, Any],
    store: Store | str | Path,
) -> list[Completion]:
    """One completion for each prompt, by position; equal prompts share theirs."""
    cells = Cells([{**options, **({"response_format": form} if form else {})}])
    results = Sweep(tuple(prompts), (), cells, 1).run(engine, store)
    by_messages = {json.dumps(c.request.messages): c for c in results}
    return [by_messages[json.dumps(p.messages)] for p in prompts]


def _measured(
    completion: Completion, form: ResponseFormat, row: Mapping[str, Any], correct: Callable[..., bool] | None
) -> dict[str, Any]:
    told = verdict(completion.text, form, completion.finish_reason)
    # What stands in a fence has not the form that was asked for, but it can be right.
    found = told if told.valid else verdict(json.dumps(told.fenced), form)
    known = told.valid or told.fenced is not None
    right = _is_right(parsed(found, form), found.value, row, correct) if known and found.valid else None
    return {
        "text": completion.text,
        "verdict": told.status,
        "valid": told.valid,
        "correct": _unknown(row, correct) if right is None else right,
        "completion_tokens": completion.usage.completion_tokens,
        "prompt_tokens": completion.usage.prompt_tokens,
        "seconds": completion.seconds,
    }


def _thought(completion: Completion | None) -> dict[str, Any]:
    used = completion.usage if completion else Usage()
    seconds = (completion.seconds or 0.0) if completion else 0.0
    return {"thinking_tokens": used.completion_tokens, "thinking_seconds": seconds}


def _unknown(row: Mapping[str, Any], correct: Any) -> bool | None:
    """An answer in prose cannot be read: it is wrong where there is a right one."""
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
