"""Train gpt-oss-nano and write its compact weights.

    STACK_PYTHON -m nano.training.train --out recipes/models/gpt-oss-nano.safetensors

Needs torch, numpy, safetensors and openai_harmony (oss-harmony); one GPU, or a CPU with patience. `--init WEIGHTS`
goes on from compact weights instead of random ones, with their vocabulary: a later stage of training, which a CPU
can do. The header of what it writes names the settings of every stage.
"""

import argparse
import hashlib
import json
import os
import queue
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as functional
from safetensors import safe_open
from safetensors.torch import save_file

from helpers.instack.nano.geometry import CheckpointGeometry
from helpers.instack.nano.weights import load_compact
from nano.training.data import Batch, Packer, Source, batches
from nano.training.optimiser import Muon
from nano.training.spans import chosen_experts, span_attention, spans
from nano.training.twin import BlockMasks, Twin, flex_attention

BALANCE = 0.01  # weight of the loss that keeps all experts in use


@dataclass
class Settings:
    """What a training run depends on; the defaults are those of the first stage."""

    seed: int = 1
    steps: int = 4931
    rows: int = 16
    length: int = 4096
    rate: float = 2e-3
    muon_rate: float = 0.02
    optimiser: str = "adamw"
    warmup: int = 100
    decay: float = 0.5
    tied: bool = True
    layers: int = 6
    hidden: int = 256
    intermediate: int = 256
    experts: int = 4
    emphasis: str = ""  # shares of the data that these skills get, as in "browser=0.5,functions=0.1"

    def geometry(self) -> CheckpointGeometry:
        """The network's sizes."""
        return CheckpointGeometry(
            layers=self.layers, hidden=self.hidden, intermediate=self.intermediate, experts=self.experts
        )


