"""`docs/failures.md` from the signatures: `python -m maintain.failures` writes it anew."""

import re

from helpers import paths
from helpers.doctor.remedy import lines
from helpers.doctor.signatures import Pattern, Signature, load
from helpers.files import write_whole
from helpers.logs import parse

PAGE = paths.ROOT / "docs" / "failures.md"
FIXTURES = paths.ROOT / "tests" / "fixtures" / "doctor"
ISSUE = re.compile(r"^([\w.-]+(?:/[\w.-]+)?)#(\d+)$")
OWNERS = {
    "vllm": "vllm-project/vllm",
    "flashinfer": "flashinfer-ai/flashinfer",
    "nccl": "NVIDIA/nccl",
    "sglang": "sgl-project/sglang",
    "aiter": "ROCm/aiter",
    "codex": "openai/codex",
    "openai-cookbook": "openai/openai-cookbook",
    "vllm-gaudi": "vllm-project/vllm-gaudi",
    "huggingface_hub": "huggingface/huggingface_hub",
    "xet-core": "huggingface/xet-core",
    "triton": "triton-lang/triton",
    "LMCache": "LMCache/LMCache",
}  # where the short names of sources lie
TITLES = {
    "cuda": "CUDA",
    "rocm": "ROCm",
    "xpu": "Intel XPU",
    "nccl": "NCCL and several GPUs",
    "lora": "LoRA",
    "harmony": "Harmony",
    "download": "Downloads",
    "docker_kubernetes": "Docker and Kubernetes",
    "client": "Clients",
}
HEAD = """# Known failures

What `cookbook doctor` knows: {count} failures of gpt-oss on vLLM, by component. Search this page for the text of your error,
or run `.venv/bin/cookbook doctor LOG`, which finds the first cause and writes the change into your own command.

This page is written by `.venv/bin/python -m maintain.failures` from the [signatures](../recipes/failures); {proofs}.

{components}
"""


def page() -> str:
    """The whole page."""
    known = load()
    by: dict[str, list[Signature]] = {}
    for signature in known:
        by.setdefault(signature.component, []).append(signature)
    run, read = (sum(one.verified == how for one in known) for how in ("run", "source"))
    proofs = f"{run} were run here, {read} read in vLLM's source, the others are public reports"
    order = sorted(by, key=title)
    components = " · ".join(f"[{title(one)}](#{slug(title(one))})" for one in order)
    out = [HEAD.format(count=len(known), proofs=proofs, components=components)]
    for component in order:
        out += [f"## {title(component)}", "", *index(by[component]), ""]
        for signature in by[component]:
            out += entry(signature)
    return "\n".join(out)


def slug(heading: str) -> str:
    """The anchor that a forge gives a heading.

    >>> slug("NCCL and several GPUs")
    'nccl-and-several-gpus'
    """
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def index(signatures: list[Signature]) -> list[str]:
    """The failures of a component by name, folded: you know yours by its words, not by its number."""
    links = [f"- [{one.title}](#{one.id.lower()}) ({one.id})" for one in signatures]
    return [f"<details><summary>{len(links)} failure{'s' * (len(links) > 1)}</summary>", "", *links, "", "</details>"]


def title(component: str) -> str:
    """A component as a heading."""
    return TITLES.get(component, component.replace("_", " ").capitalize())


def entry(signature: Signature) -> list[str]:
    """One failure: its words, why, the change, where it is from."""
    words = dict.fromkeys(said(signature, pattern) for pattern in signature.match)
    change = signature.change
    added = lines([word for name, value in change.args.items() for word in flag(name, value)], change.env)
    dropped = [f"--{name}" for name in change.drop_args] + list(change.drop_env)
    shell = [*change.run, *(f"+ {line}" for line in added if line), *(f"- {name}" for name in dropped)]
    out = [f'<a id="{signature.id.lower()}"></a>', "", f"### {signature.id}: {signature.title}", ""]
    out += ["```text", *(word[:240] for word in words), "```", ""]
    out += [f"{signature.cause.strip()}", "", f"**Fix.** {signature.fix.strip()}", ""]
    out += ["```diff", *shell, "```", ""] if shell else []
    mended = f"; mended in {signature.mended}" if signature.mended else ""
    sources = ", ".join(map(source, signature.source))
    return [
        *out,
        f"*{signature.kind}; {signature.hardware}; versions: {signature.versions}{mended}.* Source: {sources}.",
        "",
    ]


def said(signature: Signature, pattern: Pattern) -> str:
    """The whole line that shows it, as people search for it: the pattern's example, else its line of the fixture."""
    log = FIXTURES / f"{signature.id}.log"
    rows = log.read_text(encoding="utf-8").splitlines() if log.exists() and not pattern.example else []
    texts = (parse(row.encode()).text.strip() for row in rows)
    return pattern.example or next((text for text in texts if pattern.find(text) is not None), pattern.literal)


def flag(name: str, value: object) -> list[str]:
    """A flag as a shell takes it."""
    return [f"--{name}"] if value is True else [f"--{name}", str(value)]


def source(text: str) -> str:
    """An issue as a link, anything else as it is.

    >>> source("vllm#1")
    '[vllm#1](https://github.com/vllm-project/vllm/issues/1)'
    """
    found = ISSUE.match(text)
    where = found and OWNERS.get(found[1], found[1])
    return f"[{text}](https://github.com/{where}/issues/{found[2]})" if found and "/" in where else text


def write() -> None:
    """Write the page anew."""
    write_whole(PAGE, page())


if __name__ == "__main__":
    write()
