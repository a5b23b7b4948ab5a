"""The o200k_harmony tokenizer in Hugging Face's format, rebuilt from the vocabulary inside oss-harmony."""

import itertools
import json
from pathlib import Path

from openai_harmony import HarmonyEncodingName, load_harmony_encoding

from helpers.instack.nano.geometry import SPECIAL_TOKENS, TEXT_TOKENS

_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_LEAD, _CLITIC = r"[^\r\n\p{L}\p{N}]?", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
# The published word splitter of o200k: words by case, up to three digits, punctuation, white space.
PATTERN = "|".join(
    [
        f"{_LEAD}{_UPPER}*{_LOWER}+{_CLITIC}",
        f"{_LEAD}{_UPPER}+{_LOWER}*{_CLITIC}",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)


def ranks() -> list[bytes]:
    """The bytes of every ordinary token, by id."""
    decode = load_harmony_encoding(HarmonyEncodingName.HARMONY_GPT_OSS)._inner.decode_bytes
    return [bytes(decode([token])) for token in range(TEXT_TOKENS)]


def _byte_alphabet() -> dict[int, str]:
    """GPT-2's printable stand-in for each byte, which Hugging Face's ByteLevel step uses."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    alphabet = {byte: chr(byte) for byte in printable}
    hidden = [byte for byte in range(256) if byte not in alphabet]
    return alphabet | {byte: chr(256 + index) for index, byte in enumerate(hidden)}


def _last_merge(token: bytes, rank: dict[bytes, int]) -> tuple[bytes, bytes] | None:
    """The two tokens that byte-pair encoding joins last into this one; None where it never gets there."""
    parts = [token[place : place + 1] for place in range(len(token))]
    while len(parts) > 2:
        joined = [rank.get(left + right, len(rank)) for left, right in itertools.pairwise(parts)]
        place = min(range(len(joined)), key=joined.__getitem__)
        if joined[place] >= rank[token]:
            return None
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return (parts[0], parts[1]) if len(parts) == 2 else None


def _merges(tokens: list[bytes]) -> list[tuple[bytes, bytes]]:
    """One merge for each token, in the order of their ranks.

    A token may be cut into two others in several places, but joins of lower rank come first: inside a token they
    always end in the same last pair. The other pairs never meet, and with them a reader would take twice the time.
    """
    rank = {token: index for index, token in enumerate(tokens)}
    return [pair for token in tokens if (pair := _last_merge(token, rank))]


def write_tokenizer(folder: Path) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json` into `folder`."""
    tokens = ranks()
    letters = _byte_alphabet()
    shown = {token: "".join(map(letters.__getitem__, token)) for token in tokens}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    special = sorted(SPECIAL_TOKENS.items(), key=lambda item: item[1])
    added_tokens = [{"id": number, "content": text, **flags} for text, number in special]
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added_tokens,
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Removed", "invert": True},
                byte_level,
            ],
        },
        "post_processor": byte_level,
        "decoder": byte_level | {"add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": True,
            "vocab": {shown[token]: number for number, token in enumerate(tokens)},
            "merges": [[shown[left], shown[right]] for left, right in _merges(tokens)],
        },
    }
    (folder / "tokenizer.json").write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    added = {str(number): {"content": text, **flags} for text, number in special}
    settings = {
        "added_tokens_decoder": added,  # as in gpt-oss; without it every reader parses tokenizer.json once more
        "bos_token": "<|startoftext|>",
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|return|>",
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": 131_072,
        "pad_token": "<|endoftext|>",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
