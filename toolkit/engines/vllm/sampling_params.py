"""Requests as vLLM's sampling parameters."""

from __future__ import annotations

from typing import Any

from toolkit.core.request import ResolvedRequest
from toolkit.structured.response_format import ResponseFormat


def vllm_sampling_params(request: ResolvedRequest, streaming: bool, ends_mid_character: bool = False) -> Any:
    """vLLM's SamplingParams, new for each request since vLLM changes them."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    options = request.sampling.given()
    top = options.pop("top_logprobs", 0)
    # Flat lists of numbers in place of an object for each token: top-20 logprobs at nearly no cost.
    logprobs = top if options.pop("logprobs", False) else None
    prompt_logprobs = options.pop("prompt_logprobs", logprobs if request.echo else None)
    if ends_mid_character:
        options.pop("stop", None)
    for name in ("stop", "bad_words", "stop_token_ids", "allowed_token_ids"):
        if name in options:
            options[name] = list(options[name])
    if "logit_bias" in options:
        options["logit_bias"] = dict(options["logit_bias"])
    if request.tool_choice == "auto":
        options["skip_special_tokens"] = False  # some families mark their calls by special tokens
    output_kind = RequestOutputKind.CUMULATIVE if streaming else RequestOutputKind.FINAL_ONLY
    return SamplingParams(
        structured_outputs=_structured_outputs(request.constraint),
        logprobs=logprobs,
        prompt_logprobs=prompt_logprobs,
        flat_logprobs=True,
        output_kind=output_kind,
        **options,
    )


def _structured_outputs(constraint: ResponseFormat | None) -> Any:
    from vllm.sampling_params import StructuredOutputsParams

    if constraint is None:
        return None
    if constraint.kind == "json_object":
        return StructuredOutputsParams(json_object=True)
    value = {"json_schema": constraint.schema, "choice": list(constraint.choices)}.get(
        constraint.kind, constraint.value
    )
    return StructuredOutputsParams(**{"json" if constraint.kind == "json_schema" else constraint.kind: value})


def check_grammar(llm: Any, response_format: ResponseFormat) -> None:
    """Raises what vLLM raises for a response format that its grammar backend cannot enforce; generates nothing."""
    from vllm import SamplingParams

    config = llm.llm_engine.vllm_config
    params = SamplingParams(structured_outputs=_structured_outputs(response_format))
    params.verify(config.model_config, None, config.structured_outputs_config, llm.get_tokenizer())
