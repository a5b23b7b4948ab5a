"""Canary secrets: values planted wherever a key can enter a run, and a search of everything that the run leaves."""

import base64
import json
from pathlib import Path
from urllib.parse import quote

KEYS = {
    name: f"canary-{name.lower().replace('_', '-')}-5e81c0"
    for name in ("VLLM_API_KEY", "HF_TOKEN", "EXA_API_KEY", "YDC_API_KEY", "OPENAI_API_KEY")
}


def spellings(secret: str) -> set[bytes]:
    """The ways a program may write a secret down: as it is, in JSON, in an address, in base64 at any offset."""
    forms = {secret.encode(), json.dumps(secret)[1:-1].encode(), quote(secret, safe="").encode()}
    for offset in range(3):
        coded = base64.b64encode(b"\0" * offset + secret.encode())
        forms.add(coded[4 if offset else 0 : -4])  # without the characters that its neighbours share
    return forms


def found_in(*folders: Path, secrets: list[str] | None = None) -> list[str]:
    """`file: secret` for every file below the folders that holds one; a folder without any file is an error."""
    found = []
    for folder in folders:
        paths = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
        assert paths, f"{folder} holds nothing to search"
        for path in paths:
            content = path.read_bytes()
            for secret in secrets or KEYS.values():
                if any(form in content for form in spellings(secret)):
                    found.append(f"{path.relative_to(folder)}: {secret}")
    return found
