"""What `make test-all` has beyond `make test`: first on two workers what may share the machine, then alone what measures.

python tests/rest.py [ARGS OF PYTEST]

Both parts run whatever the first one says. The exit status is that of the first part that failed. A part that your arguments
leave empty is no failure, unless both are empty. A JUnit report is one file for each part: `rest.xml` and `rest-measures.xml`.
"""

import subprocess
import sys
from pathlib import Path

PARTS = {"full and not measures": ["-n", "2", "--dist", "loadgroup"], "full and measures": ["-p", "no:xdist"]}
LONGEST = ["--durations=15", "--durations-min=5"]
NOTHING = 5  # pytest's exit status where no test was selected
REPORT = "--junitxml="


def reported(word: str, number: int) -> str:
    """An argument of pytest for one of the parts: the second has a report of its own."""
    if not number or not word.startswith(REPORT):
        return word
    path = Path(word.removeprefix(REPORT))
    return f"{REPORT}{path.with_name(f'{path.stem}-measures{path.suffix}')}"


def verdict(ended: list[int], selecting: bool) -> int:
    """One exit status of the parts'; without arguments that select, an empty part has lost its tests."""
    failed = [status for status in ended if status and not (status == NOTHING and selecting)]
    return failed[0] if failed else (0 if 0 in ended else NOTHING)


def main(given: list[str]) -> int:
    """Run the parts one after the other."""
    ended = []
    for number, (selected, words) in enumerate(PARTS.items()):
        print(f"{selected}:", flush=True)
        own = [reported(word, number) for word in given]
        ended.append(
            subprocess.run([sys.executable, "-m", "pytest", "-m", selected, *LONGEST, *words, *own]).returncode
        )
    return verdict(ended, any(not word.startswith(REPORT) for word in given))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
