"""The part of the engine interface that scoring and branching need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from toolkit.core.choice import Vocabulary
from toolkit.core.completion import Completion
from toolkit.core.fingerprint import Fingerprint
from toolkit.core.request import Request
from toolkit.prompts.messages import Message
from toolkit.prompts.rendered import Rendered


class Generates(Protocol):
    """A part of `toolkit.Engine`, which documents each member."""

    @property
    def model(self) -> str: ...

    @property
    def fingerprint(self) -> Fingerprint: ...

    @property
    def vocabulary(self) -> Vocabulary: ...

    @property
    def ends(self) -> frozenset[int]: ...

    @property
    def window(self) -> int: ...

    @property
    def defaults(self) -> Mapping[str, Any]: ...

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]: ...

    def encode(self, request: Request | str | Rendered | Sequence[Message]) -> tuple[int, ...]: ...
