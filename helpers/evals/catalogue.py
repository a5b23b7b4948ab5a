"""The evaluations: what each asks, which files it reads, and where those come from."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from helpers.errors import CookbookError, UsageError
from helpers.files import write_whole
from helpers.paths import CACHE, RECIPES, shown

EMBEDDED = RECIPES / "evals"
FETCHED = CACHE / "evals"
FULL_LENGTH = 131_072  # tokens that the reference asks for in every request (gpt_oss/evals/__main__.py, 0.0.9)
# Where the reference library itself reads its data (gpt_oss/evals/gpqa_eval.py and aime_eval.py, 0.0.9).
GPQA_URL = "https://openaipublic.blob.core.windows.net/simple-evals/"
AIME_URL = "https://huggingface.co/datasets/opencompass/AIME2025/raw/main/"

# So small a model loses its thread now and then at 1.0, and one failure in 32 samples is more than 1 %.
NANO_TEMPERATURE = 0.2


@dataclass(frozen=True)
class Evaluation:
    """One evaluation. `files` maps the names that the reference reads to the folder's URL or to a file of ours."""

    name: str
    title: str
    grader: str  # gpqa (letters) or aime25 (boxed integers): the reference's class that asks and grades
    questions: int
    repeats: int
    max_tokens: int
    files: dict[str, str] = field(hash=False)
    temperature: float = 1.0  # the reference's default

    @property
    def embedded(self) -> bool:
        return not any(place.startswith("http") for place in self.files.values())


EVALS = {
    evaluation.name: evaluation
    for evaluation in (
        Evaluation("gpqa", "GPQA Diamond", "gpqa", 198, 8, FULL_LENGTH, {"gpqa_diamond.csv": GPQA_URL}),
        Evaluation(
            "aime25",
            "AIME 2025",
            "aime25",
            30,
            8,
            FULL_LENGTH,
            {"aime2025-I.jsonl": AIME_URL, "aime2025-II.jsonl": AIME_URL},
        ),
        Evaluation(
            "nano-choice",
            "multiple choice for gpt-oss-nano",
            "gpqa",
            16,
            2,
            1024,
            {"gpqa_diamond.csv": "nano-choice.csv"},
            NANO_TEMPERATURE,
        ),
        Evaluation(
            "nano-integer",
            "boxed integers for gpt-oss-nano",
            "aime25",
            16,
            2,
            1024,
            {"aime2025-I.jsonl": "nano-integer-I.jsonl", "aime2025-II.jsonl": "nano-integer-II.jsonl"},
            NANO_TEMPERATURE,
        ),
    )
}
SEEDS = ("gpqa", "aime25")
EMBEDDED_NAMES = tuple(name for name, evaluation in EVALS.items() if evaluation.embedded)
QUICK = "quick"  # the gate of helpers.checks.known_answers, no evaluation of the reference


def find(name: str) -> Evaluation:
    """The evaluation of that name; `UsageError` for an unknown one, and for those that cost money elsewhere."""
    if name in EVALS:
        return EVALS[name]
    known = f"choose from {', '.join(EVALS)}, {QUICK}"
    if name.startswith("healthbench"):
        raise UsageError(f"{name} is not offered", why="it sends every answer to a paid API for grading", do=known)
    raise UsageError(f"unknown evaluation {name!r}", do=known)


def local_file(evaluation: Evaluation, name: str, folder: Path | None) -> Path | None:
    """Where a file of the evaluation lies on this machine: the given folder, ours, or what was fetched before."""
    place = evaluation.files[name]
    if not place.startswith("http"):
        return EMBEDDED / place
    for candidate in [folder] if folder else [FETCHED]:
        if (candidate / name).is_file():
            return candidate / name
    return None


def fetch(evaluation: Evaluation) -> None:
    """Download the files that are not here yet, before anything runs; a half one is never left under its name."""
    import httpx

    for name, place in evaluation.files.items():
        if local_file(evaluation, name, None):
            continue
        print(f"fetching {name} from {place} into {shown(FETCHED)}")
        try:
            reply = httpx.get(place + name, follow_redirects=True, timeout=60).raise_for_status()
        except (httpx.HTTPError, OSError) as error:
            raise CookbookError(
                f"{name} cannot be fetched",
                why=f"{type(error).__name__}: {error}".splitlines()[0],
                do=f"download {place}{name} elsewhere and pass its folder as --data",
            ) from None
        write_whole(FETCHED / name, reply.content)


def check_rows(evaluation: Evaluation, files: dict[str, Path]) -> None:
    """Refuse data that are not this evaluation's: missing columns, or another number of questions."""
    import pandas as pd

    wanted = {
        "gpqa": ["Question", "Correct Answer", *(f"Incorrect Answer {n}" for n in (1, 2, 3))],
        "aime25": ["question", "answer"],
    }[evaluation.grader]
    rows = 0
    for name, path in files.items():
        try:
            frame = pd.read_csv(path) if path.suffix == ".csv" else pd.read_json(path, lines=True)
        except (ValueError, OSError) as error:
            raise CookbookError(f"{name} cannot be read", why=str(error).splitlines()[0][:200]) from None
        missing = [column for column in wanted if column not in frame]
        if missing:
            raise CookbookError(f"{name} is not the data of {evaluation.name}", why=f"it has no column {missing[0]!r}")
        rows += len(frame)
    if rows != evaluation.questions:
        raise CookbookError(
            f"the data of {evaluation.name} are not whole",
            why=f"they hold {rows} questions and the evaluation has {evaluation.questions}",
            do="fetch the files again",
        )


def digest(files: dict[str, Path]) -> str:
    """A fingerprint of the data: a run never goes on with other questions than it began with."""
    return hashlib.sha256(b"".join(files[name].read_bytes() for name in sorted(files))).hexdigest()[:16]
