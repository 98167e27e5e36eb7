"""The code of OpenAI's guides, each sample run as it stands in a process of its own against `tk.serve`, and the
official client's types against all that the server answers."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import openai
import pytest
from filelock import FileLock
from openai.types import chat, completion
from openai.types.chat import chat_completion_chunk as chunks
from pydantic import BaseModel

from toolkit._internal.files import toolkit_home
from toolkit.serving.command_line import OPENAI

ROOT = Path(__file__).parents[1]
SAMPLES = sorted(file for file in (ROOT / "tests" / "samples").iterdir() if file.suffix != ".md")
LIMIT = 96
"""Tokens of an answer at most."""
KEY = "sk-of-the-samples"
NPM = "openai@6.49.0"  # the last that Node 20 runs: from 7 on it wants 22
AGENTS = ("openai-agents==0.24.0", "griffelib==2.4.1")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(serving):
    """The samples set no limit and no temperature: where they say nothing, this server's answers are short, and the
    same each time, for a model of 135M parameters that is let loose writes a JSON object without end now and then."""
    with serving(
        aliases=OPENAI,
        api_key=KEY,
        max_model_len=1024,
        kv_cache_memory_bytes=256 << 20,
        override_generation_config={"max_new_tokens": LIMIT, "temperature": 0},
    ) as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    """OpenAI's client, which here refuses a response that is not of its type to the last field."""
    return strict(server.url, httpx2.Client(trust_env=False))


def strict(url, http):
    return openai.OpenAI(base_url=url, api_key=KEY, http_client=http, _strict_response_validation=True)


JAVASCRIPT = bool(shutil.which("node") and shutil.which("npm"))


@pytest.fixture(scope="module")
def node_modules():
    """The folder with OpenAI's JavaScript library, fetched once for this machine; None where it cannot run."""
    if not JAVASCRIPT:
        return None
    install = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", NPM, "--prefix"]
    return fetched(NPM, install) / "node_modules"


@pytest.fixture(scope="module")
def agents():
    """The folder with OpenAI's Agents SDK. It is not in the project's extras since it asks for websockets < 17, and
    vLLM brings 17; no sample uses those."""
    return fetched(AGENTS[0], [sys.executable, "-m", "pip", "install", "--no-deps", *AGENTS, "--target"])


def fetched(name, install):
    folder = toolkit_home() / "samples" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            draft = folder.with_name(f"{name}.draft")
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            done = subprocess.run([*install, str(draft)], capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, done.stderr
            draft.rename(folder)
    return folder


@pytest.fixture(scope="module")
def started(server, node_modules, agents, request, tmp_path_factory):
    """The samples that this session runs, all begun at once, by their names: the server answers them together."""
    wanted = {
        item.callspec.params["path"] for item in request.session.items if "started" in item.fixturenames
    }
    with ThreadPoolExecutor(6) as pool:
        yield {
            path.name: pool.submit(run, path, server, node_modules, agents, tmp_path_factory.mktemp("sample"))
            for path in sorted(wanted)
            if JAVASCRIPT or path.suffix != ".mjs"
        }


def run(path, server, node_modules, agents, tmp_path):
    """The process of a sample, ended, and what it printed. All that it is told is in its environment."""
    mine = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    env = {**mine, **server.environment}
    if path.suffix == ".mjs":  # a module finds its packages beside itself, or above
        (tmp_path / "node_modules").symlink_to(node_modules)
        command = ["node", shutil.copy(path, tmp_path)]
    elif path.suffix == ".sh":  # curl reads no such variable: this gives bash one that does
        env["BASH_FUNC_curl%%"] = '() { command curl "${@/"https://api.openai.com/v1"/$OPENAI_BASE_URL}"; }'
        command = ["bash", str(path)]
    else:
        command = [sys.executable, str(path)]
    if "agents" in path.name:
        # Agents names a model of its own, and sends traces of what it does to OpenAI.
        env |= {"OPENAI_DEFAULT_MODEL": "gpt-4o", "OPENAI_AGENTS_DISABLE_TRACING": "1"}
        env["PYTHONPATH"] = str(agents)
    return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=240)


# --- what a sample must print ---------------------------------------------------------------------------------


def text(out):
    """Some words of an answer, and no more than the server's limit of them."""
    assert out.strip()
    assert len(out.split()) <= LIMIT


