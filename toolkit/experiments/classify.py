"""Classify: which of several labels a model gives to each row, by the probability of the label's text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit._internal.field_docs import documented
from toolkit._internal.jsonable import data_value
from toolkit._internal.missing import is_missing
from toolkit._internal.text import short_repr
from toolkit._internal.validation import encodable, limited_list
from toolkit.analysis.calibration import Calibration, calibration
from toolkit.core.request import Request, ResolvedRequest
from toolkit.display.html import html_table
from toolkit.display.markup import Markup, markup
from toolkit.engines.base import Engine, as_engine
from toolkit.engines.scoring import prefix_choice, to_score
from toolkit.experiments.plan import STORE
from toolkit.experiments.run import completions
from toolkit.experiments.sweep import as_rows
from toolkit.experiments.unsendable import render_row
from toolkit.experiments.workload import Workload
from toolkit.prompts.prompt import Prompt
from toolkit.results.dtypes import exact_column
from toolkit.store.store import Store

if TYPE_CHECKING:
    import pandas as pd


Doubles = npt.NDArray[np.float64]
CONTENT_FREE = ("N/A", "", "[MASK]")
"""Inputs without content (Zhao et al. 2021)."""


def classify(
    engine: Engine,
    prompt: str | Prompt,
    rows: Iterable[Mapping[str, Any]],
    labels: Sequence[str] | Mapping[str, str],
    content_free: Sequence[str] = (),
    store: Store | str | Path = STORE,
) -> Classification:
    """The probability of each label as the model's answer to each row: all labels are scored, nothing is generated.

    labels: the texts that an answer may begin with, as the model would write them, or {name: text}; one of several
    tokens has their joint probability. content_free: values without content for the prompt's variables, such as
    `CONTENT_FREE`; each label's probability is then divided by the mean of its probabilities there (contextual
    calibration with W = diag(p_cf)⁻¹; Zhao et al., "Calibrate Before Use", arXiv 2102.09690). A row with `expected`
    (the name of a label) can be right or wrong. Scores go into the store, and are not computed again.

    Raises ValueError for bad labels and rows. A row that the engine refuses has an `error`.

    >>> tk.classify(engine, "Review: {text}\\nMood?", rows, ["positive", "negative"]).frame()  # doctest: +SKIP
    """
    template = Prompt(prompt) if isinstance(prompt, str) else prompt
    if not isinstance(template, Prompt):
        raise TypeError(f"prompt must be text or a Prompt, got {short_repr(prompt)}")
    engine = as_engine(engine)
    texts = _label_texts(engine, labels)
    items = as_rows(rows)
    blanks = [dict.fromkeys(template.variables, text) for text in content_free]
    prompts = [render_row(template.render, i, row) for i, row in enumerate(items)]
    prompts += [template.render(blank) for blank in blanks]

    def requests(defaults: Mapping[str, Any]) -> Iterator[tuple[ResolvedRequest, dict[str, Any]]]:
        for number, rendered in enumerate(prompts):
            for name, text in texts.items():
                yield to_score(rendered, text).resolve(defaults), {"row": number, "label": name}

    workload = Workload(requests, prompts=[template.template], rows=(*items, *blanks))
    scores = [
        (np.nan, c.error) if c.error else (_joint_logprob(prefix_choice(c.choices[0]).logprobs), None)
        for c in completions(workload, engine, store)
    ]
    table = np.array([p for p, _ in scores], np.float64).reshape(len(prompts), len(texts))
    errors = [
        next((e for _, e in scores[i : i + len(texts)] if e), None) for i in range(0, len(scores), len(texts))
    ]
    for text, error in zip(content_free, errors[len(items) :], strict=True):
        if error is not None:
            raise ValueError(f"the prompt without content ({short_repr(text)}) cannot be scored: {error}")
    return Classification(
        tuple(texts), items, table[: len(items)], table[len(items) :], tuple(errors[: len(items)])
    )


def _joint_logprob(logprobs: Any) -> float:
    return float(logprobs.astype(np.float64).sum())


def _label_texts(engine: Engine, labels: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    if isinstance(labels, str) or not isinstance(labels, (Sequence, Mapping)):
        raise TypeError(
            f"labels must be a list of texts or a dict of names and texts, got {short_repr(labels)}"
        )
    items = limited_list("labels", labels)
    pairs = labels.items() if isinstance(labels, Mapping) else zip(items, items, strict=True)
    texts = {data_value(name): data_value(text) for name, text in pairs}
    if len(texts) < 2 or len(texts) < len(labels):
        raise ValueError(f"labels must be at least two different ones, got {short_repr(labels)}")
    for name, text in texts.items():
        if not isinstance(text, str) or not text:
            raise ValueError(
                f"label {short_repr(name)} must be text that is not empty, got {short_repr(text)}"
            )
        if is_missing(name):
            raise ValueError(f"the label {short_repr(text)} has no name, got {short_repr(name)}: give it one")
        encodable(f"label {short_repr(name)}", text)
    ids = {name: engine.encode(Request(prompt=(0,), prefix=text))[1:] for name, text in texts.items()}
    for name, tokens in ids.items():
        for other, other_tokens in ids.items():
            if name != other and other_tokens[: len(tokens)] == tokens:
                raise ValueError(
                    f"label {short_repr(name)} is how {short_repr(other)} begins, so both would count the same "
                    'answers: end it with what follows it, such as "\\n", or name it otherwise'
                )
    return texts


@documented
@dataclass(frozen=True, eq=False)
class Classification:
    """R rows and the L labels that they may have. Made by `classify`."""

    labels: tuple[str, ...]
    """The names of the labels."""
    rows: tuple[Mapping[str, Any], ...]
    """The rows of data, in their order."""
    logprobs: Doubles
    """(R, L) log probability of each label's text as the beginning of the answer; NaN for a row with an error."""
    content_free: Doubles
    """(C, L) the same after prompts without content; C may be 0."""
    errors: tuple[str | None, ...]
    """Why each row could not be classified; None where it was."""

    @cached_property
    def uncalibrated(self) -> Doubles:
        """(R, L) the labels' shares of their joint mass."""
        return _shares(self.logprobs)

    @cached_property
    def probabilities(self) -> Doubles:
        """(R, L) the same after contextual calibration, where there were prompts without content."""
        if not len(self.content_free):
            return self.uncalibrated
        weighted = self.uncalibrated / _shares(self.content_free).mean(axis=0)
        return np.asarray(weighted / weighted.sum(axis=1, keepdims=True))

    @property
    def covered_mass(self) -> Doubles:
        """(R,) the probability, 0 to 1, that the answer begins with any of the labels: where it is small, the model
        prefers other answers, and the shares mean little."""
        return np.asarray(np.exp(self.logprobs).sum(axis=1))

    def frame(self) -> pd.DataFrame:
        """A row for each row: its variables, predicted, confidence (the probability of the predicted label among the
        labels), margin (its distance to the next), covered_mass, p.<label> for each, and where rows have `expected`,
        correct; with calibration also uncalibrated, the prediction without it."""
        import pandas as pd

        shares = self.probabilities
        scored = ~np.isnan(shares).any(axis=1)
        best = np.sort(shares, axis=1)[:, ::-1]
        predicted = self._predicted(shares)
        variables = dict.fromkeys(name for row in self.rows for name in row)
        table = pd.DataFrame(
            {f"row.{name}": exact_column([row.get(name) for row in self.rows]) for name in variables},
            index=range(len(self.rows)),
        )
        table = table.assign(
            predicted=pd.Series(predicted, dtype=object),
            confidence=np.where(scored, best[:, 0], np.nan),
            margin=np.where(scored, best[:, 0] - best[:, 1], np.nan),
            covered_mass=self.covered_mass,
            **{f"p.{label}": shares[:, i] for i, label in enumerate(self.labels)},
        )
        if len(self.content_free):
            table["uncalibrated"] = self._predicted(self.uncalibrated)
        if any("expected" in row for row in self.rows):
            expected = [row.get("expected") for row in self.rows]
            pairs = zip(predicted, expected, strict=True)
            correct = [None if p is None or is_missing(e) else p == e for p, e in pairs]
            table["correct"] = pd.array(correct, "boolean")
        if any(self.errors):
            table["error"] = list(self.errors)
        return table

    def _predicted(self, shares: Doubles) -> list[str | None]:
        return [None if np.isnan(row).any() else self.labels[int(row.argmax())] for row in shares]

    def calibration(self, bins: int = 10, equal: str = "width") -> Calibration:
        """How well the confidence predicts how often the prediction is right, over the rows with `expected` (see
        `toolkit.calibration`; its `thresholds()` shows what is gained by leaving out unsure rows).

        Raises ValueError without such rows.
        """
        table = self.frame()
        if "correct" not in table or not table["correct"].notna().any():
            raise ValueError(
                "nothing says which label is right: give rows an `expected`, the name of a label"
            )
        judged = table[table["correct"].notna()]
        return calibration(
            judged["confidence"].to_numpy(), judged["correct"].astype(bool).to_numpy(), bins, equal
        )

    def confusion(self) -> pd.DataFrame:
        """How often each label was predicted (columns) where each was expected (rows)."""
        import pandas as pd

        expected = [row.get("expected") for row in self.rows]
        table = pd.crosstab(pd.Series(expected, name="expected"), self.frame()["predicted"])
        return table.reindex(index=[*self.labels], columns=[*self.labels], fill_value=0)

    def sentence(self) -> str:
        """The result, in words."""
        table = self.frame()
        mass = np.nanmean(self.covered_mass)
        parts = [f"{len(table)} rows, {len(self.labels)} labels, covered mass {mass:.3f} on average"]
        if "correct" in table and table["correct"].notna().any():
            correct = table["correct"].dropna()
            parts.append(f"{int(correct.sum())} of {len(correct)} right")
        failed = sum(error is not None for error in self.errors)
        return ", ".join([*parts, *([f"{failed} failed"] if failed else [])])

    def __repr__(self) -> str:
        from toolkit.display.tables import text_table

        return f"Classification({self.sentence()})\n{text_table(self.frame(), 20, 40)}"

    def _repr_html_(self) -> Markup:
        return markup("<p>{}</p>{}", self.sentence(), html_table(self.frame(), rows=20))


def _shares(logprobs: Doubles) -> Doubles:
    """Probabilities that add up to 1 over the labels."""
    from scipy.special import softmax

    return np.asarray(softmax(logprobs, axis=1)) if len(logprobs) else logprobs
