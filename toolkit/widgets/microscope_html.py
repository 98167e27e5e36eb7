"""The static output of the microscope: HTML with inline styles, in colours that suit light and dark backgrounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from toolkit._internal.value_text import short_value
from toolkit.analysis.microscope import Step
from toolkit.display.markup import Markup, joined, markup
from toolkit.widgets.base import escaped, model_text_html, visible

STRIP = "white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.7;margin:0 0 8px 0"
TOKEN = "border-bottom:1px solid rgba(128,128,128,0.5)"
CURRENT = "border:2px solid #0072b2;border-radius:3px;font-weight:bold"
_CELL = "text-align:left;padding:2px 8px;white-space:nowrap"
_BAR_WIDTH = 120
"""Width of a bar in pixels."""
_TRACK = (
    f"display:inline-block;width:{_BAR_WIDTH}px;height:12px;background:rgba(128,128,128,0.15);vertical-align:middle;"
    "line-height:0"
)
_PART = "display:inline-block;height:12px;vertical-align:top"


def range_text(low: float, high: float) -> str:
    """Two bounds with two decimals, or one number where both read the same."""
    lower, upper = (f"{x:,.0f}" if x >= 100 else f"{x:.2f}" for x in (low, high))
    return lower if lower == upper else f"{lower}–{upper}"


def _percent_range(low: float, high: float) -> str:
    return "0 %" if high == 0 else f"{range_text(100 * low, 100 * high)} %"


def _bar(low: float, high: float, solid: str, light: str) -> Markup:
    """A bar from 0 to 1: solid up to the lower bound, light from there to the upper one."""
    ends = round(_BAR_WIDTH * low), round(_BAR_WIDTH * high)
    parts = ((ends[0], solid), (ends[1] - ends[0], light))
    part = '<span style="{};width:{}px;background:{}"></span>'
    spans = joined(markup(part, _PART, width, colour) for width, colour in parts if width)
    return markup('<span style="{}">{}</span>', _TRACK, spans)


def table_html(step: Step, content: Mapping[str, Any], parameters: Sequence[str]) -> Markup:
    """A step as a table. content: as the frontend draws it; parameters: the sampling parameters that are named."""
    settings = ", ".join(f"{name}={short_value(getattr(step.settings, name))}" for name in parameters)
    entropy, candidates = content["entropy"], content["candidates"]
    names = ("token", "before", "", "after", "", "fate")
    head = joined(markup('<th style="{}">{}</th>', _CELL, name) for name in names)
    summary = (
        f"Step {step.step}, {visible(settings)}. Entropy {range_text(*entropy[0])} nats before, "
        f"{range_text(*entropy[1])} after; effective candidates {range_text(*candidates[0])} before, "
        f"{range_text(*candidates[1])} after."
    )
    return markup(
        "<p>{}</p><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>"
        "<p><small>Bars from 0 to 100 %: solid is sure, light may be more. Bold: the token that was drawn.</small>"
        "</p>",
        summary,
        head,
        joined(map(_row_html, content["rows"])),
    )


def _row_html(row: Mapping[str, Any]) -> Markup:
    text = markup("<del>{}</del>" if row["fate"] == "cut" else "{}", escaped(row["text"]))
    before, low, high = row["before"], row["low"], row["high"]
    cells = (
        markup("<code><b>{}</b></code>" if row.get("drawn") else "<code>{}</code>", text),
        _bar(before, before, "rgba(128,128,128,0.7)", ""),
        _percent_range(before, before),
        _bar(low, high, "#0072b2", "rgba(86,180,233,0.5)"),
        _percent_range(low, high),
        escaped(row["explanation"]),
    )
    return markup("<tr>{}</tr>", joined(markup('<td style="{}">{}</td>', _CELL, cell) for cell in cells))


def fork_html(fork: Mapping[str, Any]) -> Markup:
    side_cell = (
        '<td style="text-align:left;vertical-align:top;white-space:normal;width:50%"><b>{}</b>'
        "<br><code><b>{}</b></code>{}</td>"
    )
    sides = joined(
        markup(side_cell, escaped(side["name"]), escaped(side["token"]), model_text_html(side["rest"]))
        for side in fork["sides"]
    )
    return markup(
        "<p>Branch at step {}: {}</p>"
        '<table style="width:100%;table-layout:fixed"><tbody><tr>{}</tr></tbody></table>',
        fork["step"],
        escaped(fork["summary"]),
        sides,
    )
