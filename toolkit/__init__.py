"""toolkit: a Jupyter-first research toolkit around the vLLM engine.

>>> import toolkit as tk
>>> engine = tk.load()                                          # doctest: +SKIP
>>> sweep = tk.sweep("Write a haiku.", tk.grid(temperature=[0, 0.7], seed=range(4)))
>>> results = sweep.run(engine, store="runs/haiku.db")          # doctest: +SKIP
"""

from toolkit import examples, models, protocols
from toolkit.analysis.calibration import Calibration, calibration
from toolkit.analysis.determinism.report import Determinism
from toolkit.analysis.fork import Fork, fork
from toolkit.analysis.logprobs import Logprobs, logprobs
from toolkit.analysis.microscope import Microscope, microscope
from toolkit.analysis.token_counts import Count, compare_tokenizers, count_many, count_tokens
from toolkit.analysis.tokens import Tokens, tokens
from toolkit.analysis.tree import Tree, tree
from toolkit.chat.conversation import Conversation
from toolkit.chat.tool_loop import ToolRun, run_tools
from toolkit.core.choice import Choice, Token
from toolkit.core.completion import Completion, Delta, Usage
from toolkit.core.fingerprint import Fingerprint
from toolkit.core.request import Request
from toolkit.core.sampling import Sampling
from toolkit.engines.base import Engine
from toolkit.engines.loading import connect, load
from toolkit.engines.variant import Variant, variants
from toolkit.errors import EngineError, ModelError, NotTold, PriceError, RequestError, StoreBusy, StoreError
from toolkit.experiments.classify import Classification, classify
from toolkit.experiments.determinism_ladder import determinism_ladder
from toolkit.experiments.explain_difference import Explanation, explain_difference
from toolkit.experiments.explore import explore
from toolkit.experiments.grid import Cells, cases, grid, zipped
from toolkit.experiments.ladder_report import Ladder
from toolkit.experiments.plan import Plan
from toolkit.experiments.schema_cost import Price, price_of_schema, removed_mass
from toolkit.experiments.sweep import Sweep, sweep
from toolkit.pricing.prices import LocalPrice, ModelPrice, model_price, model_prices
from toolkit.prompts.gallery import gallery
from toolkit.prompts.images import image
from toolkit.prompts.messages import fold_system
from toolkit.prompts.prompt import Prompt, Rendered
from toolkit.results.comparison import Comparison
from toolkit.results.results import Results, results
from toolkit.serve import Server, serve, servers
from toolkit.store.rows import Grade
from toolkit.store.store import Store
from toolkit.structured.json_schema_check import Violation
from toolkit.structured.response_format import ResponseFormat, response_format
from toolkit.structured.strict_schema import strict_violations
from toolkit.structured.tools import Tool, ToolCall, tool
from toolkit.structured.verdict import Verdict, verdict
from toolkit.widgets.display_hook import open_in_notebooks
from toolkit.widgets.makers import few_shot, playground

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
