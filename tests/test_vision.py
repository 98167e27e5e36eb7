"""Images, on a tiny vision-language model that the test makes itself, in a process of its own (one vLLM each)."""

import json
import socket
import subprocess
from pathlib import Path

import pytest

import toolkit as tk

SCRIPT = r"""
import http.server, io, json, sys, threading, zlib
from pathlib import Path
from PIL import Image
import toolkit as tk
from toolkit.core.request import Request
from vision import build

folder = Path(sys.argv[1])
engine = tk.load(str(build(folder / "model", tk.models.path())), max_logprobs=20, kv_cache_memory_bytes=256 << 20,
                 allowed_media_domains=["127.0.0.1"])

def picture(colour):
    stream = io.BytesIO()
    Image.new("RGB", (48, 32), colour).save(stream, format="PNG")
    return stream.getvalue()

def bomb(picture):  # a PNG of the same bytes that claims to be 60,000 wide and high
    header = b"IHDR" + (60000).to_bytes(4) * 2 + picture[24:29]
    return picture[:12] + header + zlib.crc32(header).to_bytes(4) + picture[33:]

def ask(*sources, text="What colour is this?"):
    parts = [{"type": "text", "text": text}, *map(tk.image, sources)]
    return [{"role": "user", "content": parts}]

asked = []

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked.append(self.path)
        found = self.path == "/red.png"
        self.send_response(200 if found else 404)
        self.end_headers()
        if found:
            self.wfile.write(picture("red"))
    def log_message(self, *args):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_port}"
(folder / "red.png").write_bytes(picture("red"))

options = {"temperature": 0, "max_tokens": 8, "top_logprobs": 0}
red = engine.chat(ask(folder / "red.png"), **options)
blue = engine.chat(ask(picture("blue")), **options)
none = engine.chat("What colour is this?", **options)
fetched = engine.chat(ask(address + "/red.png"), **options)
both = engine.chat(ask(picture("red"), picture("blue")), **options)

def bare(llm):
    from vllm import SamplingParams
    (output,) = llm.chat(ask(picture("red")), SamplingParams(temperature=0, max_tokens=8, logprobs=0), use_tqdm=False)
    return [output.prompt_token_ids, list(output.outputs[0].token_ids)]

def reference():
    # transformers' own forward pass and image processor on the same weights
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(folder / "model")
    model = AutoModelForImageTextToText.from_pretrained(folder / "model", dtype=torch.float32).eval()
    content = [{"type": "text", "text": "What colour is this?"}, {"type": "image"}]
    text = processor.tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True)
    given = processor(text=text, images=Image.open(folder / "red.png"), return_tensors="pt")
    ids = model.generate(**given, max_new_tokens=8, do_sample=False)[0]
    with torch.no_grad():
        steps = model(**{**given, "input_ids": ids[None], "attention_mask": torch.ones_like(ids[None])}).logits[0]
    at = torch.log_softmax(steps, -1)[torch.arange(len(ids) - 1), ids[1:]]
    return [ids.tolist(), at[-8:].tolist()]

counted = engine.count(ask(picture("green")))
after_counting = engine.chat(ask(picture("green")), **options)  # what was only counted must not pass for sent

def refused(messages):
    try:
        engine.chat(messages, **options)
    except tk.RequestError as error:
        return str(error)

mixed = list(engine.generate([
    Request.chat(ask(picture("red")), **options), Request.chat(ask(address + "/none.png"), **options),
    Request.chat(ask(picture("blue")), **options)]))
cells = tk.grid(prompt=[ask(picture(c)) for c in ("red", "blue")], temperature=0, max_tokens=4)
sweep = tk.sweep(None, cells)
results = sweep.run(engine, folder / "run.db")
print(json.dumps({
    "red": [red.prompt_token_ids.tolist(), red.token_ids.tolist(), red.logprobs.tolist()],
    "blue": blue.logprobs.tolist(), "none": none.logprobs.tolist(), "fetched": fetched.logprobs.tolist(),
    "bare": engine.call(bare), "usage": red.usage.prompt_tokens, "both": both.usage.prompt_tokens,
    "none_usage": none.usage.prompt_tokens, "counted": counted, "after": after_counting.usage.prompt_tokens,
    "asked": asked, "elsewhere": refused(ask(address.replace("127.0.0.1", "localhost") + "/red.png")),
    "bomb": refused(ask(bomb(picture("red")))),
    "missing": refused(ask(address + "/none.png")), "reference": reference(),
    "long": refused(ask(picture("red"), text="word " * 1005)),
    "mixed": [c.error is None for c in sorted(mixed, key=lambda c: c.error or "")],
    "rows": len(results), "asked_again": len(sweep.plan(engine, folder / "run.db").missing),
    "kept": results[0].request.messages[0]["content"][1]["image_url"]["url"][:22],
}))
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory, warm_python):
    """What the script saw."""
    folder = tmp_path_factory.mktemp("vision")
    tests = Path(__file__).parent
    done = subprocess.run(
        [warm_python, "-c", SCRIPT, str(folder)],
        capture_output=True, text=True, cwd=tests, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_an_image_reaches_the_model_as_vllm_itself_sends_it(seen):
    prompt, tokens, _ = seen["red"]
    assert [prompt, tokens] == seen["bare"]


@pytest.mark.slow
def test_what_the_model_makes_of_an_image_is_what_transformers_makes_of_it(seen):
    prompt, tokens, logprobs = seen["red"]
    assert seen["reference"][0] == prompt + tokens
    assert seen["reference"][1] == pytest.approx(logprobs, abs=1e-3)


@pytest.mark.slow
def test_another_image_and_no_image_give_another_answer(seen):
    _, _, red = seen["red"]
    assert len({tuple(red), tuple(seen["blue"]), tuple(seen["none"])}) == 3


@pytest.mark.slow
def test_a_picture_on_the_network_is_the_same_as_its_bytes(seen):
    assert seen["fetched"] == seen["red"][2]


@pytest.mark.slow
def test_a_picture_on_the_network_is_asked_for_once_and_only_of_hosts_that_are_allowed(seen):
    assert seen["asked"] == ["/red.png", "/none.png"]
    assert "the host localhost is not among allowed_media_domains, 127.0.0.1" in seen["elsewhere"]
    assert "too large to be decompressed" in seen["bomb"]


@pytest.mark.slow
def test_tokens_of_images_are_counted(seen):
    image = 4 + 3  # four features, and the marks around them
    assert seen["usage"] == seen["none_usage"] + image
    assert seen["both"] == seen["usage"] + image
    assert seen["counted"] == seen["usage"] == seen["after"]


@pytest.mark.slow
def test_what_cannot_be_seen_is_refused_alone(seen):
    assert "none.png cannot be fetched" in seen["missing"]
    assert "404" in seen["missing"]
    assert "exceed the context window" in seen["long"]
    assert sorted(seen["mixed"]) == [False, True, True]


@pytest.mark.slow
def test_images_can_be_swept_and_are_kept_in_the_store(seen):
    assert seen["rows"] == 2
    assert seen["asked_again"] == 0
    assert seen["kept"] == "data:image/png;base64,"


def test_a_text_model_refuses_images(engine):
    from test_messages import URL

    part = [{"type": "text", "text": "What is this?"}, tk.image(URL)]
    with pytest.raises(
        tk.RequestError, match=r"1 image.s. were given, and this model takes none: it is a text-only"
    ):
        engine.chat([{"role": "user", "content": part}])


def test_a_text_model_has_no_image_fetched(engine):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(0.2)
        source = tk.image(f"http://127.0.0.1:{listening.getsockname()[1]}/a.png")
        with pytest.raises(tk.RequestError, match="it is a text-only model"):
            engine.chat([{"role": "user", "content": [source]}])
        with pytest.raises(TimeoutError):
            listening.accept()