class Trainer:
    """The twin, its optimiser and the step that both training and evaluation use."""

    def __init__(self, settings: Settings, tokens: int, device: str):
        torch.manual_seed(settings.seed)
        self.settings, self.device = settings, device
        self.fast = device.startswith("cuda")
        self.kind = torch.bfloat16 if self.fast else torch.float32
        self.twin = Twin(settings.geometry(), tokens, settings.tied).to(device)
        window = settings.geometry().sliding_window
        self.masks = BlockMasks(settings.rows, settings.length, window, device) if self.fast else None
        self.score = torch.compile(self._score) if self.fast else self._score
        if not self.fast:
            self.twin.experts = chosen_experts
        self.optimisers = self._optimisers()

    def _optimisers(self) -> list[torch.optim.Optimizer]:
        matrices, rest = [], []
        for name, parameter in self.twin.named_parameters():
            matrix = parameter.ndim >= 2 and "weight" in name and "router" not in name
            (matrices if matrix and self.settings.optimiser == "muon" else rest).append(parameter)
        adam = torch.optim.AdamW(rest, lr=self.settings.rate, betas=(0.9, 0.95), weight_decay=0.0, fused=self.fast)
        return [adam] + ([Muon(matrices, lr=self.settings.muon_rate)] if matrices else [])

    def _score(self, tokens, positions, masks, scored, targets, weights):
        """The loss, and which of the scored positions the greedy choice gets right."""
        attention = flex_attention if self.fast else span_attention
        hidden, balance = self.twin(tokens, positions, masks, attention, self.kind)
        logits = self.twin.logits(hidden.flatten(0, 1)[scored])
        loss = functional.cross_entropy(logits, targets, reduction="none")
        return (loss * weights).sum() / weights.sum() + BALANCE * balance, logits.argmax(-1) == targets

    def run(self, batch: Batch):
        """Score one batch."""
        parts = (batch.tokens, batch.documents, batch.positions, batch.scored, batch.targets, batch.weights)
        tokens, documents, positions, scored, targets, weights = (
            torch.from_numpy(part).to(self.device, non_blocking=True) for part in parts
        )
        if self.fast:
            masks = self.masks.update(documents)
        else:
            parts = spans(batch.documents)
            masks = [(parts, self.twin.geometry.sliding_window), (parts, None)]
        return self.score(tokens, positions, masks, scored, targets, weights)

    def rate(self, step: int) -> float:
        """The share of the peak learning rate at a step: warm-up, plateau, linear decay to zero."""
        settings = self.settings
        left = (settings.steps - step) / max(1.0, settings.decay * settings.steps)
        return min(1.0, (step + 1) / settings.warmup, left)

    def step(self, batch: Batch, step: int) -> torch.Tensor:
        """One update; returns the loss without waiting for it."""
        for optimiser, peak in zip(self.optimisers, (self.settings.rate, self.settings.muon_rate), strict=False):
            for group in optimiser.param_groups:
                group["lr"] = peak * self.rate(step)
        loss, _ = self.run(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.twin.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        return loss.detach()

    def evaluate(self, held_out: list[Batch]) -> dict[str, list[int]]:
        """By skill and task: how many completions greedy decoding gets entirely right, and how many there are."""
        table: dict[str, list[int]] = {}
        for batch in held_out:
            with torch.set_grad_enabled(self.fast):  # a GPU keeps the step that it compiled
                right = self.run(batch)[1].cpu().numpy()
            wrong = set(batch.owners[~right & (batch.weights == 1)].tolist())  # lesser weights: not the model's to know
            for owner, name in enumerate(batch.names):
                row = table.setdefault(name, [0, 0])
                row[0] += owner not in wrong
                row[1] += 1
        return dict(sorted(table.items()))


def prefetched(source, depth: int = 8):
    """The same items, made ready by a thread."""
    waiting: queue.Queue = queue.Queue(depth)

    def fill() -> None:
        for item in source:
            waiting.put(item)

    threading.Thread(target=fill, daemon=True).start()
    while True:
        yield waiting.get()


@dataclass
class Beginning:
    """Compact weights to go on from, and what their header says of the stages that made them."""

    geometry: CheckpointGeometry
    weights: dict[str, torch.Tensor]
    stages: list[dict]

    @classmethod
    def of(cls, file: Path) -> "Beginning":
        """Read a compact weights file."""
        with safe_open(file, "pt") as handle:
            header = handle.metadata()
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        stages = json.loads(header.get("stages", "[]"))
        return cls(*load_compact(file), [*stages, json.loads(header["settings"]) | {"sha256": digest}])


def train(
    settings: Settings,
    out: Path,
    device: str,
    workers: int,
    seconds: float | None,
    every: int,
    samples: int,
    init: Path | None = None,
) -> None:
    """Train, log as JSON lines on standard output, and write the compact weights at each evaluation.

    Each evaluation scores about `samples` held-out samples.
    """
    began = time.time()

    def log(**facts) -> None:
        print(json.dumps({"t": round(time.time() - began, 1)} | facts), flush=True)

    earlier = Beginning.of(init) if init else None
    if earlier and (earlier.geometry, "unembed" not in earlier.weights) != (settings.geometry(), settings.tied):
        raise SystemExit(f"{init} has other sizes than asked for: {earlier.geometry}")
    source = Source(workers, earlier and earlier.weights["token_ids"].tolist(), settings.emphasis)
    capacity = (settings.rows, settings.length, settings.rows * settings.length // 4)
    stream = prefetched(batches(source.training(settings.seed), Packer(*capacity)))
    held_out_shards = source.held_out(samples)
    held_out = list(batches(held_out_shards, Packer(*capacity), last=True))
    log(
        vocabulary=len(source.vocabulary),
        held_out=sum(len(batch.names) for batch in held_out),
        dropped=sum(shard.dropped for shard in held_out_shards),
    )
    trainer = Trainer(settings, len(source.vocabulary), device)
    if earlier:
        trainer.twin.load_compact(earlier.weights)
        log(step=0, held_out=trainer.evaluate(held_out))
    log(parameters=sum(parameter.numel() for parameter in trainer.twin.parameters()))
    token_ids = torch.tensor(source.vocabulary)

    def save() -> None:
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch = out.with_suffix(".tmp")
        header = {"geometry": json.dumps(asdict(settings.geometry())), "settings": json.dumps(vars(settings))}
        if earlier:
            header["stages"] = json.dumps(earlier.stages)
        save_file(trainer.twin.compact(token_ids), scratch, header)
        os.replace(scratch, out)

    step, clock = 0, None
    while step < settings.steps:
        loss = trainer.step(next(stream), step)
        step += 1
        if step in (1, 2, 20) or step % 100 == 0:
            log(step=step, loss=round(float(loss), 4), rate=round(trainer.rate(step), 3))
            if step == 20:
                clock = time.time()
            if step == 100 and seconds:  # fit the schedule into the time given, once the speed is known
                each = (time.time() - clock) / 80
                settings.steps = max(200, int(100 + (seconds - (time.time() - began)) / each))
                log(steps=settings.steps, ms=round(1000 * each, 1))
        if step % every == 0 or step == settings.steps:
            log(step=step, held_out=trainer.evaluate(held_out))
            save()
    log(done=step, bytes=out.stat().st_size)
    source.close()


def main() -> None:
    """The command line."""
    defaults = Settings()
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="compact weights to write")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cuda, cuda:1, cpu")
    parser.add_argument(
        "--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1), help="processes that make data"
    )
    parser.add_argument("--seconds", type=float, help="fit the number of steps into this time instead")
    parser.add_argument("--every", type=int, default=1000, help="steps between evaluations")
    parser.add_argument("--held-out", type=int, default=1536, help="samples that each evaluation scores")
    parser.add_argument("--init", type=Path, help="compact weights to go on from")
    for name, value in vars(defaults).items():
        kind = {"type": type(value)} if not isinstance(value, bool) else {"action": argparse.BooleanOptionalAction}
        parser.add_argument(f"--{name.replace('_', '-')}", default=value, help="see Settings", **kind)
    arguments = parser.parse_args()
    settings = Settings(**{name: getattr(arguments, name) for name in vars(defaults)})
    train(
        settings,
        arguments.out,
        arguments.device,
        arguments.workers,
        arguments.seconds,
        arguments.every,
        arguments.held_out,
        arguments.init,
    )


if __name__ == "__main__":
    main()
