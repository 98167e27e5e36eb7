import json
from types import SimpleNamespace

import pytest

from toolkit import models
from toolkit.core.fingerprint import Fingerprint
from toolkit.engines.vllm import config, hardware
from toolkit.engines.vllm.config import Spec
from toolkit.engines.vllm.engine_args import NEUTRAL_ARGUMENTS, RESOLVED_ARGUMENTS, engine_arguments
from toolkit.engines.vllm.environment import numeric_environment
from toolkit.engines.vllm.hardware import _gpu_platform_version, cpu, installed
from toolkit.errors import EngineError


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
    assert name in engine_arguments()


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


NEUTRAL = [
    "VLLM_API_KEY",
    "VLLM_LORA_RESOLVER_CACHE_DIR",
    "VLLM_LOGGING_LEVEL",
    "VLLM_CACHE_ROOT",
    "VLLM_CPU_KVCACHE_SPACE",
    "VLLM_HF_TOKEN",
    "VLLM_HOST_IP",
    "VLLM_NO_USAGE_STATS",
    "VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS",
    "VLLM_DIST_IDENT",
    "TORCHINDUCTOR_COMPILE_THREADS",
    "TORCHINDUCTOR_CACHE_DIR",
    "HOME",
    "OMP_NUM_THREADS",
]
COUNTED = [
    "VLLM_ATTENTION_BACKEND",
    "VLLM_KV_CACHE_LAYOUT",
    "VLLM_COMPUTE_NANS_IN_LOGITS",
    "VLLM_USE_DIRECT_DCP_A2A",
    "VLLM_MAX_TOKENS_PER_EXPERT_FP4_MOE",
    "VLLM_CPU_OMP_THREADS_BIND",
    "TORCHINDUCTOR_MAX_AUTOTUNE",
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA",
    "MKL_CBWR",
    "NVIDIA_TF32_OVERRIDE",
    "CUBLAS_WORKSPACE_CONFIG",
    "NCCL_ALGO",
]


@pytest.mark.parametrize("name", NEUTRAL)
def test_variables_that_change_no_output_or_are_secret_are_not_recorded(monkeypatch, name):
    before = numeric_environment()
    monkeypatch.setenv(name, "x")
    assert numeric_environment() == before


@pytest.mark.parametrize("name", COUNTED)
def test_variables_that_change_numbers_are_recorded_and_change_the_key(monkeypatch, name):
    before, plain = numeric_environment(), Spec.of(models.DEFAULT, {})
    monkeypatch.setenv(name, "x")
    assert numeric_environment() == {**before, name: "x"}
    assert Spec.of(models.DEFAULT, {}) != plain


def test_threads_that_no_core_holds_are_no_setting_of_their_own(monkeypatch):
    monkeypatch.delenv("VLLM_CPU_OMP_THREADS_BIND", raising=False)
    before = numeric_environment()
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    assert numeric_environment() == before


def test_what_decides_a_component_changes_the_key(monkeypatch, tmp_path):
    keys = [Spec.of(models.DEFAULT, {}).key]
    # one after another, so that each adds to those before
    monkeypatch.setattr(config, "_RECORD_VERSION", config._RECORD_VERSION + 1)
    keys.append(Spec.of(models.DEFAULT, {}).key)
    monkeypatch.setattr(config, "COMPONENTS", {**config.COMPONENTS, "new": "one more"})
    keys.append(Spec.of(models.DEFAULT, {}).key)
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "1")
    keys.append(Spec.of(models.DEFAULT, {}).key)
    monkeypatch.setattr(config, "available_cores", lambda: [5])
    keys.append(Spec.of(models.DEFAULT, {}).key)
    monkeypatch.setattr(config, "versions", lambda: {"torch": "0"})
    keys.append(Spec.of(models.DEFAULT, {}).key)
    (tmp_path / "tokenizer.json").write_text("{}")
    keys.append(Spec.of(models.DEFAULT, {"tokenizer": str(tmp_path)}).key)
    (tmp_path / "tokenizer.json").write_text('{"changed": 1}')
    keys.append(Spec.of(models.DEFAULT, {"tokenizer": str(tmp_path)}).key)
    assert len(set(keys)) == len(keys)


