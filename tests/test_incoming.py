"""A run that somebody else measured: packed, checked against what is known, filed, repeated."""

import json
import re
import zipfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import nbformat
import pytest

from helpers.errors import CookbookError
from helpers.findings import Finding
from helpers.paths import NOTEBOOKS, RECORDS
from helpers.records.record import RunRecord
from helpers.runs.execute import Outcome
from maintain.pages.measured import newest_passed
from maintain.proof import incoming, reproduce
from maintain.sharing import verified
from maintain.sharing.bundle import LIMITS, pack, sha256, unpack

FOUND = newest_passed("cpu")
assert FOUND
SOURCE, RECORD = FOUND
SECRET = "hf_" + "A" * 20
LOG = "(APIServer pid=5) INFO 11-22 14:06:00 [u.py:1] vLLM API server version 0.32.0\n"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder: the newest CPU record, the page that it executed, a log with a key in it."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "record.json").write_text(SOURCE.read_text())
    (folder / "notebook.ipynb").write_text((NOTEBOOKS / "targets/cpu.ipynb").read_text())
    version = RECORD.versions["vllm"].split("+")[0]
    (folder / "server.log").write_text(LOG.replace("0.32.0", version) + f"HF_TOKEN={SECRET} in {folder}\n")
    return folder


def test_a_bundle_holds_a_run_without_secrets_or_folders(run: Path, tmp_path: Path) -> None:
    manifest, texts = unpack(pack(run, tmp_path / "a.zip", "ada", "sha256:" + "0" * 64))
    assert set(texts) == set(LIMITS) - {"manifest.json"} and manifest.contributor == "ada"
    assert SECRET not in texts["server.log"] and str(run) not in texts["server.log"]
    assert pack(run, tmp_path / "b.zip", "ada", "sha256:" + "0" * 64).read_bytes() == (tmp_path / "a.zip").read_bytes()
    for name, why in (("../ada", "'../ada' is no name on a forge"), ("", "nobody is named")):
        with pytest.raises(CookbookError, match=f"{why}.*--contributor"):
            pack(run, tmp_path / "c.zip", name)
    with pytest.raises(CookbookError, match="--image-digest as sha256"):
        pack(run, tmp_path / "c.zip", "ada", "latest")
    RECORD.model_copy(update={"state": "failed", "why": "x"}).write(run / "record.json")
    with pytest.raises(CookbookError, match="is not packed because it failed"):
        pack(run, tmp_path / "c.zip", "ada")


def test_a_run_of_the_recipe_is_filed_under_its_contributor(run: Path, tmp_path: Path) -> None:
    judgement, written = incoming.file(pack(run, tmp_path / "a.zip", "ada"), tmp_path / "records/contributed")
    assert judgement.passed, judgement.text()
    kept, page = written
    assert kept.parent == tmp_path / "records/contributed/ada/cpu" and "measured by ada" in RunRecord.read(kept).notes
    kinds = {
        k for c in nbformat.read(page, as_version=4).cells for o in c.get("outputs", []) for k in o.get("data", {})
    }
    assert kinds and kinds <= set(incoming.HARMLESS)
    markdown = "".join(c.source for c in nbformat.read(page, as_version=4).cells if c.cell_type == "markdown")
    links = re.findall(r"\]\((\.\./[^)#]+)", markdown)
    assert len(links) > 5 and all((page.parent / link).exists() for link in links), "they led from notebooks/targets"


def test_a_run_is_filed_once(run: Path, tmp_path: Path) -> None:
    RECORD.write(tmp_path / "ada/cpu" / f"{RECORD.finished:%Y%m%d-%H%M%S}-{RECORD.model}-{RECORD.weights}.json")
    with pytest.raises(CookbookError, match="filed already"):
        incoming.file(pack(run, tmp_path / "a.zip", "ada"), tmp_path)


def test_the_table_says_who_verified_what(tmp_path: Path) -> None:
    RECORD.write(tmp_path / "contributed/ada/cpu/a.json")
    assert "| ada | cpu | gpt-oss-nano TP1" in verified.verified(tmp_path)
    assert list(verified.claims(tmp_path)) == [verified.PROJECT, "ada"]
    assert "| the project | cpu |" in verified.PAGE.read_text()


