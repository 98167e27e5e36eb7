"""The cost of verdicts: relative to the generation of a sweep, and over 10,000 stored completions.

The sweep is constrained to a schema on the default engine; its verdicts are then computed again, timed alone. The
stored completions are synthetic: no model runs for them. Written to benchmarks/results/verdicts.json.
"""

from __future__ import annotations

import json
import tempfile
import time
import uuid
from pathlib import Path

import numpy as np
from record import save

import toolkit as tk
from toolkit.core.choice import Choice
from toolkit.core.completion import Completion, Usage
from toolkit.core.request import Request
from toolkit.store.rows import Cell, StoredCompletion
from toolkit.store.store import Store

FORM = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["a", "b", "c"]}, "maxItems": 4},
        "home": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 20},
                "zip": {"type": "string", "pattern": "^[0-9]{5}$"},
            },
            "required": ["city", "zip"],
            "additionalProperties": False,
        },
    },
    "required": ["name", "age", "tags", "home"],
    "additionalProperties": False,
}
STORED = 10_000


def stored(path: Path, fingerprint: tk.Fingerprint) -> Path:
    """A store of completions of which a third violate the schema, and a third are cut off."""
    store, cells, answers = Store(path), [], []
    for i in range(STORED):
        home = {"city": "x" * (i % 12), "zip": str(10_000 + i) if i % 3 else "none"}
        text = json.dumps({"name": f"n{i}", "age": i % 120, "tags": ["a"] * (i % 4), "home": home})
        cut = i % 3 == 2
        request = Request.chat(f"Question {i}", response_format=FORM).resolve({})
        choice = Choice(
            0, text[:-7] if cut else text, "length" if cut else "stop", token_ids=np.arange(9, dtype=np.int32)
        )
        made = Completion(request, (choice,), Usage(9, 9), "m", fingerprint.id, uuid.uuid4().hex, time.time())
        answers.append(StoredCompletion(made, 0))
        cells.append(Cell(request.key, 1, {}))
    store.begin_run("s", fingerprint, [])
    store.add(answers)
    store.define("s", {}, [a.completion.request for a in answers], cells)
    store.close()
    return path


def main() -> None:
    engine = tk.load().start()
    with tempfile.TemporaryDirectory() as name:
        prompt = "Make up a person from {country}. Answer in JSON."
        rows = [{"country": c} for c in ("France", "Japan", "Brazil", "Kenya")]
        cells = tk.grid(temperature=[0.5, 1.0], seed=range(8), max_tokens=96, response_format=[FORM])
        began = time.perf_counter()
        results = tk.sweep(prompt, rows, cells).run(engine, Path(name) / "sweep.db")
        generated = time.perf_counter() - began
        began = time.perf_counter()
        statuses = [c.schema_verdict.status for c in results if c.schema_verdict]
        judged = time.perf_counter() - began
        results = tk.results(stored(Path(name) / "stored.db", engine.fingerprint))
        began = time.perf_counter()
        table = results.verdicts()
        again = time.perf_counter() - began
    record = {
        "date": time.strftime("%Y-%m-%d"),
        "sweep": {
            "completions": len(statuses),
            "valid": statuses.count("valid"),
            "seconds": round(generated, 2),
        },
        "verdicts_share_of_sweep": round(judged / generated, 4),
        "stored": {
            "answers": len(table),
            "seconds": round(again, 2),
            **table["verdict"].value_counts().to_dict(),
        },
        "fingerprint": dict(engine.fingerprint.components),
    }
    print(json.dumps({name: value for name, value in record.items() if name != "fingerprint"}))
    save("verdicts", record)
    engine.close()


if __name__ == "__main__":
    main()
