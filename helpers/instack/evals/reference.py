"""The reference library as it is: its prompts, its order of the options, its samplers' requests, its graders."""

import html
import os
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# With `debug` gpt_oss.evals.report grades in the calling thread, without a pool of its own.
os.environ["debug"] = "1"  # noqa: SIM112 (the library's own spelling)
os.environ["TQDM_DISABLE"] = "1"
os.environ.setdefault("OPENAI_API_KEY", "none")  # the samplers insist on one

from gpt_oss.evals import abcd_grader, aime_eval, gpqa_eval
from gpt_oss.evals.chat_completions_sampler import ChatCompletionsSampler
from gpt_oss.evals.responses_sampler import ResponsesSampler

EVALS = {"gpqa": gpqa_eval.GPQAEval, "aime25": aime_eval.AIME25Eval}
SAMPLERS = {"responses": ResponsesSampler, "chat_completions": ChatCompletionsSampler}
SHOWN = re.compile(r"<p>(Correct|Extracted) Answer: (.*?)</p>", re.S)


@dataclass(frozen=True)
class Graded:
    """What the reference makes of one answer: its score (0 or 1), the right answer and the one it read."""

    score: float
    correct: str
    extracted: str


class ReferenceEvaluation:
    """One of the library's evaluations over files of this machine.

    `files` maps the file names that the library downloads to local paths; a name that is not among them
    raises, so that nothing is ever fetched here.
    """

    def __init__(self, grader: str, files: dict[str, str], repeats: int):
        self.kind, self.files = EVALS[grader], files
        self.grader = grader
        self.full = self._build(repeats)
        self.questions = len(self.full.examples) // repeats

    def _build(self, repeats: int) -> Any:
        pandas: Any = __import__("pandas")
        read_csv, read_json = pandas.read_csv, pandas.read_json
        pandas.read_csv, pandas.read_json = self._local(read_csv), self._local(read_json)
        try:
            return self.kind(n_repeats=repeats, n_threads=1)
        finally:
            pandas.read_csv, pandas.read_json = read_csv, read_json

    def _local(self, read: Callable) -> Callable:
        def reader(address: str, **options: Any) -> Any:
            name = str(address).rsplit("/", 1)[-1]
            if name not in self.files:
                raise FileNotFoundError(f"{name} is not among the local files")
            return read(Path(self.files[name]), **options)

        return reader

    def samples(self, examples: int | None, repeats: int) -> list[tuple[int, int]]:
        """The samples (question, repeat) of a run; a smaller run asks the questions that the library would draw."""
        chosen = list(range(self.questions))
        if examples and examples < self.questions:
            chosen = sorted(random.Random(0).sample(range(self.questions), examples))
        return [(question, repeat) for repeat in range(repeats) for question in chosen]

    def ask(self, question: int, repeat: int, sampler: Any) -> Graded:
        """Ask one sample through `sampler` and grade it, all in the library's own code.

        The library draws the order of the options question after question, repeat after repeat, so a sample
        is the same in a run of one repeat and of eight.
        """
        one = object.__new__(self.kind)
        one.__dict__ = {**self.full.__dict__, "examples": [self.full.examples[repeat * self.questions + question]]}
        result = one(sampler)
        shown = dict(SHOWN.findall(result.htmls[0]))
        return Graded(float(result.score), html.unescape(shown["Correct"]), html.unescape(shown["Extracted"]))


def doubt(grader: str, text: str) -> str:
    """The known fault of the graders that this answer meets, or ''. It is reported, the score is not changed.

    first_character: no letter was declared, the first character of the answer or of a line was taken.
    thousands_separator: `\\boxed{1,000}` is read as 000.
    last_integer: nothing was boxed, the last integer of the text was taken.
    """
    if grader == "gpqa":
        declared = any(pattern.search(text) for pattern in abcd_grader._PATTERNS[:-1])
        lone = re.search(r"^\W*[ABCD](?![A-Za-z0-9'’])", text, re.M)
        return "" if declared or lone or not text.strip() else "first_character"
    boxes = [a or b for a, b in re.findall(r"boxed{(.*?)}|framebox{(.*?)}", text, re.S) if a or b]
    if boxes:
        return "thousands_separator" if re.search(r"\d(?:,|\\,|\{,\})\s*\d{3}(?!\d)", boxes[-1]) else ""
    return "last_integer" if re.search(r"\d", text) else ""