def faster(factor: float) -> Callable[[dict], None]:
    """Every figure of the sweep, consistently better by a factor."""

    def change(record: dict) -> None:
        for point in record["throughput"]:
            for name in ("output_tok_s", "output_tok_s_per_gpu", "tok_s_per_user"):
                point[name] *= factor
            point["duration_s"] /= factor
            for name in ("ttft_ms", "tpot_ms", "itl_ms", "e2e_ms"):
                point[name] = {k: v / factor for k, v in point[name].items()}

    return change


PAGE = nbformat.read(NOTEBOOKS / "targets/cpu.ipynb", as_version=4)


@pytest.mark.parametrize(
    "change, check",
    [
        (faster(30), incoming.known),
        (faster(1 / 30), incoming.known),
        (lambda r: r["argv"].extend(["--max-num-seqs", "7"]), incoming.command),
        (lambda r: r["env"].update(VLLM_CPU_KVCACHE_SPACE="9"), incoming.command),
        (lambda r: r["machine"].update(gpus=["NVIDIA H200"]), incoming.machine),
        (lambda r: r["contracts"].pop(), lambda r: incoming.contracts(r, PAGE)),
        (lambda r: r["contracts"][0].update(state="skipped", why="x"), lambda r: incoming.contracts(r, PAGE)),
        (lambda r: r["parameters"].update(rehearse=True), incoming.outcome),
        (lambda r: r["serving"].update(variant="bare"), incoming.outcome),
        (lambda r: r.update(finished="2099-01-01T00:00:00Z"), incoming.when),
        (lambda r: r.update(started="2025-01-01T00:00:00Z"), incoming.when),
        (lambda r: r["versions"].update(vllm="0.31.9"), lambda r: incoming.log(r, LOG)),
    ],
)
def test_what_cannot_be_so_is_seen(change: Callable[[dict], object], check: Callable[[RunRecord], Finding]) -> None:
    assert check(RECORD).ok
    record = json.loads(SOURCE.read_text())
    change(record)
    found = check(RunRecord.model_validate(record))
    assert found.ok is False and found.seen


def test_a_run_that_fails_a_check_is_not_filed(run: Path, tmp_path: Path) -> None:
    record = json.loads(SOURCE.read_text())
    record["argv"] += ["--max-num-seqs", "7"]
    (run / "record.json").write_text(json.dumps(record))
    judgement, written = incoming.file(pack(run, tmp_path / "bad.zip", "ada"), tmp_path / "contributed")
    assert written == [] and not (tmp_path / "contributed").exists()
    assert [finding.name for finding in judgement.failed] == ["command"]
    with pytest.raises(CookbookError, match="the bundle is not filed: command"):
        judgement.raise_if_failed()


def test_arithmetic_that_does_not_hold_is_no_record(run: Path, tmp_path: Path) -> None:
    packed = pack(run, tmp_path / "a.zip", "ada")
    contents = {name: zipfile.ZipFile(packed).read(name).decode() for name in LIMITS}
    record = json.loads(contents["record.json"])
    record["throughput"][0]["output_tok_s"] *= 2
    contents["record.json"] = json.dumps(record)
    with pytest.raises(CookbookError, match=r"record\.json is not what its manifest names"):
        unpack(repacked(tmp_path / "b.zip", contents))
    manifest = json.loads(contents["manifest.json"])
    manifest["files"]["record.json"] = sha256(contents["record.json"].encode())
    contents["manifest.json"] = json.dumps(manifest)
    with pytest.raises(CookbookError, match=r"holds no run because .*output tok/s"):
        incoming.judged(repacked(tmp_path / "c.zip", contents))


