"""Training data: the project's samples as compact token ids, generated in parallel and packed into batches."""

import json
import multiprocessing
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy

from helpers.instack.nano.geometry import SPECIAL_TOKENS, TEXT_TOKENS
from nano.domain import words
from nano.domain.generator import emphasised, held_out_samples, training_samples
from nano.training.rendering import ENCODING, render

VOCABULARY_SAMPLES = 24_000  # rendered once to see which tokens the domain uses
SHARD = 1_000  # samples that one worker renders at a time
_ASCII_WORD = re.compile(r" [A-Za-z]{3,}")


def _decode(token: int) -> str | None:
    try:
        return ENCODING.decode_utf8([token])
    except Exception:  # a token that holds part of a character has no text of its own
        return None


def word_tokens() -> set[int]:
    """Tokens of every word and number that can be copied, in the forms that prose and JSON give them."""
    lists = [value for value in vars(words).values() if isinstance(value, list)]
    found = set(
        SPECIAL_TOKENS[name]
        for name in ("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|return|>", "<|call|>")
    )
    for word in {word for entry in lists for word in entry}:
        for form in (f" {word}", json.dumps(word), f" {word}.", f'": "{word}"', f"the {word}s"):
            found.update(ENCODING.encode(form)[: 6 if "s" not in form[-1:] else 2])
    for digits in (1, 2, 3):
        for number in range(10**digits):
            found.update(ENCODING.encode(f"{number:0{digits}}"))
    return found


def _tokens_of(seed: int) -> set[int]:
    found: set[int] = set()
    for sample in training_samples(seed, SHARD):
        prompt, completion, _ = render(sample)
        found.update(prompt, completion)
    return found


class Words:
    """Words whose tokens the model has no row for."""

    def __init__(self, vocabulary: set[int]):
        self.plain, self.odd = [], []
        for token in range(TEXT_TOKENS):
            text = None if token in vocabulary else _decode(token)
            if text and _ASCII_WORD.fullmatch(text):
                self.plain.append(text[1:])
            elif text and text.strip():
                self.odd.append(text.strip())

    def __call__(self, rng) -> str:
        """One of them: mostly a plain word, at times something of another script or code."""
        return rng.choice(self.plain if rng.random() < 0.85 else self.odd)


@dataclass
class Shard:
    """Rendered samples: compact ids one after the other, their loss weights (0 in prompts), lengths and names."""

    tokens: numpy.ndarray
    weighted: numpy.ndarray
    lengths: numpy.ndarray
    names: list[str]
    efforts: list[str]
    dropped: int = 0


_WORKER: dict = {}


def _start_worker(vocabulary: list[int], emphasis: str) -> None:
    known = set(vocabulary)
    table = numpy.full(TEXT_TOKENS + 2000, len(vocabulary), dtype=numpy.uint16)
    table[vocabulary] = numpy.arange(len(vocabulary), dtype=numpy.uint16)
    _WORKER.update(table=table, words=Words(known), unused=len(vocabulary), mix=emphasised(emphasis))


def _shard(job: tuple[str, int, int]) -> Shard:
    kind, seed, count = job
    samples = (held_out_samples if kind == "held" else training_samples)(
        seed, count, rare_word=_WORKER["words"], mix=_WORKER["mix"]
    )
    table, unused = _WORKER["table"], _WORKER["unused"]
    tokens, weighted, lengths, names, efforts, dropped = [], [], [], [], [], 0
    for sample in samples:
        prompt, completion, weights = render(sample)
        compact = table[numpy.array(completion)]
        if (compact == unused).any():
            dropped += 1
            continue
        tokens += [table[numpy.array(prompt)], compact]
        weighted += [numpy.zeros(len(prompt), numpy.float32), numpy.array(weights, numpy.float32)]
        lengths.append(len(prompt) + len(completion))
        names.append(f"{sample.skill}/{sample.task}")
        efforts.append(sample.effort)
    return Shard(numpy.concatenate(tokens), numpy.concatenate(weighted), numpy.array(lengths), names, efforts, dropped)