def response(out, type=chat.ChatCompletion):
    """One response as JSON, of its type, ended as a response ends."""
    found = type.model_validate_json(out)
    assert found.system_fingerprint.startswith("fp_")
    assert found.choices[0].finish_reason in ("stop", "length")
    used = found.usage
    assert 0 < used.completion_tokens <= LIMIT
    assert used.total_tokens == used.prompt_tokens + used.completion_tokens
    return found


def chat_response(out):
    (choice,) = response(out).choices
    assert choice.message.role == "assistant"
    text(choice.message.content)


def text_response(out):
    found = response(out, completion.Completion)
    # A model that is made for chats may end at once where none is open: its one token is the end.
    assert found.choices[0].text.strip() or found.usage.completion_tokens == 1


def javascript(out):
    """The value that console.log shows."""
    show = "process.stdout.write(JSON.stringify(eval('(' + require('fs').readFileSync(0) + ')')))"
    return json.loads(
        subprocess.run(["node", "-e", show], input=out, capture_output=True, text=True, check=True).stdout
    )


def javascript_message(out):
    message = javascript(out)
    assert message["role"] == "assistant"
    text(message["content"])


def javascript_choice(out):
    choice = javascript(out)
    assert choice["finish_reason"] in ("stop", "length")
    assert choice["index"] == 0
    assert choice["message"]["role"] == "assistant"
    text(choice["message"]["content"])


def json_object(out):
    assert isinstance(json.loads(out), dict)


def reproducible(out):
    """Two answers with one seed are one answer, a third with another seed is another one."""
    first, second, third = (response(line) for line in out.splitlines())
    assert first.system_fingerprint == second.system_fingerprint == third.system_fingerprint
    assert first.choices == second.choices
    assert first.choices[0].message.content != third.choices[0].message.content


def total(out):
    assert 0 < int(out) <= 1024


def penalised(out):
    """Under the strong penalty fewer words are said again than under none."""
    texts = [response(line).choices[0].message.content for line in out.splitlines()]
    fresh = [len({*words}) / len(words) for words in (re.findall(r"\w+", text.lower()) for text in texts)]
    assert len(fresh) == 3
    assert fresh[0] < fresh[2]


def probabilities(out):
    talk, legacy = out.splitlines()
    tokens = response(talk).choices[0].logprobs.content
    assert len(tokens) == response(talk).usage.completion_tokens
    for token in tokens:
        assert token.top_logprobs[0].logprob == token.logprob <= 0  # greedy: the likeliest is taken
        assert token.top_logprobs[1].logprob <= token.logprob
        assert bytes(token.bytes).decode(errors="replace") == token.token
    found = response(legacy, completion.Completion)
    (choice,) = found.choices
    assert (
        len(choice.logprobs.token_logprobs)
        == len(choice.logprobs.top_logprobs)
        == found.usage.completion_tokens
    )
    assert choice.text
    assert "".join(choice.logprobs.tokens).startswith(choice.text)


def stream(out):
    """Three lines for each chunk: the chunk, its delta, and a rule."""
    names = {name: getattr(chunks, name) for name in ("ChatCompletionChunk", "Choice", "ChoiceDelta")}
    shown = [eval(line, {**names}) for line in out.splitlines() if not line.startswith("*")]
    found, deltas = shown[::2], shown[1::2]
    assert deltas == [chunk.choices[0].delta for chunk in found]
    assert out.splitlines()[2::3] == ["*" * 16] * len(found)
    assert {(chunk.id, chunk.object) for chunk in found} == {(found[0].id, "chat.completion.chunk")}
    assert deltas[0].role == "assistant"
    text("".join(delta.content or "" for delta in deltas))
    *before, last = [chunk.choices[0].finish_reason for chunk in found]
    assert set(before) == {None}
    assert last in ("stop", "length")


def function_call(out):
    found = chat.ChatCompletion.model_validate_json(out)
    assert found.choices[0].finish_reason == "tool_calls"
    for call in found.choices[0].message.tool_calls:
        assert call.function.name == "get_weather"
        assert json.loads(call.function.arguments).keys() == {"location"}


def event(out):
    assert {name: type(value) for name, value in json.loads(out).items()} == {
        "name": str,
        "date": str,
        "participants": list,
    }


def tutor(out):
    """An answer in the schema; of one that is cut, which the guide says to look for first, the beginning of one."""
    (choice,) = response(out).choices
    if choice.finish_reason == "stop":
        assert json.loads(choice.message.content).keys() == {"explanation", "final_answer"}
    else:
        assert choice.message.content.startswith('{"explanation":"')


