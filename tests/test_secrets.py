"""Secrets leave no text, environment, command line or nested data."""

import pytest

from helpers import secrets

CANARY = "canary0123456789abcdef"


@pytest.mark.parametrize(
    "text",
    [
        f"HF_TOKEN={CANARY}",
        f"export VLLM_API_KEY='{CANARY}'",
        f"--api-key {CANARY}",
        f"--api-key={CANARY} --port 8000",
        f"'api_key': ['{CANARY}', 'second-{CANARY}']",
        f'{{"api_key": "{CANARY}"}}',
        f"Authorization: Bearer {CANARY}",
        f"authorization: {CANARY}",
        f"x-api-key: {CANARY}",
        f"curl -H 'Authorization: Bearer {CANARY}' http://127.0.0.1:8000",
        f"https://user:{CANARY}@example.org/simple",
        f"https://example.org/file?token={CANARY}&x=1",
        f"EXA_API_KEY: {CANARY}",
        f"password={CANARY}",
        f"AWS_SECRET_ACCESS_KEY={CANARY}",
        "hf_canaryABCDEFGHIJ",
        "sk-canary-ABCDEFGH",
        "ghp_canary0123456789abcd",
        "-----BEGIN RSA PRIVATE KEY-----\ncanary\n-----END RSA PRIVATE KEY-----",
        "eyJcanaryabcd.eyJcanaryabcd.canarysignature",
    ],
)
def test_canaries_are_masked_in_text(text):
    assert "canary" not in secrets.text(text, [])
    assert secrets.MASK in secrets.text(text, [])


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens=131072 cannot be greater than max_model_len=32768",
        "openai_harmony.HarmonyError: Unexpected token 12606 while expecting start token 200006",
        "completion_tokens: 42, 'prompt_tokens': 7",
        "--max-num-batched-tokens 1024 --tokenizer openai/gpt-oss-20b",
        "--tokenizer-mode auto --skip-tokenizer-init",
        "KeyError: 'model.layers.0.self_attn.k_proj'",
        "Running: 3 reqs, generation throughput: 12.1 tokens/s",
        "eos_token_id=200002 pad_token_id=199999",
        "ssl_keyfile=None, api_key=None",
    ],
)
def test_ordinary_text_is_left_alone(text):
    assert secrets.text(text, []) == text


def test_values_of_the_environment_are_masked_anywhere(monkeypatch):
    monkeypatch.setenv("MY_SERVICE_TOKEN", CANARY)
    monkeypatch.setenv("PWD", "/some/folder")
    assert secrets.text(f"it sent {CANARY} to /some/folder") == "it sent *** to /some/folder"


def test_env():
    found = secrets.env({"HF_TOKEN": CANARY, "PATH": "/usr/bin", "VLLM_API_KEY": "k", "NOTE": f"uses {CANARY}",
                         "TOKENIZERS_PARALLELISM": "false", "EMPTY_KEY": ""})  # fmt: skip
    assert found == {"HF_TOKEN": "***", "PATH": "/usr/bin", "VLLM_API_KEY": "***", "NOTE": "uses ***",
                     "TOKENIZERS_PARALLELISM": "false", "EMPTY_KEY": ""}  # fmt: skip


def test_argv():
    words = [
        "vllm",
        "serve",
        "m",
        "--api-key",
        "one",
        "two",
        "--port",
        "8000",
        f"--hf-token={CANARY}",
        "--max-tokens",
        "5",
    ]
    assert secrets.argv(words, []) == [
        "vllm", "serve", "m", "--api-key", "***", "***", "--port", "8000", "--hf-token=***", "--max-tokens", "5",
    ]  # fmt: skip


def test_nested_data():
    value = {"env": {"HF_TOKEN": CANARY}, "argv": ["x", "--api-key", CANARY], "n": 3, "usage": {"total_tokens": 9},
             "deep": [{"text": f"Bearer {CANARY}"}]}  # fmt: skip
    clean = secrets.data(value, [])
    assert CANARY not in str(clean) and clean["n"] == 3 and clean["usage"] == {"total_tokens": 9}
    assert clean["argv"] == ["x", "--api-key", "***"]