class Source:
    """Worker processes that render samples; what they yield depends on the seed alone, not on their number.

    `vocabulary` is collected from samples where it is not given; `emphasis` changes the mix of skills.
    """

    def __init__(self, workers: int, vocabulary: list[int] | None = None, emphasis: str = ""):
        self._context = multiprocessing.get_context("fork")
        self._workers = workers
        self.vocabulary = vocabulary or self._collect()
        self._pool = self._context.Pool(workers, _start_worker, (self.vocabulary, emphasis))

    def _collect(self) -> list[int]:
        with self._context.Pool(self._workers) as pool:
            found = word_tokens()
            for part in pool.imap_unordered(_tokens_of, range(10**9, 10**9 + VOCABULARY_SAMPLES // SHARD)):
                found |= part
        return sorted(found)

    def held_out(self, count: int, seed: int = 7) -> list[Shard]:
        """Samples of held-out combinations."""
        size = max(1, count // max(1, min(self._workers, 16)))
        return self._pool.map(_shard, [("held", seed + 1000 * index, size) for index in range(count // size)])

    def training(self, seed: int) -> Iterator[Shard]:
        """Training samples without end, in an order that the seed fixes."""
        waiting = [
            self._pool.apply_async(_shard, (("train", self._seed(seed, index), SHARD),))
            for index in range(3 * self._workers)
        ]
        index = len(waiting)
        while True:
            yield waiting.pop(0).get()
            waiting.append(self._pool.apply_async(_shard, (("train", self._seed(seed, index), SHARD),)))
            index += 1

    @staticmethod
    def _seed(seed: int, index: int) -> int:
        return seed * 1_000_003 + index

    def close(self) -> None:
        """Stop the workers."""
        self._pool.terminate()
        self._pool.join()


@dataclass
class Batch:
    """Packed samples: (rows, length) ids, document numbers and positions; flat positions to score, their targets and sample."""

    tokens: numpy.ndarray
    documents: numpy.ndarray
    positions: numpy.ndarray
    scored: numpy.ndarray
    targets: numpy.ndarray
    weights: numpy.ndarray
    owners: numpy.ndarray
    names: list[str]
    efforts: list[str]


class Packer:
    """Puts samples side by side into rows of a fixed length."""

    def __init__(self, rows: int, length: int, scored: int):
        self.rows, self.length, self.scored = rows, length, scored
        self._clear()

    def _clear(self) -> None:
        self._parts = [[] for _ in range(self.rows)]
        self._room = [self.length] * self.rows

    def add(self, tokens: numpy.ndarray, weighted: numpy.ndarray, name: str, effort: str) -> Batch | None:
        """Place one sample; a batch is returned when it no longer fits (the sample then opens the next)."""
        full = None
        row = max(range(self.rows), key=self._room.__getitem__)
        if self._room[row] < len(tokens):
            full = self.flush()
            row = 0
        if len(tokens) <= self.length:
            self._parts[row].append((tokens, weighted, name, effort))
            self._room[row] -= len(tokens)
        return full

    def flush(self) -> Batch:
        """The batch so far."""
        shape = (self.rows, self.length)
        tokens, documents = numpy.zeros(shape, numpy.int64), numpy.zeros(shape, numpy.int32)
        positions = numpy.zeros(shape, numpy.int32)
        scored, targets, weights, owners, names, efforts = [], [], [], [], [], []
        for row, parts in enumerate(self._parts):
            start = 0
            for number, (ids, weighted, name, effort) in enumerate(parts):
                end = start + len(ids)
                tokens[row, start:end], documents[row, start:end] = ids, number
                positions[row, start:end] = numpy.arange(len(ids))
                where = numpy.flatnonzero(weighted)
                scored.append(row * self.length + start + where - 1)
                targets.append(ids[where].astype(numpy.int64))
                weights.append(weighted[where])
                owners.append(numpy.full(len(where), len(names)))
                names.append(name)
                efforts.append(effort)
                start = end
            documents[row, start:] = len(parts)
            positions[row, start:] = numpy.arange(self.length - start)
        self._clear()

        def fixed(parts: list[numpy.ndarray], fill: int) -> numpy.ndarray:
            flat = numpy.concatenate(parts)[: self.scored]
            return numpy.concatenate([flat, numpy.full(self.scored - len(flat), fill, flat.dtype)])

        flat = [fixed(parts, fill) for parts, fill in ((scored, 0), (targets, 0), (weights, 0), (owners, -1))]
        return Batch(tokens, documents, positions, *flat, names, efforts)


def batches(shards: Iterator[Shard] | list[Shard], packer: Packer, last: bool = False) -> Iterator[Batch]:
    """Packed batches of the shards' samples in order; `last` also yields the unfilled rest."""
    for shard in shards:
        start = 0
        for length, name, effort in zip(shard.lengths, shard.names, shard.efforts, strict=True):
            full = packer.add(
                shard.tokens[start : start + length], shard.weighted[start : start + length], name, effort
            )
            start += length
            if full:
                yield full
    if last:
        yield packer.flush()
