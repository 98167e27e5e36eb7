from . import (
    base as base,
    comparison as comparison,
    completion as completion,
    costs as costs,
    determinism as determinism,
    display_hook as display_hook,
    engine_labels as engine_labels,
    few_shot as few_shot,
    few_shot_html as few_shot_html,
    few_shot_inputs as few_shot_inputs,
    logprobs as logprobs,
    makers as makers,
    microscope as microscope,
    microscope_html as microscope_html,
    playground as playground,
    playground_draft as playground_draft,
    playground_reply as playground_reply,
    prompt_parts as prompt_parts,
    python_source as python_source,
    tokens as tokens,
)
from .base import View as View
from .comparison import CompareView as CompareView
from .completion import CompletionView as CompletionView
from .costs import CostsView as CostsView
from .determinism import DeterminismView as DeterminismView
from .display_hook import register_view as register_view
from .few_shot import Builder as Builder
from .logprobs import LogprobsView as LogprobsView
from .microscope import MicroscopeView as MicroscopeView
from .playground import Playground as Playground
from .tokens import TokensView as TokensView
