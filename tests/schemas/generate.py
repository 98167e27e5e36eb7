"""Write generation.json, the JSON Schemas for constrained generation, from sources.yaml.

    python tests/schemas/generate.py [FILE]

The families of sources.yaml are written in a shorthand. A mapping is an object without additional properties,
a `*` after a name makes the property optional; `[item, 1..3]` is an array of one to three items; any scalar of
YAML other than a string is that constant; and a string is one of

    s8, s2..8       a string of 1 to 8, of 2 to 8 characters     b               true or false
    i1..7           an integer with its bounds                   a|b|2           one of these values
    n-1..1.5        a number with its bounds                     const:story     this string
    re:^a{1,3}$     a string with that pattern                   format:date     a string with that format

with `~` after it where null will do too. Each object becomes three schemas: itself and two of its `VARIANTS`,
drawn with a fixed seed, the object's name. Answers stay short: strings, arrays and numbers are bounded, and only
small objects without arrays are repeated. `written` and `refused` are JSON Schemas in full, taken as they are.
"""

import json
import random
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

Schema = dict[str, Any]

HERE = Path(__file__).parent
MAX_REPEATED = 5
"""How many leaves an object may have for `batch` to repeat it."""

NULL: Schema = {"type": "null"}
LABEL: Schema = {"type": "string", "pattern": "^[a-z]{3,8}$"}
BOUNDS = {"maximum", "minimum", "maxLength", "minLength"}
PLAIN = {"type", "properties", "required", "additionalProperties", "items"} | BOUNDS
"""Keywords that no tag names: most schemas have them."""


def leaf(text: str) -> Schema:
    """The schema of one word of the shorthand."""
    if text.endswith("~"):
        schema = leaf(text[:-1])
        if "enum" in schema:
            return {"enum": [*schema["enum"], None]}
        return {**schema, "type": [schema["type"], "null"]}
    if text == "b":
        return {"type": "boolean"}
    head, colon, tail = text.partition(":")
    if colon and head == "const":
        return {"const": tail}
    if colon and head in ("re", "format"):
        return {"type": "string", {"re": "pattern"}.get(head, head): tail}
    if found := re.fullmatch(r"s(?:(\d+)\.\.)?(\d+)", text):
        return {"type": "string", "minLength": int(found[1] or 1), "maxLength": int(found[2])}
    if found := re.fullmatch(r"([in])(-?[\d.]+?)\.\.(-?[\d.]+)", text):
        kind, low, high = found.groups()
        bounds = {"minimum": json.loads(low), "maximum": json.loads(high)}
        return {"type": "integer" if kind == "i" else "number", **bounds}
    if "|" not in text:
        raise ValueError(f"Not in the shorthand: {text!r}")
    words = text.split("|")
    return {"enum": [json.loads(word) if re.fullmatch(r"\d+(\.\d+)?", word) else word for word in words]}


def expand(short: Any) -> Schema:
    """The schema that a value of the shorthand stands for."""
    if isinstance(short, dict):
        names = {name.removesuffix("*"): expand(value) for name, value in short.items()}
        return record(names, required=[name for name in short if not name.endswith("*")])
    if isinstance(short, list):
        item, (low, high) = short[0], map(int, short[1].split(".."))
        return array(expand(item), low, high)
    if isinstance(short, str):
        return leaf(short)
    return NULL if short is None else {"const": short}


def record(properties: dict[str, Schema], required: list[str] | None = None) -> Schema:
    required = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def array(items: Schema, low: int, high: int) -> Schema:
    return {"type": "array", "items": items, "minItems": low, "maxItems": high}


def call(name: str, schema: Schema) -> Schema:
    return record({"name": {"const": name}, "arguments": schema})


def manifest(name: str, schema: Schema) -> Schema:
    kind = name.title().replace("_", "")
    head = {"apiVersion": {"const": "v1"}, "kind": {"const": kind}, "metadata": record({"name": LABEL})}
    return record({**head, "spec": schema})


def batch(name: str, schema: Schema) -> Schema:
    return record({"items": array(schema, 1, 2)})


def strict(name: str, schema: Schema) -> Schema:
    return record(schema["properties"])


def patch(name: str, schema: Schema) -> Schema:
    return {**record(schema["properties"], required=[]), "minProperties": 1, "maxProperties": 2}


def refs(name: str, schema: Schema) -> Schema:
    places = {key: {"$ref": f"#/$defs/{key}"} for key in schema["properties"]}
    return {**record(places, required=schema["required"]), "$defs": schema["properties"]}


def nullable(name: str, schema: Schema) -> Schema:
    either = {
        key: value if value == NULL else {"anyOf": [value, NULL]}
        for key, value in schema["properties"].items()
    }
    return record(either, required=schema["required"])


def union(name: str, schema: Schema) -> Schema:
    return {"anyOf": [schema, record({"error": {"enum": ["unknown", "refused", "timeout"]}})]}


def tagged(name: str, schema: Schema) -> Schema:
    return {
        "type": "array",
        "prefixItems": [{"const": name}, schema],
        "items": False,
        "minItems": 2,
        "maxItems": 2,
    }


VARIANTS: list[Callable[[str, Schema], Schema]] = [batch, strict, patch, refs, nullable, union, tagged]
FIRST = {"function-call": call, "kubernetes": manifest}
"""Families whose objects always have this variant."""


def parts(schema: Any) -> Iterator[Schema]:
    """The schema and the ones within it."""
    if isinstance(schema, dict):
        yield schema
        for key, value in schema.items():
            nested = value.values() if key in ("properties", "$defs", "definitions") else [value]
            if key not in ("const", "enum", "default", "examples", "required"):
                for part in nested:
                    yield from parts(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from parts(part)


def entry(name: str, schema: Schema, *kind: str) -> dict[str, Any]:
    """A named schema with its tags: the ones given, then the keywords it uses."""
    used = {key for part in parts(schema) for key in part} - PLAIN
    several = ["type-array"] * any(isinstance(part.get("type"), list) for part in parts(schema))
    return {"name": name, "kind": [*kind, *sorted(used), *several], "schema": schema}


def entries(sources: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for family, objects in sources["families"].items():
        for name, short in objects.items():
            schema = expand(short)
            yield entry(f"{family}/{name}", schema, family, "plain")
            draw = random.Random(f"{family}/{name}")  # its own: another object does not change the draw
            within = list(parts(schema))
            leaves = sum("properties" not in part for part in within)
            complete = schema["required"] == list(schema["properties"])
            useless = {strict} if complete else set()
            useless |= {batch} if leaves > MAX_REPEATED or any("items" in part for part in within) else set()
            choices = [variant for variant in VARIANTS if variant not in useless]
            chosen = [FIRST[family]] if family in FIRST else []
            for variant in [*chosen, *draw.sample(choices, 2 - len(chosen))]:
                kind = variant.__name__
                yield entry(f"{family}/{name}-{kind}", variant(name, schema), family, kind)
    for name, schema in sources["written"].items():
        yield entry(f"written/{name}", schema, "written", name.split("-")[0])
    for name, case in sources["refused"].items():
        told = {"kind": ["refused", *case["tags"]], "compiles": False, "reason": case["why"]}
        yield {"name": f"refused/{name}", **told, "schema": case["schema"]}


def main(path: Path = HERE / "generation.json") -> None:
    made = list(entries(yaml.safe_load((HERE / "sources.yaml").read_text("utf-8"))))
    lines = (json.dumps(each, separators=(",", ":")) for each in made)
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n", "utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
