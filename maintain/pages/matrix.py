"""What ran on which machine as Markdown, for the README and start_here: all of it from the records."""

from helpers.paths import NOTEBOOKS
from helpers.records.age import STALE_DAYS, pin, releases
from helpers.records.claims import Claim, load_claims
from helpers.records.matrix import matrix, summaries


def targets_table(prefix: str = "notebooks/") -> str:
    """What ran on each machine and when, a row each; the machines on which nothing ran are folded away.

    `prefix` leads to the notebooks.
    """
    claims = load_claims()
    found = summaries(matrix(claims))
    lines = ["| machine | throughput measured | checked | last run |", "|---|---|---|---|"]
    link = lambda one: f"[{one.title}]({prefix}targets/{one.target}.ipynb)" if has_notebook(one.target) else one.title  # noqa: E731
    for one in filter(lambda one: one.day, found):
        lines.append(f"| {link(one)} | {'<br>'.join(one.measured)} | {'<br>'.join(one.held)} | {one.day} |")
    lines += ["", f"{weights_seen(claims)}{ages()}"]
    never = [link(one) for one in found if not one.day]
    folded = (
        f"<details><summary>{len(never)} machines whose recipe never ran here: vLLM's parser takes its command, and its "
        f"notebook runs on a CPU in its place</summary>\n\n{', '.join(never)}\n\n</details>"
    )
    return "\n".join(lines) + (f"\n\n{folded}" if never else "")


def weights_seen(claims: list[Claim]) -> str:
    """That nothing here served the true weights, as long as no record says otherwise."""
    if {claim.weights for claim in claims} & {"hub", "path"}:
        return ""
    return (
        "The true weights of gpt-oss have not been served here. The texts are of gpt-oss-nano, the test model. The speeds were "
        "measured with synthetic weights of the full size. "
    )


def ages() -> str:
    """What the ages in the table are counted from, and what makes a proof stale."""
    known = releases()
    newest = " and ".join(f"{name} {version}" for name, version in sorted(known.newest.items()))
    return (
        f"Ages count up to {known.asked}. On that day the newest releases were {newest}. *Stale* is what ran more than "
        f"{STALE_DAYS} days before, or on another minor release than its recipe pins. Pins: {pin('cpu')}; {pin('h200')}."
    )


def has_notebook(target: str) -> bool:
    return (NOTEBOOKS / "targets" / f"{target}.ipynb").exists()