def test_a_machine_faster_than_physics_is_refused() -> None:
    h200 = next(RunRecord.read(p) for p in sorted((RECORDS / "h200").glob("*120b-synthetic.json")))
    assert [finding.ok for finding in incoming.physics(h200)] == [True]
    points = [
        p.model_copy(update={"output_tok_s": p.output_tok_s * 9, "roofline_tok_s": None}) for p in h200.throughput
    ]
    assert not incoming.physics(h200.model_copy(update={"throughput": points}))[0].ok
    other = [p.model_copy(update={"roofline_tok_s": p.roofline_tok_s * 3}) for p in h200.throughput]
    assert "it says" in incoming.physics(h200.model_copy(update={"throughput": other}))[0].seen
    assert incoming.known(h200).ok and incoming.machine(h200).ok
    wrong = h200.machine.model_copy(update={"gpus": ["NVIDIA A100"]})
    assert not incoming.machine(h200.model_copy(update={"machine": wrong})).ok


def test_other_cells_than_the_pages_are_refused() -> None:
    assert incoming.code(RECORD, PAGE).ok
    other = nbformat.reads(nbformat.writes(PAGE), as_version=4)
    next(cell for cell in other.cells if cell.cell_type == "code").source += "\nimport os"
    assert incoming.code(RECORD, other).ok is False


def repacked(path: Path, contents: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in contents.items():
            archive.writestr(name, text)
    return path


def test_a_file_that_is_no_bundle_is_one_clear_line(run: Path, tmp_path: Path) -> None:
    packed = pack(run, tmp_path / "a.zip", "ada")
    contents = {name: zipfile.ZipFile(packed).read(name).decode() for name in LIMITS}
    (tmp_path / "text.zip").write_text("hello")
    (tmp_path / "cut.zip").write_bytes(packed.read_bytes()[:-300])
    refused = {
        "text.zip": "no bundle",
        "cut.zip": "no bundle",
        "absent.zip": "no bundle",
        repacked(tmp_path / "more.zip", contents | {"../../x.py": "x"}).name: r"\.\./\.\./x\.py",
        repacked(
            tmp_path / "big.zip", contents | {"record.json": " " * (LIMITS["record.json"] + 1)}
        ).name: "larger than",
        repacked(tmp_path / "odd.zip", contents | {"manifest.json": '{"schema": 1}'}).name: "damaged",
    }
    for name, said in refused.items():
        with pytest.raises(CookbookError, match=said) as raised:
            unpack(tmp_path / name)
        assert "\n" not in raised.value.line()


def again(**changes: object) -> reproduce.Agreement:
    return reproduce.agreement(RECORD, RECORD.model_copy(update=changes), [RECORD])


def test_a_run_agrees_with_itself_within_the_noise_and_not_beyond() -> None:
    assert again().passed and "it agrees" in again().title
    scaled = lambda by: [p.model_copy(update={"output_tok_s": p.output_tok_s * by}) for p in RECORD.throughput]  # noqa: E731
    assert again(throughput=scaled(0.95)).passed
    assert not again(throughput=scaled(0.8)).passed and not again(throughput=scaled(1.25)).passed
    assert "within 0.91 to 1.10 (assumed)" in again().text()
    assert not again(throughput=RECORD.throughput[1:]).passed and not again(contracts=RECORD.contracts[1:]).passed
    noisy = RECORD.model_copy(update={"throughput": scaled(0.5), "finished": RECORD.finished + timedelta(1)})
    wide = reproduce.agreement(RECORD, RECORD.model_copy(update={"throughput": scaled(0.8)}), [RECORD, noisy])
    assert wide.passed and "2 runs on record" in wide.text()


def test_the_same_is_run_again() -> None:
    asked: dict = {}

    def run(target: str, given: dict) -> Outcome:
        asked.update(given, target=target)
        return Outcome(Path("runs/x"), RECORD)

    agreement, _ = reproduce.again(SOURCE, run)
    assert agreement.passed and asked["port"] == 0 and not {"run_dir", "activations", "restart"} & asked.keys()
    assert (asked["target"], asked["profile"], asked["model"]) == ("cpu", RECORD.serving.profile, RECORD.model)
    sweep = next(p for p in sorted((RECORDS / "h200").glob("*tp2.json")))
    with pytest.raises(CookbookError, match="sweep alone"):
        reproduce.again(sweep, run)
