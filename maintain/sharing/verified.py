"""docs/verified.md: who verified what, from the project's records and those that others sent."""

from pathlib import Path

from helpers.pages.markdown import row, table
from helpers.paths import RECORDS, ROOT
from helpers.records.claims import Claim, claims_of, load_claims
from helpers.records.matrix import newest
from helpers.records.record import RunRecord

PAGE = ROOT / "docs" / "verified.md"
PROJECT = "the project"
HEAD = """# Who verified what

Written by `cookbook render` from `recipes/records/`. Runs that others measured stand in `recipes/records/contributed/`. They
passed the checks of `cookbook import`; the project has repeated one only where it has a row of its own for it. The README and
the pages speak of the project's runs alone.

"""
TAIL = """
## Send yours

1. Run the target on its machine: `.venv/bin/cookbook run TARGET`.
2. Pack the run: `.venv/bin/cookbook publish --bundle run.zip --contributor NAME`. The file holds the record, the executed
   notebook and the log. Secrets and the machine's folders are masked. Look at it before you send it.
3. File it in your checkout, `.venv/bin/cookbook import run.zip`, and open a pull request with what it wrote. Or attach the file
   to an issue, and a maintainer files it. The command checks schema and arithmetic, that the command is the recipe's, that the
   machine is the target's, that no figure beats the roofline or lies far from known points, and that the notebook printed each
   contract. Nothing of the file is executed.
4. Anybody with such a machine repeats it: `.venv/bin/cookbook reproduce RECORD` runs the same again, and says whether it
   agrees within the noise.
"""


def claims(folder: Path = RECORDS) -> dict[str, list[Claim]]:
    """The claims of each contributor, the project's first."""
    found = {PROJECT: load_claims(folder)}
    for path in sorted((folder / "contributed").glob("*/*/*.json")):
        found.setdefault(path.parts[-3], []).extend(claims_of(RunRecord.read(path), path.name))
    return found


def verified(folder: Path = RECORDS) -> str:
    """The page."""
    rows = []
    for who, own in claims(folder).items():
        runs: dict[tuple, dict[str, list[Claim]]] = {}
        for claim in sorted(own, key=lambda claim: claim.day):
            place = (claim.target, claim.model, claim.tensor_parallel_size, claim.profile, claim.weights, claim.vllm)
            runs.setdefault(place, {}).setdefault(claim.group, []).append(claim)
        for (target, model, size, profile, weights, vllm), found in sorted(runs.items()):
            groups = {group: newest(same) for group, same in found.items()}
            last = max(groups.values(), key=lambda claim: claim.day)
            held = [f"{g}: {c.checks}" for g, c in sorted(groups.items()) if c.measures]
            held += [
                ", ".join(
                    sorted(g.replace("_", " ") for g, c in groups.items() if c.state == "passed" and c.setting is None)
                )
            ]
            failed = [f"**failed:** {g}" for g, c in sorted(groups.items()) if c.state == "failed"]
            what = f"{model} TP{size}, {profile}, {weights} weights"
            age = f"{vllm}, {last.day} ({last.age.words()})"
            rows.append(row(who, target, what, "; ".join(filter(None, [*held, *failed])), age))
    return HEAD + table(["who", "machine", "what ran", "what held", "vLLM, day"], rows) + "\n" + TAIL