RUNS = {
    "01_haiku.mjs": javascript_message,
    "02_user_message.mjs": chat_response,
    "03_system_message.mjs": chat_response,
    "04_knock_knock.mjs": chat_response,
    "05_world_series.py": chat_response,
    "06_content.py": text,
    "07_json_mode.py": json_object,
    "08_reproducible.py": reproducible,
    "09_total_tokens.py": total,
    "10_penalties.py": penalised,
    "11_logprobs.py": probabilities,
    "12_tagline.py": text_response,
    "14_completion_text.py": text,
    "15_translate_prompt.py": text_response,
    "16_translate_messages.py": chat_response,
    "17_llm.py": chat_response,
    "18_llm.mjs": javascript_choice,
    "19_llm.sh": chat_response,
    "20_unicorn.py": text,
    "23_function_tool.py": function_call,
    "24_stream.py": stream,
    "25_agents.py": text,
    "26_responses.mjs": text,
    "27_responses.py": text,
    "28_developer_message.py": text,
    "29_calendar_event.py": event,
    "30_math_tutor.py": tutor,
}
REFUSED = {
    "13_suffix.py": "BadRequestError: Error code: 400.*suffix is only supported for models with FIM",
    "21_image.py": "BadRequestError: Error code: 400.*is not a multimodal model",
    "22_web_search.py": "NotFoundError: Error code: 404.*The model `gpt-4o-search-preview` does not exist",
}


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_a_sample_runs_or_is_refused_in_words(path, started):
    if path.suffix == ".mjs" and not JAVASCRIPT:
        pytest.skip("no node and npm on this machine: JavaScript cannot run")
    done = started[path.name].result()
    if path.name in REFUSED:
        assert done.returncode == 1
        assert done.stdout == ""
        assert re.search(REFUSED[path.name], done.stderr), done.stderr
    else:
        assert done.returncode == 0, done.stderr
        RUNS[path.name](done.stdout)


# --- what the samples are --------------------------------------------------------------------------------------


def test_every_sample_is_checked_and_in_the_readme_with_what_comes_of_it():
    readme = (ROOT / "tests/samples/README.md").read_text()
    rows = re.findall(r"^\| \[`(\S+)`\]\((\S+)\) \|.*\| (runs|no)\b.* \|$", readme, re.MULTILINE)
    assert all(shown == target for shown, target, _ in rows)
    assert [shown for shown, _, _ in rows] == [path.name for path in SAMPLES] == sorted(RUNS | REFUSED)
    assert {shown for shown, _, fate in rows if fate == "runs"} == RUNS.keys()
    assert {shown for shown, _, fate in rows if fate == "no"} == REFUSED.keys()


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_a_sample_says_in_one_line_where_it_is_from_and_names_no_server(path):
    first, *code = path.read_text().splitlines()
    assert re.match(r'(#|//) ".+" \(seed 00[0-3]\), ', first)
    if path.suffix == ".py":
        ast.parse("\n".join(code))
    assert not re.search("base_url|baseURL|localhost|127.0.0.1|max_tokens", "\n".join(code))


# --- what cannot be served, and what is ignored ----------------------------------------------------------------


def test_a_web_search_is_not_made_and_nothing_says_so(client):
    """With a name that the server knows, vLLM ignores the option: the model answers by itself, and cites nothing."""
    asked = {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "What was a positive news story from today?"}],
    }
    with_search = client.chat.completions.create(**asked, web_search_options={})
    without = client.chat.completions.create(**asked)
    assert with_search.choices == without.choices
    assert not with_search.choices[0].message.annotations


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.realtime.client_secrets.create(session={"type": "realtime", "model": "gpt-4o"}),
        lambda c: c.models.retrieve("gpt-4o"),  # the list of them is there
    ],
    ids=["realtime voice", "one model"],
)
def test_what_vllm_has_not_is_not_found(call, server):
    with pytest.raises(openai.NotFoundError, match="404"):
        call(server.client)


# --- OpenAI's types ---------------------------------------------------------------------------------------------

HELLO = [{"role": "user", "content": "Say hello."}]
WEATHER = {
    "type": "object",
    "properties": {"location": {"type": "string"}},
    "required": ["location"],
    "additionalProperties": False,
}
TOOL = {"name": "get_weather", "description": "The weather.", "parameters": WEATHER, "strict": True}
FUNCTION = {"type": "function", "function": TOOL}
NAMED = {"type": "function", "function": {"name": "get_weather"}}
FLAT = {"type": "function", **TOOL}
FLAT_NAMED = {"type": "function", "name": "get_weather"}
ASKED = [{"role": "user", "content": "What is the weather like in Paris today?"}]