def test_a_text_is_taken_for_no_file(monkeypatch, tmp_path):
    """A long one cannot be a name, and none depends on the folder that the process is in."""
    given = {"hf_overrides": {"text": "a/" * 9000}, "structured_outputs_config": {"reasoning_parser": ""}}
    key = Spec.of(models.DEFAULT, given).key
    monkeypatch.chdir(tmp_path)
    assert Spec.of(models.DEFAULT, given).key == key


def forward():
    """Stands for a function among the arguments."""


def test_options_are_the_arguments_that_no_component_shows_and_that_may_change_outputs():
    given = {
        "dtype": "bfloat16",
        "seed": 3,
        "hf_token": "secret",
        "download_dir": "/elsewhere",
        "model_impl": None,
        "compilation_config": {"mode": 3, "pass_config": {"fuse_norm_quant": True}},
        "logits_processors": [forward],
        "kv_cache_dtype_skip_layers": {"b", "a"},
    }
    made = Spec.of(models.DEFAULT, given)
    assert made.options == {
        "seed": 3,
        "compilation_config.pass_config.fuse_norm_quant": True,
        "logits_processors": [f"{__name__}.forward"],
        "kv_cache_dtype_skip_layers": ["a", "b"],
    }
    assert "hf_token" not in made.arguments_without_secrets
    assert json.loads(json.dumps(made.arguments_without_secrets)) == made.arguments_without_secrets
    assert made.arguments_without_secrets["compilation_config"] == given["compilation_config"]


@pytest.mark.skipif(installed() != "vllm-cpu", reason="other versions of vLLM have other arguments")
def test_every_argument_that_is_left_out_is_one_of_vllms():
    names = {name.partition(".")[0] for name in RESOLVED_ARGUMENTS | NEUTRAL_ARGUMENTS}
    assert names <= engine_arguments()


CPUS = [
    (
        "processor\t: 0\nmodel name\t: A CPU\nflags\t\t: fpu sse2 avx fma avx2 smep smap avx512f amx_tile\n\n"
        "processor\t: 1\nmodel name\t: Another\nflags\t\t: fpu",
        {"name": "A CPU", "instructions": ["amx_tile", "avx2", "avx512f", "fma"]},
    ),
    (
        "processor\t: 0\nFeatures\t: fp asimd aes asimdhp sve i8mm bf16 sme2",
        {"name": "unknown CPU", "instructions": ["asimd", "asimdhp", "bf16", "i8mm", "sme2", "sve"]},
    ),
    ("", {"name": "unknown CPU", "instructions": []}),
]


@pytest.mark.parametrize(("info", "found"), CPUS)
def test_of_a_cpu_the_flags_that_change_numbers_are_read(info, found):
    assert cpu(info) == found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("cuda: Optional[str] = '12.9'\nhip: Optional[str] = None", {"cuda": "12.9"}),
        ('cuda = None\nhip = "6.4.1"\n', {"hip": "6.4.1"}),
        ("__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None", {}),
    ],
)
def test_the_toolkit_that_torch_was_built_for_is_read_from_its_source(monkeypatch, tmp_path, source, found):
    (tmp_path / "version.py").write_text(source)
    package = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(hardware.importlib.util, "find_spec", lambda name: package)
    assert _gpu_platform_version() == found


def test_a_fingerprint_is_remembered_by_spec(monkeypatch, tmp_path):
    first, second = Spec.of(models.DEFAULT, {}), Spec.of(models.DEFAULT, {"dtype": "bfloat16"})
    monkeypatch.setenv("TOOLKIT_HOME", str(tmp_path))
    assert first.cached_fingerprint() is None
    first.cache_fingerprint(Fingerprint({"a": 1}))
    assert first.cached_fingerprint() == Fingerprint({"a": 1})
    assert second.cached_fingerprint() is None
    first._cache_file.write_text("{broken")
    assert first.cached_fingerprint() is None


def test_without_vllm_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(config, "installed", lambda: None)
    with pytest.raises(EngineError, match="vLLM is not installed: run `make install`"):
        Spec.of(models.DEFAULT, {})
