import json
import logging
import logging.config
import pickle
from types import SimpleNamespace

import pytest

import toolkit as tk
from toolkit._internal.secrets import HIDDEN, hide_secrets, is_secret, redact, secrets_of, without_secrets
from toolkit.engines.openai_api.client import ApiClient, RequestFailed
from toolkit.engines.vllm import logs
from toolkit.engines.vllm.config import Spec

SECRET = "hf_AbCdEf0123456789"


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("hf_token", True),
        ("HF_TOKEN", True),
        ("HUGGING_FACE_HUB_TOKEN", True),
        ("OPENAI_API_KEY", True),
        ("api_key", True),
        ("apikey", True),
        ("X-Api-Key", True),
        ("AWS_SECRET_ACCESS_KEY", True),
        ("AWS_ACCESS_KEY_ID", True),
        ("DB_PASSWORD", True),
        ("client.secret", True),
        ("credentials", True),
        ("token", True),
        ("max_num_batched_tokens", False),
        ("tokenizer", False),
        ("spec_tokens", False),
        ("bos_token", False),
        ("image_token", False),
        ("bos_token_id", False),
        ("sort_key", False),
        ("VLLM_CPU_KVCACHE_SPACE", False),
        (3, False),
    ],
)
def test_secrets_are_known_by_their_names(name, secret):
    assert is_secret(name) == secret


@pytest.mark.parametrize(
    ("settings", "hidden", "secrets"),
    [
        ({"hf_token": SECRET, "dtype": "float32"}, {"hf_token": HIDDEN, "dtype": "float32"}, [SECRET]),
        ({"hf_token": True}, {"hf_token": True}, []),
        ({"hf_token": None}, {"hf_token": None}, []),
        ({"extra": {"aws": [{"secret_key": SECRET}]}}, {"extra": {"aws": [{"secret_key": HIDDEN}]}}, [SECRET]),
        ({"credentials": {"user": "a", "password": SECRET}}, {"credentials": {"user": "a", "password": HIDDEN}},
         [SECRET]),
        ({"HTTP_PROXY": "http://me:pass@proxy:80"}, {"HTTP_PROXY": "http://***@proxy:80"}, ["me:pass"]),
        (({"token": 5},), ({"token": HIDDEN},), ["5"]),
        (("a", 1.5, None), ("a", 1.5, None), []),
    ],
)  # fmt: skip
def test_secrets_are_hidden_wherever_they_are(settings, hidden, secrets):
    assert hide_secrets(settings) == hidden
    assert list(secrets_of(settings)) == secrets
    assert not any(secret in repr(without_secrets(settings)) for secret in secrets)
    assert not any(secret in redact(repr(settings), secrets) for secret in secrets)


VARIANTS = {
    "argument": lambda: tk.variants(hf_token=SECRET),
    "nested argument": lambda: tk.variants(model_loader_extra_config={"s3": {"secret_key": SECRET}}),
    "two arguments": lambda: tk.variants(hf_token=[SECRET, SECRET + "2"]),
    "variable": lambda: tk.variants(env={"HF_TOKEN": SECRET}),
    "two variables": lambda: tk.variants(env=[{"HF_TOKEN": SECRET}, {"HF_TOKEN": SECRET + "2", "A": "1"}]),
    "url": lambda: tk.variants(env={"HTTPS_PROXY": f"http://me:{SECRET}@proxy"}),
    "changed": lambda: [tk.Variant().with_("x", hf_token=SECRET, env={"WANDB_API_KEY": SECRET})],
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_show_no_secret_and_keep_it(name):
    made = VARIANTS[name]()
    assert SECRET not in repr(made) + "".join(map(str, made))
    assert len({str(variant) for variant in made}) == len(made)
    assert SECRET in repr([(variant.arguments, variant.env) for variant in made])
    assert pickle.loads(pickle.dumps(made)) == made


def test_a_variant_shows_everything_else():
    variant = tk.Variant("a/b", {"dtype": "float16", "hf_token": SECRET}, 2, {"A": "1"}, "x")
    arguments = "{'dtype': 'float16', 'hf_token': '***'}"
    assert (
        repr(variant) == f"Variant(model='a/b', arguments={arguments}, threads=2, env={{'A': '1'}}, name='x')"
    )


def test_a_wrong_variable_that_is_a_secret_is_not_repeated():
    with pytest.raises(TypeError, match=r"env must be a dict of strings .*, got 'HF_TOKEN': '\*\*\*'"):
        tk.variants(env={"HF_TOKEN": SECRET.encode()})


ARGUMENTS = {"hf_token": SECRET, "model_loader_extra_config": {"secret_key": SECRET, "concurrency": 4}}


def test_what_is_recorded_of_an_engine_has_no_secret():
    spec = Spec("m", "/models/m", ARGUMENTS, {})
    recorded = json.dumps([spec.options, spec.arguments_without_secrets])
    assert SECRET not in recorded + repr(spec)
    assert spec.options == {"model_loader_extra_config.concurrency": 4}
    assert spec.arguments_without_secrets == {"model_loader_extra_config": {"concurrency": 4}}
    assert spec.secrets == {SECRET}


def test_vllms_log_has_no_secret(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "_secrets", set())
    log = tmp_path / "vllm.log"
    config = json.loads(logs._log_config(log).read_text())
    logs.keep_out_of_log([SECRET])
    logging.config.dictConfig({**config, "loggers": {"toolkit-test": config["loggers"]["vllm"]}})
    logger = logging.getLogger("toolkit-test")
    logger.info("non-default args: %s", ARGUMENTS)
    try:
        raise ValueError(f"input_value={ARGUMENTS}")
    except ValueError:
        logger.exception("did not start")
    text = log.read_text()
    assert SECRET not in text
    assert "INFO toolkit-test: non-default args: {'hf_token': '***'" in text
    assert "ValueError: input_value={'hf_token': '***'" in text


@pytest.mark.parametrize(
    ("secret", "text", "redacted"),
    [
        ("sk-0123456789", "bad key sk-0123456789.", "bad key ***."),
        ("sk-0123456789", "keysk-0123456789x", "key***x"),
        ("e", "the server refuses e: key=e, 'e'", "the server refuses ***: key=***, '***'"),
        ("not", "does not exist, nothing", "does *** exist, nothing"),
        ("a.b", "a.b axb a.bc a.b-c (a.b)", "*** axb a.bc a.b-c (***)"),
        ("EMPTY", "Bearer EMPTY", "Bearer ***"),
        ("", "nothing", "nothing"),
    ],
)
def test_a_short_secret_is_hidden_where_it_stands_alone(secret, text, redacted):
    assert redact(text, [secret]) == redacted


@pytest.mark.parametrize("length", [180, 190, 195, 198, 199, 200, 480, 495, 500])
def test_a_response_that_is_cut_within_the_key_shows_no_part_of_it(length):
    client = ApiClient("http://127.0.0.1:9/v1", SECRET, 1.0)
    content = ("x" * length + SECRET).encode()
    with pytest.raises(RequestFailed, match="the server's response is no JSON") as caught:
        client._parsed(SimpleNamespace(headers={"content-type": f"text/{SECRET}"}), content)
    client.close()
    assert SECRET[:2] not in str(caught.value)
