"""An engine from outside the package: a language model that counts which character follows those before it. It does
with a request all that it says, or fails."""

import hashlib
import time
import uuid
from collections import Counter, defaultdict
from dataclasses import replace
from functools import cached_property

import numpy as np

from toolkit.core.choice import PROMPT, Choice
from toolkit.core.completion import Completion, Delta, Usage
from toolkit.core.fingerprint import Fingerprint
from toolkit.core.request import Request
from toolkit.engines.base import Engine

END = 0
SETTINGS = {"temperature", "seed", "max_tokens", "logprobs", "top_logprobs", "prompt_logprobs"}


class NGramEngine(Engine):
    """P(character | the `order` − 1 before it) with add-one smoothing, of the paragraphs of a text."""

    model, ends, generated_tokens = "ngram", frozenset({END}), 0

    def __init__(self, text, order=4):
        self.text, self.order, self._counts = text, order, defaultdict(Counter)
        self._ids = {c: i for i, c in enumerate(sorted(set(text)), END + 1)}
        for paragraph in text.split("\n\n"):
            ids = (*self._encode(paragraph), END)
            for i, token in enumerate(ids):
                self._counts[ids[max(0, i - order + 1) : i]][token] += 1

    @cached_property
    def vocabulary(self):
        return [b"", *(c.encode() for c in self._ids)]

    @cached_property
    def fingerprint(self):
        weights = hashlib.sha256(self.text.encode()).hexdigest()
        names = {"engine": "ngram", "model": self.model, "tokenizer": "".join(self._ids), "weights": weights}
        sizes = {"order": self.order, "max_model_len": 2000}
        return Fingerprint({**names, **sizes, "logprobs_mode": "raw_logprobs"})

    def start(self):
        return self

    def close(self):
        pass

    def encode(self, request):
        request = request if isinstance(request, Request) else Request.chat(request)
        turns = "".join(f"{turn['content']}\n" for turn in request.messages or ())
        return (*self._encode(request.prompt or turns), *self._encode(request.prefix or ()))

    def _encode(self, text):
        if unknown := [c for c in text if isinstance(c, str) and c not in self._ids]:
            raise ValueError(f"the n-gram model has no character {unknown[0]!r}")
        return tuple(self._ids[c] if isinstance(c, str) else c for c in text)

    def generate(self, requests):
        for position, request in enumerate(requests):
            resolved = request.resolve(self.defaults)
            try:
                yield self._completion(resolved, position)
            except ValueError as error:
                system = {"model": self.model, "system_fingerprint": self.fingerprint.id}
                yield Completion.failed(resolved, str(error), position=position, **system)

    def stream_request(self, request):
        completion = self._generate_one(request)  # all at once, since it takes no time
        yield Delta(completion.text, 0, completion.finish_reason, completion)

    def _completion(self, request, position):
        begin, sampling = time.monotonic(), request.sampling
        if lacking := sorted(sampling.canonical().keys() - SETTINGS):
            raise ValueError(f"the n-gram model has no {', '.join(lacking)}")
        if request.constraint or request.tools or request.suffix or request.echo or request.has_images:
            raise ValueError("the n-gram model continues text, and does nothing else")
        prompt, given = self.encode(request), len(self._encode(request.prefix or ()))
        if len(prompt) + sampling.max_tokens > self.window:
            raise ValueError(f"prompt and max_tokens exceed the context window, {self.window} tokens")
        ids, first = self._continued(prompt, sampling), len(prompt) - given
        self.generated_tokens += len(ids) - len(prompt)
        choice = self._choice(0, ids, first, sampling.top_logprobs if sampling.logprobs else None)
        choice = replace(choice, prefix_tokens=given, finish_reason="stop" if ids[-1] == END else "length")
        scored = None
        if sampling.prompt_logprobs is not None:
            scored = self._choice(PROMPT, ids[:first], 0, sampling.prompt_logprobs)
            scored.logprobs[0], scored.ranks[0], scored.top_logprobs[0] = np.nan, 0, np.nan
        usage, seconds = Usage(len(prompt), len(ids) - len(prompt)), time.monotonic() - begin
        return Completion(
            request, (choice,), usage, self.model, self.fingerprint.id, uuid.uuid4().hex, time.time(), seconds,
            seconds, np.array(ids[:first], np.int32), position, prompt=scored, notes=request.notes,
        )  # fmt: skip

    def _continued(self, prompt, sampling):
        generator, ids = np.random.default_rng(sampling.seed), list(prompt)
        for _ in range(sampling.max_tokens):
            scores = self._logprobs(ids)
            if sampling.temperature:  # the largest of scores with Gumbel noise is a draw from their softmax
                scores = scores / sampling.temperature + generator.gumbel(size=len(scores))
            ids.append(int(scores.argmax()))
            if ids[-1] == END:
                break
        return ids

    def _logprobs(self, ids):
        """(V,) the log probability of each character after these."""
        counts = np.ones(len(self.vocabulary))
        for token, count in self._counts.get(tuple(ids[max(0, len(ids) - self.order + 1) :]), {}).items():
            counts[token] += count
        return np.log(counts / counts.sum())

    def _choice(self, index, ids, first, top):
        """The tokens from the first one on; without log probabilities for top=None."""
        tokens = np.array(ids[first:], np.int32)
        text = b"".join(self.vocabulary[i] for i in tokens).decode()
        choice = Choice(index, text, "prompt", None, tokens, vocabulary=lambda: self.vocabulary)
        if top is None:
            return choice
        table = np.array([self._logprobs(ids[:i]) for i in range(first, len(ids))], np.float32)
        chosen = np.take_along_axis(table, tokens[:, None], 1)
        top_ids = np.argsort(-table, 1, "stable")[:, : top if top >= 0 else None].astype(np.int32)
        return replace(
            choice, logprobs=chosen[:, 0], ranks=1 + (table > chosen).sum(1, dtype=np.int32), top_ids=top_ids,
            top_logprobs=np.take_along_axis(table, top_ids, 1), logprobs_mode="raw_logprobs",
        )  # fmt: skip
