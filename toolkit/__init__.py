"""toolkit: a Jupyter-first research toolkit around the vLLM engine.

>>> import toolkit as tk
>>> engine = tk.load()                                          # doctest: +SKIP
>>> sweep = tk.sweep("Write a haiku.", tk.grid(temperature=[0, 0.7], seed=range(4)))
>>> results = sweep.run(engine, store="runs/haiku.db")          # doctest: +SKIP
"""

from toolkit import examples, models, protocols
from toolkit.calibration import Calibration, calibration
from toolkit.cells import Cells, cases, grid, zipped
from toolkit.choice import Choice, Token
from toolkit.classify import Classification, classify
from toolkit.comparison import Comparison
from toolkit.completion import Completion, Delta, Usage
from toolkit.conversation import Conversation
from toolkit.count import Count, compare_tokenizers, count_many, count_tokens
from toolkit.determinism import Determinism
from toolkit.engine import Engine, EngineError, NotTold, RequestError, connect, load
from toolkit.explain import Explanation, explain_difference
from toolkit.explore import explore
from toolkit.fingerprint import Fingerprint
from toolkit.fork import Fork, fork
from toolkit.gallery import gallery
from toolkit.image import image
from toolkit.ladder import Ladder, determinism_ladder
from toolkit.logprobs import Logprobs, logprobs
from toolkit.messages import fold_system
from toolkit.microscope import Microscope, microscope
from toolkit.models import ModelError
from toolkit.plan import Plan
from toolkit.price import Price, price_of_schema, removed_mass
from toolkit.prices import LocalPrice, ModelPrice, PriceError, model_price, model_prices
from toolkit.prompt import Prompt, Rendered
from toolkit.request import Request
from toolkit.results import Results, results
from toolkit.sampling import Sampling
from toolkit.schema import ResponseFormat, response_format, strict_violations
from toolkit.serve import Server, serve, servers
from toolkit.store import Grade, Store, StoreBusy, StoreError
from toolkit.sweep import Sweep, sweep
from toolkit.tokens import Tokens, tokens
from toolkit.toolrun import ToolRun, run_tools
from toolkit.tools import Tool, ToolCall, tool
from toolkit.tree import Tree, tree
from toolkit.variant import Variant, variants
from toolkit.verdict import Verdict, Violation, verdict
from toolkit.widgets import few_shot, open_in_notebooks, playground

__version__ = "0.1.0"

__all__ = [
    "Calibration",
    "Cells",
    "Choice",
    "Classification",
    "Comparison",
    "Completion",
    "Conversation",
    "Count",
    "Delta",
    "Determinism",
    "Engine",
    "EngineError",
    "Explanation",
    "Fingerprint",
    "Fork",
    "Grade",
    "Ladder",
    "LocalPrice",
    "Logprobs",
    "Microscope",
    "ModelError",
    "ModelPrice",
    "NotTold",
    "Plan",
    "Price",
    "PriceError",
    "Prompt",
    "Rendered",
    "Request",
    "RequestError",
    "ResponseFormat",
    "Results",
    "Sampling",
    "Server",
    "Store",
    "StoreBusy",
    "StoreError",
    "Sweep",
    "Token",
    "Tokens",
    "Tool",
    "ToolCall",
    "ToolRun",
    "Tree",
    "Usage",
    "Variant",
    "Verdict",
    "Violation",
    "calibration",
    "cases",
    "classify",
    "compare_tokenizers",
    "connect",
    "count_many",
    "count_tokens",
    "determinism_ladder",
    "examples",
    "explain_difference",
    "explore",
    "few_shot",
    "fold_system",
    "fork",
    "gallery",
    "grid",
    "image",
    "load",
    "logprobs",
    "microscope",
    "model_price",
    "model_prices",
    "models",
    "playground",
    "price_of_schema",
    "protocols",
    "removed_mass",
    "response_format",
    "results",
    "run_tools",
    "serve",
    "servers",
    "strict_violations",
    "sweep",
    "tokens",
    "tool",
    "tree",
    "variants",
    "verdict",
    "zipped",
]

open_in_notebooks()
