"""Takes secrets out of text, environments, command lines and nested data before anything is shown or kept."""

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

MASK = "***"

# A variable or key with one of these words in its name holds a secret.
NAME = re.compile(
    r"(?:^|[_.-])(?:api[_-]?keys?|apikey|keys?|tokens?|secrets?|passw(?:or)?d|passwd|pwd|passphrase|credentials?|"
    r"authorization|auth|cookie|session[_-]?id|private|signature|dsn)(?:$|[_.-])|"
    r"(?:api|access|secret|private|auth)(?:key|token)$|^(?:token|password|secret)s?$",
    re.IGNORECASE,
)
# Names that match and hold none: counts, file names and switches that a reader needs.
HARMLESS = re.compile(
    r"^(?:max|min|num|n|avg|total|input|output|prompt|completion|reasoning|cached|generated?|new|batched|eos|bos|pad|"
    r"stop|spec|speculative|special|skip|return|ignore|block|per|tool|text|random)[_-].*tokens?(?:[_-].*)?$|"
    r".*tokens?[_-](?:ids?|len(?:gth)?|count|limit|budget|s|per|details)\b.*|tokenizers?(?:[_-].*)?|.*tokenizer.*|"
    r"max[_-]?tokens|.*(?:keys?|auth)[_-](?:file|path|size|dim|len|head)s?$|sort[_-]keys?|.*\.keys?$|"
    r"ssl[_-](?:keyfile|certfile)|SSH_AUTH_SOCK|XDG_SESSION_ID|use_auth_token_file|(?:OLD)?PWD$|tokens?$|private_?nodes?",
    re.IGNORECASE,
)
_VALUE = r"(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s\"',;)}\]]+)"
_NAMED = (
    r"[A-Za-z0-9_.-]*(?:api[_-]?key|apikey|token|secret|passwd|password|passphrase|credential|access[_-]?key|"
    r"private[_-]?key)[A-Za-z0-9_-]*"
)
SHAPES = [  # tokens that are recognised wherever they stand
    re.compile(r"\bhf_[A-Za-z0-9]{8,}\b"),
    re.compile(r"\bapi_org_[A-Za-z0-9]{8,}\b"),
    re.compile(r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{8,}"),
    re.compile(r"\bgh[pousr]_[A-Za-z0-9]{16,}\b|\bgithub_pat_\w{16,}\b|\bglpat-[\w-]{16,}"),
    re.compile(r"\bnvapi-[\w-]{16,}|\bxox[abprs]-[\w-]{10,}"),
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[\w-]{30,}"),
    re.compile(r"\bhvs\.[\w-]{8,}"),
    re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+"),  # a signed web token
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
]
BEARER = re.compile(r"(?i)\b(Bearer|Basic|Token(?=\s+\S{16}))(\s+)(?!\*\*\*)[A-Za-z0-9+/_.=~-]{6,}")
HEADER = re.compile(
    r"(?i)\b((?:x-)?(?:api-key|authorization|proxy-authorization|cookie|set-cookie|x-auth-token)"
    r"['\"]?\s*[:=]\s*)(?!['\"]?(?:Bearer|Basic|Token)\s)(?:" + _VALUE + r")",
    re.IGNORECASE,
)
USERINFO = re.compile(r"\b([a-z][a-z0-9+.-]*://)[^/\s:@]*:[^/\s]+@|\b([a-z][a-z0-9+.-]*://)[^/\s:@]{16,}@", re.I)
SAID = re.compile(r"(?i)\b(passwords?|passphrase|cookie)(\s+(?:is\s+)?)(\"[^\"\n]+\"|'[^'\n]+'|[\w.-]+=[^\s;,]+)")
QUERY = re.compile(
    r"((?:[?&]|\b(?=X-Amz-Signature[=]))(?:[\w.-]*(?:key|token|secret|sig|signature|password|auth))=)[^&\s\"']+",
    re.IGNORECASE,
)
ASSIGNED = re.compile(
    r"(?i)(?<![\w.-])(['\"]?(?P<name>" + _NAMED + r")['\"]?\s*[:=]\s*)(?P<value>\[[^\]]*\]|" + _VALUE + r")"
)
# "api_key: unknown parameter" and "/etc/passwd: no failure found" name no key
NO_VALUE = ("", "None", "null", "True", "False", MASK, "unknown", "no")
FLAG = re.compile(r"(?<!\S)(--(?P<name>[A-Za-z0-9_.-]+))(?P<gap>[ =]+)(?P<value>" + _VALUE + r")")


def secret_name(name: str) -> bool:
    """Whether a variable, key or flag of this name holds a secret."""
    name = name.lstrip("-")
    return bool(NAME.search(name)) and not HARMLESS.match(name)


def shown(name: str, value: object) -> str:
    """What a message may say about a value given under this name: `***` for a secret's."""
    return MASK if secret_name(name) and value not in ("", None) else repr(value)


def known_values(env: Mapping[str, str] | None = None) -> list[str]:
    """The secrets that this process's environment holds, longest first: they are masked wherever they appear."""
    env = os.environ if env is None else env
    values = {value for name, value in env.items() if secret_name(name) and len(value) >= 6 and not value.isdigit()}
    return sorted(values, key=len, reverse=True)


def text(value: str, known: Iterable[str] | None = None) -> str:
    """The text with every recognised secret replaced by `***`; `known` adds exact values (default: the environment's).

    text("--api-key abc123456 HF_TOKEN=hf_x") == "--api-key *** HF_TOKEN=***"
    """
    for secret in known_values() if known is None else known:
        if secret:
            value = value.replace(secret, MASK)
    for shape in SHAPES:
        value = shape.sub(MASK, value)
    value = BEARER.sub(rf"\1\2{MASK}", value)
    value = HEADER.sub(rf"\1{MASK}", value)
    value = USERINFO.sub(lambda m: f"{m[1] or m[2]}{MASK}@", value)
    value = SAID.sub(rf"\1\2{MASK}", value)
    value = QUERY.sub(rf"\1{MASK}", value)
    value = FLAG.sub(lambda m: f"{m[1]}{m['gap']}{MASK}" if secret_name(m["name"]) else m[0], value)
    return ASSIGNED.sub(_assigned, value)


def _assigned(match: re.Match[str]) -> str:
    value = match["value"]
    if not secret_name(match["name"]) or value.strip("'\"") in NO_VALUE:
        return match[0]
    if re.fullmatch(r"-?\d{1,9}(?:\.\d+)?", value):  # a count, not a key
        return match[0]
    quote = value[0] if value[0] in "'\"" else ""
    return f"{match[1]}{quote}{MASK}{quote}"


def environment(values: Mapping[str, str]) -> dict[str, str]:
    """The environment with secret variables masked."""
    known = known_values(values)
    return {name: MASK if _secret_setting(name) and value else text(value, known) for name, value in values.items()}


def _secret_setting(name: str) -> bool:
    """Whether a variable or flag of this name holds a secret; in data, a lone `token` is a piece of text."""
    return secret_name(name) or name.lstrip("-").lower() == "token"


def argv(words: Iterable[str], known: Iterable[str] | None = None) -> list[str]:
    """The command line with the values of secret flags masked (`--api-key X`, `--api-key=X`, several words too)."""
    known = list(known_values() if known is None else known)
    clean: list[str] = []
    hide = False
    for word in words:
        if word.startswith("--"):
            name, equals, _ = word.partition("=")
            hide = _secret_setting(name)
            clean.append(f"{name}={MASK}" if hide and equals else text(word, known))
            hide = hide and not equals
        else:
            clean.append(MASK if hide else text(word, known))
    return clean


def data(value: Any, known: Iterable[str] | None = None) -> Any:
    """Nested dictionaries, lists and strings with secrets masked; other values unchanged."""
    known = list(known_values() if known is None else known)
    if isinstance(value, Mapping):
        return {
            k: MASK if isinstance(k, str) and secret_name(k) and isinstance(v, str) and v else data(v, known)
            for k, v in value.items()
        }
    if isinstance(value, list | tuple):
        if all(isinstance(item, str) for item in value):
            return argv(value, known)
        return [data(item, known) for item in value]
    return text(value, known) if isinstance(value, str) else value
