"""A tiny checkpoint of openai/privacy-filter's own architecture, trained in seconds on made sentences.

python -m nano.training.privacy TOKENIZER_FOLDER OUT    # with the CPU stack's Python

It shows the path, from a checkpoint to a masked text, and knows nothing beyond the templates below.
"""

import random
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import OpenAIPrivacyFilterConfig, OpenAIPrivacyFilterForTokenClassification, PreTrainedTokenizerFast

SEED, STEPS, BATCH, RATE = 1, 250, 32, 4e-3
TINY = {
    "vocab_size": 201_088,  # that of nano's tokenizer
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "intermediate_size": 64,
    "head_dim": 32,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "sliding_window": 16,
    "max_position_embeddings": 4096,
}
FIRST = (
    "Anna",
    "Ben",
    "Clara",
    "David",
    "Emma",
    "Felix",
    "Grace",
    "Hugo",
    "Ines",
    "Jonas",
    "Kim",
    "Laura",
    "Max",
    "Nora",
)
LAST = ("Miller", "Smith", "Brown", "Weber", "Rossi", "Silva", "Jones", "Novak", "Berg", "Moreau")
CITIES = ("Paris", "Rome", "Oslo", "Berlin", "Madrid", "Vienna", "Lisbon", "Dublin")
TEMPLATES = (
    "My name is {private_person} and my mail is {private_email}.",
    "Call {private_person} at {private_phone}, please.",
    "Write to {private_email} or call {private_phone}.",
    "{private_person} lives in {city}.",
    "I am {private_person}. What is the weather in {city}?",
    "What is the capital of France?",
    "What is the weather in {city}?",
    "Please send the report to {private_email}.",
    "Extract the name: {private_person} is {number} years old.",
    "The answer is {number}. Thank you, {private_person}!",
    "My phone number is {private_phone} and I live in {city}.",
    "{private_person} and {private_person} met in {city} at {number}.",
)
Span = tuple[int, int, str]  # first character, the one after the last, label


def sentence(draw: random.Random) -> tuple[str, list[Span]]:
    """A sentence and its spans."""
    text, spans = "", []
    for part in draw.choice(TEMPLATES).replace("}", "{").split("{"):
        value = _value(part, draw)
        if part.startswith("private_"):
            spans.append((len(text), len(text) + len(value), part))
        text += value
    return text, spans


def _value(part: str, draw: random.Random) -> str:
    """What stands in a template's place; the part itself where it is text."""
    first, last = draw.choice(FIRST), draw.choice(LAST)
    made = {
        "private_person": draw.choice((f"{first} {last}", first)),
        "private_email": f"{first.lower()}.{last.lower()}@example.{draw.choice(('com', 'org', 'net'))}",
        "private_phone": f"+{draw.randint(1, 99)} {draw.randint(100, 999)} {draw.randint(1000, 999999)}",
        "city": draw.choice(CITIES),
        "number": str(draw.randint(1, 99)),
    }
    return made.get(part, part)


def labels(offsets: list[tuple[int, int]], spans: list[Span], known: dict[str, int]) -> list[int]:
    """The BIOES label of each token."""
    found = [known["O"]] * len(offsets)
    for begin, end, label in spans:
        inside = [place for place, (first, last) in enumerate(offsets) if last > begin and first < end]
        for place in inside:
            kind = "S" if len(inside) == 1 else "B" if place == inside[0] else "E" if place == inside[-1] else "I"
            found[place] = known[f"{kind}-{label}"]
    return found


def train(folder: Path) -> OpenAIPrivacyFilterForTokenClassification:
    """The trained model; its tokenizer is the one of `folder`."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    draw, tokenizer = random.Random(SEED), Tokenizer.from_file(str(folder / "tokenizer.json"))
    model = OpenAIPrivacyFilterForTokenClassification(OpenAIPrivacyFilterConfig(**TINY))
    model.set_attn_implementation("eager")
    table = model.model.embed_tokens
    table.sparse = True  # of 200,000 rows a few hundred are ever used
    rest = [parameter for parameter in model.parameters() if parameter is not table.weight]
    optimisers = [torch.optim.SparseAdam([table.weight], lr=RATE), torch.optim.Adam(rest, lr=RATE)]
    for step in range(STEPS):
        made = [sentence(draw) for _ in range(BATCH)]
        coded = [tokenizer.encode(text, add_special_tokens=False) for text, _ in made]
        longest = max(len(one.ids) for one in coded)
        ids, wanted = torch.full((BATCH, longest), 199_999), torch.full((BATCH, longest), -100)
        for row, (one, (_, spans)) in enumerate(zip(coded, made, strict=True)):
            ids[row, : len(one.ids)] = torch.tensor(one.ids)
            wanted[row, : len(one.ids)] = torch.tensor(labels(one.offsets, spans, model.config.label2id))
        loss = model(input_ids=ids, attention_mask=(wanted >= 0).long(), labels=wanted).loss
        model.zero_grad()
        loss.backward()
        for optimiser in optimisers:
            optimiser.step()
        if step % 50 == 49:
            print(f"step {step + 1}: loss {loss.item():.4f}", flush=True)
    return model


def main(folder: str, out: str) -> None:
    model = train(Path(folder))
    model.to(torch.bfloat16).save_pretrained(out)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(Path(folder, "tokenizer.json")), eos_token="<|endoftext|>")
    tokenizer.save_pretrained(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
