"""A chat template with tools for a server whose model's own lacks them, or drops the tool calls of earlier turns. The
prompt is the same as that of an engine in this process, where `Tokenizer` adds the tools to the messages."""

from __future__ import annotations

import json

from toolkit.structured.tools import tools_prompt
from toolkit.tokenizers.huggingface import Tokenizer

_WITH_TOOLS = """
{%- if tools -%}
  {%- set tool_lines = namespace(text=BEFORE) -%}
  {%- for tool in tools -%}
    {%- set schema = namespace(fields={}) -%}
    {%- for name, value in tool.function.items() if value is not none -%}
      {%- set schema.fields = dict(schema.fields, **{name: value}) -%}
    {%- endfor -%}
    {%- set tool_lines.text = tool_lines.text ~ (schema.fields | tojson) ~ "\\n" -%}
  {%- endfor -%}
  {%- set tool_instructions = tool_lines.text ~ AFTER -%}
  {%- set first = messages[0] -%}
  {%- if first.role not in ("system", "developer") -%}
    {%- set messages = [{"role": "system", "content": tool_instructions}] + messages -%}
  {%- elif first.content is string -%}
    {%- set system_content = first.content ~ "\\n\\n" ~ tool_instructions -%}
    {%- set messages = [{"role": first.role, "content": system_content}] + messages[1:] -%}
  {%- else -%}
    {%- set parts = first.content + [{"type": "text", "text": "\\n\\n" ~ tool_instructions}] -%}
    {%- set messages = [{"role": first.role, "content": parts}] + messages[1:] -%}
  {%- endif -%}
{%- endif -%}
"""
_WITH_CALLS = """
{%- set turns = namespace(all=[]) -%}
{%- for turn in messages -%}
  {%- if turn.role == "tool" -%}
    {%- set text = "<tool_response>\\n" ~ turn.content ~ "\\n</tool_response>" -%}
    {%- set turns.all = turns.all + [{"role": "user", "content": text}] -%}
  {%- elif turn.tool_calls -%}
    {%- set content = namespace(text=turn.content or "") -%}
    {%- for call in turn.tool_calls -%}
      {%- set args = call.function.arguments -%}
      {%- set args = args if args is string else args | tojson -%}
      {%- set json = '{"name": ' ~ (call.function.name | tojson) ~ ', "arguments": ' ~ (args or "{}") ~ "}" -%}
      {%- set newline = "\\n" if content.text else "" -%}
      {%- set content.text = content.text ~ newline ~ "<tool_call>\\n" ~ json ~ "\\n</tool_call>" -%}
    {%- endfor -%}
    {%- set turns.all = turns.all + [{"role": turn.role, "content": content.text}] -%}
  {%- else -%}
    {%- set turns.all = turns.all + [turn] -%}
  {%- endif -%}
{%- endfor -%}
{%- set messages = turns.all -%}
"""


def with_tool_instructions(tokenizer: Tokenizer) -> str | None:
    """The model's chat template, preceded by what it lacks; None when it lacks nothing, or there is none, or there
    are several, of which vLLM takes the one for tools."""
    template = tokenizer.hf.chat_template
    if not isinstance(template, str) or (tokenizer.knows_tools and tokenizer.shows_calls):
        return None
    before, after = tools_prompt((), "auto").split("\n\n</tools>")
    tools = _WITH_TOOLS.replace("BEFORE", json.dumps(f"{before}\n"))
    tools = tools.replace("AFTER", json.dumps(f"</tools>{after}"))
    return (
        ("" if tokenizer.shows_calls else _WITH_CALLS) + ("" if tokenizer.knows_tools else tools) + template
    )
