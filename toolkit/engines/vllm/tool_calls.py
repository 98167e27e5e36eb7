"""Parses tool calls in a text, by vLLM's parsers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolkit.structured.time_limit import interrupting, time_limit
from toolkit.structured.tools import Tool, ToolCall, call_id


def parse_calls(
    tokenizer: Any, parser: str, text: str, tools: Sequence[Tool]
) -> tuple[tuple[ToolCall, ...], str]:
    """The calls in a text, by vLLM's parser of that name, and the text around them.

    Raises OutOfTime for a text with which the parser does not finish in the time limit: some take quadratic time.
    """
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.tool_parsers import ToolParserManager

    openai_tools = [tool.to_openai() for tool in tools]
    request = ChatCompletionRequest(
        model="-", messages=[{"role": "user", "content": "-"}], tools=openai_tools
    )
    try:
        tool_parser = ToolParserManager.get_tool_parser(parser)(tokenizer)
        with time_limit(), interrupting():
            extracted = tool_parser.extract_tool_calls(text, request)
    except Exception:  # noqa: BLE001  # needs a token that this tokenizer lacks, or fails at what the model wrote
        return (), text
    calls = tuple(ToolCall(call_id(), c.function.name, c.function.arguments) for c in extracted.tool_calls)
    return calls, (extracted.content or "") if calls else text
