"""The right answer of each row of data, where the data has one, and whether an output gives it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from toolkit._internal.missing import is_missing

_NAMES = ("expected", "target", "label", "gold", "reference", "correct_answer", "answer")
"""Usual names of a variable that holds the right answer, the clearest first."""
_VARIABLE = re.compile(r"\{\s*(\w+)")
_ONE_VARIABLE = re.compile(r"\{{1,2}\s*(\w+)\s*\}{1,2}")
_BEFORE = " \t\n\"'`*_“”‘’«»"
_AFTER = _BEFORE + ".,;:!?…。！？"
"""What may stand around an answer, such as quotes and Markdown. Not signs that make another one: -5, .5, C#."""
_LONGEST_EXACT = 80
"""Characters of the longest right answer without which a text is wrong."""
_MOST_COMPARED = 20_000
"""Characters of a text that are searched for an answer."""


def target_variable(variables: Collection[str], prompts: Iterable[Any]) -> str | None:
    """The variable of the rows that holds the right answer: the one with which the prompts' examples are answered,
    else one with a usual name, such as expected or label, that no prompt shows to the model. None for none.

    prompts: as a sweep's body has them.
    """
    bodies = [prompt for prompt in prompts if isinstance(prompt, Mapping)]
    answers = {match[1] for body in bodies if (match := _ONE_VARIABLE.fullmatch(str(body.get("answer", ""))))}
    texts = [str(body.get(part, "")) for body in bodies for part in ("template", "system")]
    texts += [prompt for prompt in prompts if isinstance(prompt, str)]
    visible = {name for text in texts for name in _VARIABLE.findall(text)}
    candidates = [*sorted(answers), *_NAMES]
    return next((name for name in candidates if name in variables and name not in visible), None)


def is_right(text: str, target: Any, variable: str) -> bool | None:
    """Whether a text is the right answer: equal to it except for case, spaces, quotes and final punctuation, or the
    same number; of a JSON object, its value named like the variable counts. A text without it is wrong. None for one
    that has it among other words, for a right answer so long that it has other wordings, and for a row without.

    >>> is_right(" Positive.", "positive", "label"), is_right("negative", "positive", "label")
    (True, False)
    """
    if is_missing(target) or not text.strip():
        return None if is_missing(target) else False
    answer = _json_answer(text, variable)
    given, wanted = _normalised(answer), _normalised(target)
    if answer == target or given == wanted:
        return True
    numbers = _number(given), _number(wanted)
    if None not in numbers:
        return numbers[0] == numbers[1]
    if len(wanted) > _LONGEST_EXACT:
        return None
    within = bool(wanted) and re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", given)
    return None if within else False


def _json_answer(text: str, variable: str) -> Any:
    """The value in a JSON object, or the text itself."""
    if text.lstrip().startswith("{"):
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            return text
        return data.get(variable, text)
    return text


def _normalised(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = text[:_MOST_COMPARED].casefold()
    return " ".join(text.split()).lstrip(_BEFORE).rstrip(_AFTER) or text.strip()


def _number(text: str) -> float | None:
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None
