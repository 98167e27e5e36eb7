import pytest

from toolkit import models
from toolkit.engines import spec
from toolkit.engines.spec import Spec
from toolkit.fingerprint import Fingerprint


def test_cpu_defaults_hold_a_whole_window_and_give_way_to_the_user():
    arguments = Spec.of(models.DEFAULT, {"dtype": "float16", "max_model_len": 2048}).arguments
    assert arguments["dtype"] == "float16"
    assert arguments["max_num_batched_tokens"] == 4096
    assert arguments["enable_chunked_prefill"] is False
    assert Spec.of(models.DEFAULT, {}).arguments["max_num_batched_tokens"] == 8192


@pytest.mark.parametrize(
    "name", ["dtype", "max_model_len", "tensor_parallel_size", "kv_cache_memory_bytes", "seed"]
)
def test_vllms_arguments_are_read_from_its_source(name):
    assert name in spec.engine_arguments()


@pytest.mark.parametrize(("positions", "window"), [(40960, 8192), (2048, 2048)])
def test_a_cpu_gets_no_longer_window_than_one_step_holds(tmp_path, positions, window):
    (tmp_path / "config.json").write_text(f'{{"max_position_embeddings": {positions}}}')
    arguments = Spec.of(str(tmp_path), {}).arguments
    assert arguments["max_model_len"] == window <= arguments["max_num_batched_tokens"]


def test_unknown_arguments_name_the_nearest():
    with pytest.raises(
        TypeError, match="unknown engine argument 'max_model_length': did you mean 'max_model_len'"
    ):
        Spec.of(models.DEFAULT, {"max_model_length": 10})


def test_equal_calls_are_equal_and_others_not(monkeypatch):
    first = Spec.of(models.DEFAULT, {})
    assert first == Spec.of(models.DEFAULT, {"dtype": "float32"})
    assert first != Spec.of(models.DEFAULT, {"dtype": "bfloat16"})
    monkeypatch.setenv("VLLM_BATCH_INVARIANT", "1")
    assert first != Spec.of(models.DEFAULT, {})


def test_settings_that_change_no_output_or_are_secret_are_not_recorded(monkeypatch):
    before = spec.environment()
    for name in (
        "VLLM_API_KEY",
        "VLLM_LOGGING_LEVEL",
        "VLLM_CACHE_ROOT",
        "VLLM_HOST_IP",
        "VLLM_NO_USAGE_STATS",
    ):
        monkeypatch.setenv(name, "x")
    assert spec.environment() == before
    monkeypatch.setenv("VLLM_ATTENTION_BACKEND", "X")
    assert spec.environment() == {**before, "VLLM_ATTENTION_BACKEND": "X"}


def test_a_fingerprint_is_remembered_by_spec(monkeypatch, tmp_path):
    first, second = Spec.of(models.DEFAULT, {}), Spec.of(models.DEFAULT, {"dtype": "bfloat16"})
    monkeypatch.setenv("TOOLKIT_HOME", str(tmp_path))
    assert first.remembered() is None
    first.remember(Fingerprint({"a": 1}))
    assert first.remembered() == Fingerprint({"a": 1})
    assert second.remembered() is None
    first._note.write_text("{broken")
    assert first.remembered() is None


def test_without_vllm_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(spec, "installed", lambda: None)
    with pytest.raises(spec.EngineError, match="vLLM is not installed: run `make install`"):
        Spec.of(models.DEFAULT, {})
