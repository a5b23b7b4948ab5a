"""One table of vLLM's log lines: every reader says the same of every fixture log."""

from pathlib import Path

import pytest

from helpers.doctor.scan import scan
from helpers.logs import BACKENDS, MEMORY, PHASES, RUN_FACTS, SAID, backends, memory, parse
from helpers.server.readiness import StartProgress

LOGS = sorted((Path(__file__).parent / "fixtures" / "doctor").rglob("*.log"))
LINES = {  # one line of each kind, as vLLM 0.32.0 writes it (torch and the driver: `vllm collect-env`, nvidia-smi)
    "vllm": ("vLLM API server version 0.32.0", "0.32.0"),
    "model": ("non-default args: {'model': 'openai/gpt-oss-20b'}", "openai/gpt-oss-20b"),
    "args": ("non-default args: {'port': 8000}", "{'port': 8000}"),
    "torch": ("torch==2.10.0+cu130", "2.10.0+cu130"),
    "driver": ("Driver Version: 580.65.06", "580.65.06"),
    "attention": ("Using FLASH_ATTN attention backend out of potential backends: ['FLASH_ATTN'].", "FLASH_ATTN"),
    "moe": ("Using 'TRITON' Mxfp4 MoE backend.", "TRITON"),
    "weights_gib": ("Model loading took 13.72 GiB memory and 9.87 seconds", "13.72"),
    "kv_cache_gib": ("Available KV cache memory: 108.43 GiB", "108.43"),
    "kv_cache_tokens": ("GPU KV cache size: 2,368,656 tokens", "2,368,656"),
    "graphs_gib": ("Graph capturing finished in 9 secs, took 0.71 GiB", "0.71"),
}


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.stem)
def test_every_reader_says_the_same(log: Path):
    lines = [parse(raw).text for raw in log.read_bytes().splitlines()]
    said = {kind: [match[1] for line in lines for match in SAID[kind].finditer(line)] for kind in SAID}
    facts, chosen, sizes, progress = scan(log).facts, backends(log), memory(log), StartProgress(0.0)
    progress.read(log)
    assert facts == {kind: said[kind][0] for kind in RUN_FACTS if said[kind]}
    assert chosen == {kind: said[kind][-1] for kind in BACKENDS if said[kind]}
    assert sizes == {kind: float(said[kind][-1].replace(",", "")) for kind in MEMORY if said[kind]}
    for kind, phase in (("args", "arguments"), ("kv_cache_tokens", "warm-up")):
        assert not said[kind] or phase in progress.phases
    assert set(progress.phases) - {"imports"} <= {p for p in PHASES if any(PHASES[p].search(line) for line in lines)}
    assert progress.last_line == next(line.strip()[:160] for line in reversed(lines) if line.strip())


@pytest.mark.parametrize("kind", SAID)
def test_every_kind_of_line_is_read_by_its_reader(kind: str, tmp_path: Path):
    line, value = LINES[kind]
    (tmp_path / "server.log").write_text(f"(EngineCore pid=7) INFO 11-22 14:05:14 [core.py:559] {line}\n")
    readers = scan(tmp_path / "server.log").facts, backends(tmp_path / "server.log"), memory(tmp_path / "server.log")
    read = {name: found for reader in readers for name, found in reader.items()}
    assert read[kind] == (float(value.replace(",", "")) if kind in MEMORY else value)
