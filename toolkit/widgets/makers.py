"""Constructors of the widgets that start from scratch: the playground and the few-shot builder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from toolkit.core.options import SamplingOptions, spelled_out
from toolkit.engines.base import Engine

if TYPE_CHECKING:
    from toolkit.pricing.prices import LocalPrice, ModelPrice
    from toolkit.prompts.prompt import Prompt
    from toolkit.widgets.few_shot import Builder
    from toolkit.widgets.playground import Playground


@spelled_out(SamplingOptions)
def playground(
    engine: Engine | Sequence[Engine] | None = None,
    messages: str | Sequence[Mapping[str, Any]] = (),
    *,
    price: LocalPrice | ModelPrice | str | None = None,
    **sampling: Unpack[SamplingOptions],
) -> Playground:
    """An editor to try prompts on one engine or several: messages, sampling parameters, response format; streamed
    answers, their cost, and the code of a sweep of the same. See `tk.widgets.Playground`.

    >>> tk.playground(engine, temperature=0.7)  # doctest: +SKIP
    """
    from toolkit.widgets.playground import Playground

    return Playground(engine, messages, price=price, **sampling)


def few_shot(
    prompt: Prompt, rows: Iterable[Mapping[str, Any]] | None = None, model: str | Engine | None = None
) -> Builder:
    """An editor of a few-shot prompt: its examples, how they are chosen, the prompt of a row, and the tokens of each
    example. See `tk.widgets.Builder`.

    >>> tk.few_shot(prompt, rows, engine).prompt  # doctest: +SKIP
    """
    from toolkit.widgets.few_shot import Builder

    return Builder(prompt, rows, model)