class Greeting(BaseModel):
    word: str


def parsed_stream(client):
    with client.chat.completions.stream(model="gpt-4o", messages=HELLO, response_format=Greeting) as events:
        yield from events
        assert isinstance(events.get_final_completion().choices[0].message.parsed, Greeting)


def responses_stream(client):
    with client.responses.stream(model="gpt-4o", input="Say hello.", text_format=Greeting) as events:
        yield from events
        assert isinstance(events.get_final_response().output_parsed, Greeting)


CALLS = {
    "models": lambda c: c.models.list(),
    "chat": lambda c: [c.chat.completions.create(model="gpt-4o", messages=HELLO)],
    "chat n": lambda c: c.chat.completions.create(model="gpt-4o", messages=HELLO, n=2, temperature=1).choices,
    "chat logprobs": lambda c: (
        c.chat.completions.create(model="gpt-4o", messages=HELLO, logprobs=True, top_logprobs=3)
        .choices[0]
        .logprobs.content
    ),
    "chat tools": lambda c: (
        c.chat.completions.create(model="gpt-4o", messages=ASKED, tools=[FUNCTION], tool_choice=NAMED)
        .choices[0]
        .message.tool_calls
    ),
    "chat parsed": lambda c: [
        c.chat.completions.parse(model="gpt-4o", messages=HELLO, response_format=Greeting)
        .choices[0]
        .message.parsed
    ],
    "chat stream": lambda c: c.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True),
    "chat stream usage": lambda c: [
        part.usage
        for part in c.chat.completions.create(
            model="gpt-4o", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        if not part.choices
    ],
    "chat stream logprobs": lambda c: [
        part.choices[0].logprobs
        for part in c.chat.completions.create(
            model="gpt-4o", messages=HELLO, stream=True, logprobs=True, top_logprobs=3
        )
        if part.choices[0].delta.content
    ],
    "chat stream tools": lambda c: [
        call
        for part in c.chat.completions.create(
            model="gpt-4o", messages=ASKED, stream=True, tools=[FUNCTION], tool_choice=NAMED
        )
        for call in part.choices[0].delta.tool_calls or ()
    ],
    "chat stream parsed": parsed_stream,
    "completions": lambda c: [c.completions.create(model="gpt-4o", prompt="Hello")],
    "completions many": lambda c: (
        c.completions.create(model="gpt-4o", prompt=["Hello", "Good"], logprobs=2).choices
    ),
    "responses": lambda c: [c.responses.create(model="gpt-4o", input="Say hello.", instructions="Be short.")],
    "responses turns": lambda c: [
        c.responses.create(model="gpt-4o", input=[*HELLO, {"role": "assistant", "content": "Hello."}, *HELLO])
    ],
    "responses tools": lambda c: [
        item
        for item in c.responses.create(
            model="gpt-4o", input=ASKED, tools=[FLAT], tool_choice=FLAT_NAMED
        ).output
        if item.type == "function_call"
    ],
    "responses parsed": lambda c: [
        c.responses.parse(model="gpt-4o", input="Say hello.", text_format=Greeting).output_parsed
    ],
    "responses stream": lambda c: c.responses.create(model="gpt-4o", input="Say hello.", stream=True),
    "responses stream tools": lambda c: [
        event
        for event in c.responses.create(
            model="gpt-4o", input=ASKED, tools=[FLAT], tool_choice=FLAT_NAMED, stream=True
        )
        if event.type == "response.function_call_arguments.done"
    ],
    "responses stream parsed": responses_stream,
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_official_clients_types_accept_every_response(call, client):
    found = list(call(client))
    assert found
    assert all(isinstance(each, BaseModel) for each in found)


NARROW = {
    "completions echo": (
        lambda c: c.completions.create(model="gpt-4o", prompt="Hello you", echo=True, logprobs=2).choices,
        r"token_logprobs\.0\n  Input should be a valid number",
    ),
    "completions stream": (
        lambda c: (
            part.choices[0] for part in c.completions.create(model="gpt-4o", prompt="Hello", stream=True)
        ),
        r"finish_reason\n  Input should be 'stop', 'length' or 'content_filter'",
    ),
}


@pytest.mark.parametrize(("call", "reason"), NARROW.values(), ids=NARROW)
def test_where_the_types_are_narrower_than_openais_own_answers_only_a_strict_client_minds(
    call, reason, server, client
):
    """The first token of an echo has no probability, and a part of a stream no end: null, as OpenAI sends it too
    (https://community.openai.com/t/completion-finish-reason-is-missing-when-stream-true/90526 shows both), but the
    one type that the library has for legacy completions does not say so."""
    with pytest.raises(openai.APIResponseValidationError) as refused:
        list(call(client))
    assert re.search(reason, str(refused.value.__cause__))
    found = list(call(server.client))
    assert "".join(choice.text for choice in found)
    assert found[-1].finish_reason in ("stop", "length")


@pytest.mark.parametrize(
    ("type", "body"),
    [
        ("application/json", '{"id": "1", "choices": "none"}'),
        ("text/event-stream", 'data: {"id": "1", "choices": "none"}\n\ndata: [DONE]\n\n'),
    ],
    ids=["response", "stream"],
)
def test_the_client_refuses_what_is_not_of_its_type(type, body):
    """Or the test above could not fail."""
    answer = httpx2.MockTransport(lambda _: httpx2.Response(200, headers={"content-type": type}, text=body))
    client = strict("http://nowhere/v1", httpx2.Client(transport=answer))
    with pytest.raises(openai.APIResponseValidationError, match="invalid for expected schema"):
        list(client.chat.completions.create(model="m", messages=HELLO, stream=type != "application/json"))


SHOWN = {
    "Chat Completions response format (seed 001)": (
        lambda c: c.chat.completions.create(model="gpt-3.5-turbo", messages=HELLO),
        {
            "choices": [
                {
                    "finish_reason": str,
                    "index": int,
                    "message": {"content": str, "role": str},
                    "logprobs": None,
                }
            ],
            "created": int,
            "id": str,
            "model": str,
            "object": "chat.completion",
            "usage": {"completion_tokens": int, "prompt_tokens": int, "total_tokens": int},
        },
    ),
    "Completions response format (seed 001)": (
        lambda c: c.completions.create(model="gpt-3.5-turbo-instruct", prompt="Hello"),
        {
            "choices": [{"finish_reason": str, "index": int, "logprobs": None, "text": str}],
            "created": int,
            "id": str,
            "model": str,
            "object": "text_completion",
            "usage": {"completion_tokens": int, "prompt_tokens": int, "total_tokens": int},
        },
    ),
    "Generate text from a simple prompt (seed 003)": (
        lambda c: c.chat.completions.create(model="gpt-4o", messages=HELLO),
        {
            "choices": [
                {
                    "index": int,
                    "message": {"role": "assistant", "content": str, "refusal": None},
                    "logprobs": None,
                    "finish_reason": str,
                }
            ]
        },
    ),
}


@pytest.mark.parametrize(("call", "shape"), SHOWN.values(), ids=SHOWN)
def test_a_response_has_every_field_that_the_guides_show(call, shape, client):
    fits(json.loads(call(client).to_json(exclude_unset=True)), shape)


def fits(value, shape):
    if isinstance(shape, dict):
        for name, inner in shape.items():
            assert name in value
            fits(value[name], inner)
    elif isinstance(shape, list):
        assert len(value) == len(shape)
        for each, inner in zip(value, shape, strict=True):
            fits(each, inner)
    elif isinstance(shape, type):
        assert isinstance(value, shape)
    else:
        assert value == shape


HANDOFF = """
from agents import Agent, ModelSettings, Runner

language = [Agent(name=f"{name} agent", instructions=f"You only speak {name}.") for name in ("Spanish", "English")]
triage = Agent(
    name="Triage agent",
    instructions="Handoff to the appropriate agent based on the language of the request.",
    handoffs=language,
    model_settings=ModelSettings(tool_choice="transfer_to_spanish_agent"),
)
result = Runner.run_sync(triage, "Hola, ¿cómo estás?")
print([item.type for item in result.new_items])
print(result.last_agent.name)
print(result.final_output)
"""


def test_an_agent_that_must_hand_over_does_and_the_other_one_answers(server, node_modules, agents, tmp_path):
    """The sample leaves it to the model whether it hands over; here it must, so that this way is gone too."""
    path = tmp_path / "agents.handoff.py"
    path.write_text(HANDOFF)
    done = run(path, server, node_modules, agents, tmp_path)
    assert done.returncode == 0, done.stderr
    items, agent, *answer = done.stdout.splitlines()
    assert ast.literal_eval(items) == ["handoff_call_item", "handoff_output_item", "message_output_item"]
    assert agent == "Spanish agent"
    text("\n".join(answer))
