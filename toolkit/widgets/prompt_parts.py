"""Which parts of a rendered prompt come from which example."""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.prompts.messages import Messages, plain_text
from toolkit.prompts.prompt import Prompt
from toolkit.prompts.rendered import Rendered


def split_by_example(
    prompt: Prompt, rendered: Rendered, chosen: Sequence[int]
) -> list[tuple[str, list[tuple[str, int | None]]]]:
    """Messages in pieces: (text, the index of the example that it is, or None)."""
    turns: Messages = rendered.messages
    unsplit = [(str(m["role"]), [(plain_text(m), None)]) for m in turns]
    messages: list[tuple[str, list[tuple[str, int | None]]]] = [
        (role, list(parts)) for role, parts in unsplit
    ]
    if prompt.layout == "flat":
        role, ((text, _),) = messages[-1]
        messages[-1] = (role, _split_at_blocks(text, [str(prompt.example(i)) for i in chosen]))
        return messages
    folded_roles = ("system", "developer") if prompt.fold_system else ()
    history = sum(m["role"] not in folded_roles for m in prompt.history)
    begin = len(turns) - 1 - history - 2 * len(chosen)
    for n in range(2 * len(chosen)):
        role, ((text, _),) = messages[begin + n]
        example = str(prompt.example(chosen[n // 2])[n % 2]["content"])  # type: ignore[index]
        system = (
            [(text.removesuffix(example), None)] if text != example else []
        )  # folded into the first example
        messages[begin + n] = (role, [*system, (example, n // 2)])
    return messages


def _split_at_blocks(text: str, blocks: Sequence[str]) -> list[tuple[str, int | None]]:
    """A text that contains the blocks one after another, in pieces."""
    begin = text.find("\n\n".join(blocks))
    parts: list[tuple[str, int | None]] = [(text[:begin], None)]
    for n, block in enumerate(blocks):
        parts.append((block, n))
        begin += len(block)
        parts.append((text[begin : begin + 2] if n + 1 < len(blocks) else text[begin:], None))
        begin += 2
    return [(piece, n) for piece, n in parts if piece] if blocks else [(text, None)]
