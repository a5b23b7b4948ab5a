"""The distance between two sets of next-token distributions, in the stack that holds torch."""

import json
import subprocess

import pytest

from helpers.paths import ROOT

SCRIPT = """
import json, sys
import torch
from safetensors.torch import save_file
from benchmarks.campaign.distances import distance
torch.manual_seed(0)
base = torch.randn(100, 50)
tables = {"a": base, "near": base + 0.01 * torch.randn(100, 50), "far": torch.randn(100, 50)}
for name, table in tables.items():
    save_file({"log_p": table.log_softmax(-1).half(), "top1": table.argmax(-1)}, f"{sys.argv[1]}/{name}.safetensors")
p, q = torch.tensor([[0.5, 0.5], [0.9, 0.1]]).log(), torch.tensor([[0.25, 0.75], [0.6, 0.4]]).log()
whole = lambda table: {"log_p": table, "top1": table.argmax(-1)}
print(json.dumps([distance(whole(p), whole(q)), distance(whole(p), whole(torch.full((2, 2), float("nan"))))]))
"""


@pytest.mark.full
def test_distances_are_those_of_the_formula(tmp_path, interpreter):
    env = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    made = subprocess.run(
        [interpreter, "-c", SCRIPT, tmp_path], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120
    )
    assert made.returncode == 0, made.stderr[-2000:]
    exact, broken = json.loads(made.stdout)
    # KL((.5,.5)||(.25,.75)) = .5 ln 2 + .5 ln(2/3) = 0.1438; KL((.9,.1)||(.6,.4)) = .9 ln 1.5 + .1 ln .25 = 0.2263
    assert exact["kl_mean"] == pytest.approx((0.14384 + 0.22629) / 2, abs=1e-4) and exact["top1_agreement"] == 0.5
    # each row of p against the other row of q: KL((.5,.5)||(.6,.4)) = 0.0204, KL((.9,.1)||(.25,.75)) = 0.9514
    assert exact["kl_unrelated_mean"] == pytest.approx((0.02041 + 0.95135) / 2, abs=1e-4)
    assert not broken["finite"] and broken["kl_mean"] is None

    def asked(*names: str) -> dict:
        argv = [
            interpreter,
            "-m",
            "benchmarks.campaign.distances",
            *(tmp_path / f"{name}.safetensors" for name in names),
        ]
        done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout)

    same, near, far = asked("a", "a"), asked("a", "near"), asked("a", "far")
    assert same["top1_agreement"] == 1 and same["kl_mean"] == pytest.approx(0, abs=1e-6)
    assert 0 < near["kl_mean"] < far["kl_mean"] / 10 and near["top1_agreement"] > far["top1_agreement"]
