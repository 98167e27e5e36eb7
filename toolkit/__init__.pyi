from . import examples as examples, models as models, protocols as protocols, widgets as widgets
from .analysis.calibration import Calibration as Calibration, calibration as calibration
from .analysis.determinism.report import Determinism as Determinism
from .analysis.fork import Fork as Fork, fork as fork
from .analysis.logprobs import Logprobs as Logprobs, logprobs as logprobs
from .analysis.microscope import Microscope as Microscope, microscope as microscope
from .analysis.token_counts import (
    Count as Count,
    compare_tokenizers as compare_tokenizers,
    count_many as count_many,
    count_tokens as count_tokens,
)
from .analysis.tokens import Tokens as Tokens, tokens as tokens
from .analysis.tree import Tree as Tree, tree as tree
from .chat.conversation import Conversation as Conversation
from .chat.tool_loop import ToolRun as ToolRun, run_tools as run_tools
from .core.choice import Choice as Choice, Token as Token
from .core.completion import Completion as Completion, Delta as Delta, Usage as Usage
from .core.fingerprint import Fingerprint as Fingerprint
from .core.request import Request as Request
from .core.sampling import Sampling as Sampling
from .engines.base import Engine as Engine
from .engines.loading import connect as connect, load as load
from .engines.variant import Variant as Variant, variants as variants
from .errors import (
    EngineError as EngineError,
    ModelError as ModelError,
    NotTold as NotTold,
    PriceError as PriceError,
    RequestError as RequestError,
    StoreBusy as StoreBusy,
    StoreError as StoreError,
)
from .experiments.classify import Classification as Classification, classify as classify
from .experiments.determinism_ladder import determinism_ladder as determinism_ladder
from .experiments.explain_difference import (
    Explanation as Explanation,
    explain_difference as explain_difference,
)
from .experiments.explore import explore as explore
from .experiments.grid import Cells as Cells, cases as cases, grid as grid, zipped as zipped
from .experiments.ladder_report import Ladder as Ladder
from .experiments.plan import Plan as Plan
from .experiments.schema_cost import (
    Price as Price,
    price_of_schema as price_of_schema,
    removed_mass as removed_mass,
)
from .experiments.sweep import Sweep as Sweep, sweep as sweep
from .pricing.prices import (
    LocalPrice as LocalPrice,
    ModelPrice as ModelPrice,
    model_price as model_price,
    model_prices as model_prices,
)
from .prompts.gallery import gallery as gallery
from .prompts.images import image as image
from .prompts.messages import fold_system as fold_system
from .prompts.prompt import Prompt as Prompt
from .prompts.rendered import Rendered as Rendered
from .results.comparison import Comparison as Comparison
from .results.results import Results as Results
from .results.stored import results as results
from .serve import Server as Server, serve as serve, servers as servers
from .store.rows import Grade as Grade
from .store.store import Store as Store
from .structured.json_schema_check import Violation as Violation
from .structured.response_format import ResponseFormat as ResponseFormat, response_format as response_format
from .structured.strict_schema import strict_violations as strict_violations
from .structured.tools import Tool as Tool, ToolCall as ToolCall, tool as tool
from .structured.verdict import Verdict as Verdict, verdict as verdict
from .widgets.makers import few_shot as few_shot, playground as playground

__version__: str
