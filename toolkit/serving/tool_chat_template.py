"""Telling: a chat template for a server whose model has one that says nothing of tools, or loses the calls of earlier
turns. It says them in the words that `tokenizer` puts into the messages of an engine in this process."""

from __future__ import annotations

import json

from toolkit.tokenizer import Tokenizer
from toolkit.tools import describe

_TOLD = """
{%- if tools -%}
  {%- set found = namespace(text=BEFORE) -%}
  {%- for tool in tools -%}
    {%- set shown = namespace(it={}) -%}
    {%- for name, value in tool.function.items() if value is not none -%}
      {%- set shown.it = dict(shown.it, **{name: value}) -%}
    {%- endfor -%}
    {%- set found.text = found.text ~ (shown.it | tojson) ~ "\\n" -%}
  {%- endfor -%}
  {%- set told = found.text ~ AFTER -%}
  {%- set first = messages[0] -%}
  {%- if first.role not in ("system", "developer") -%}
    {%- set messages = [{"role": "system", "content": told}] + messages -%}
  {%- elif first.content is string -%}
    {%- set whole = first.content ~ "\\n\\n" ~ told -%}
    {%- set messages = [{"role": first.role, "content": whole}] + messages[1:] -%}
  {%- else -%}
    {%- set parts = first.content + [{"type": "text", "text": "\\n\\n" ~ told}] -%}
    {%- set messages = [{"role": first.role, "content": parts}] + messages[1:] -%}
  {%- endif -%}
{%- endif -%}
"""
_WRITTEN = """
{%- set turns = namespace(all=[]) -%}
{%- for turn in messages -%}
  {%- if turn.role == "tool" -%}
    {%- set text = "<tool_response>\\n" ~ turn.content ~ "\\n</tool_response>" -%}
    {%- set turns.all = turns.all + [{"role": "user", "content": text}] -%}
  {%- elif turn.tool_calls -%}
    {%- set said = namespace(text=turn.content or "") -%}
    {%- for call in turn.tool_calls -%}
      {%- set given = call.function.arguments -%}
      {%- set given = given if given is string else given | tojson -%}
      {%- set spelt = '{"name": ' ~ (call.function.name | tojson) ~ ', "arguments": ' ~ (given or "{}") ~ "}" -%}
      {%- set line = "\\n" if said.text else "" -%}
      {%- set said.text = said.text ~ line ~ "<tool_call>\\n" ~ spelt ~ "\\n</tool_call>" -%}
    {%- endfor -%}
    {%- set turns.all = turns.all + [{"role": turn.role, "content": said.text}] -%}
  {%- else -%}
    {%- set turns.all = turns.all + [turn] -%}
  {%- endif -%}
{%- endfor -%}
{%- set messages = turns.all -%}
"""


def telling(tokenizer: Tokenizer) -> str | None:
    """The model's chat template with what it lacks before it; None when it lacks nothing, or there is none, or
    several, of which vLLM takes the one for tools."""
    own = tokenizer.hf.chat_template
    if not isinstance(own, str) or (tokenizer.knows_tools and tokenizer.shows_calls):
        return None
    before, after = describe((), "auto").split("\n\n</tools>")
    told = _TOLD.replace("BEFORE", json.dumps(f"{before}\n")).replace("AFTER", json.dumps(f"</tools>{after}"))
    return ("" if tokenizer.shows_calls else _WRITTEN) + ("" if tokenizer.knows_tools else told) + own
