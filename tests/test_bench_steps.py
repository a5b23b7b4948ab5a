"""A decode step taken apart: a trace's kernels between its steps, and their groups."""

import pytest

from benchmarks.campaign.decode import profile_of
from helpers.errors import CookbookError
from maintain.studies.steps import GAPS, REST, group_of


def kernel(ts: float, dur: float, name: str) -> dict:
    return {"cat": "kernel", "ts": ts, "dur": dur, "name": name}


def step(ts: float, batch: int = 4, waiting: int = 0) -> dict:
    name = f"execute_context_{waiting}({9 * waiting})_generation_{batch}({batch})"
    return {"cat": "gpu_user_annotation", "ts": ts, "dur": 900.0, "name": name}


def trace() -> list[dict]:
    """Three steps of 1,000 us: 400 of experts, 100 of attention, 50 of them at once with the experts; then half a step."""
    events = [kernel(-50, 30, "_p_matmul_ogs_before_the_first_step")]
    for ts in (0, 1000, 2000):
        events += [step(ts), kernel(ts + 10, 400, "_p_matmul_ogs_x"), kernel(ts + 360, 100, "flash::fwd_kernel")]
    return [
        *events,
        step(3000),
        kernel(3010, 400, "_p_matmul_ogs_x"),
        {"cat": "cpu_op", "ts": 5, "dur": 9, "name": "aten::mm"},
    ]


def test_only_whole_steps_count() -> None:
    profile = profile_of(trace(), 4, step_ms=0.8)
    assert profile.steps == 3 and profile.profiled_step_ms == pytest.approx(1.0)
    assert [(k.name, k.calls, k.total_us) for k in profile.kernels] == [
        ("_p_matmul_ogs_x", 3, 1200),
        ("flash::fwd_kernel", 3, 300),
    ]
    assert profile.busy_ms == pytest.approx(0.45), "what runs at once counts once"
    assert profile.groups() == pytest.approx({"MoE": 0.36, "attention": 0.09, GAPS: 0.55}), "they add up to the step"


def test_steps_with_a_prompt_or_another_batch_are_no_decode_steps() -> None:
    events = [*trace(), step(3500, batch=3), step(4000, batch=4, waiting=1)]
    assert profile_of(events, 4, 1.0).steps == 3


def test_a_trace_without_a_gpu_or_without_steps_says_so() -> None:
    with pytest.raises(CookbookError, match="no kernel of a GPU"):
        profile_of([step(0), step(10)], 4, 1.0)
    with pytest.raises(CookbookError, match="no two decode steps of 8"):
        profile_of(trace(), 8, 1.0)


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)", "all-reduce"),
        ("void vllm::cross_device_reduce_1stage<__nv_bfloat16, 2>", "all-reduce"),
        ("Memcpy HtoD (Pinned -> Device)", "copies"),
        ("_topk_forward", "MoE"),
        ("void marlin_moe_wna16::Marlin<>", "MoE"),
        ("void vllm::reshape_and_cache_flash_kernel<>", "attention"),
        ("nvjet_tst_192x8_64x8_4x1_v_bz_TNT", "dense GEMM"),
        (
            "void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::ArgMaxOps<float>>>",
            "sampling",
        ),
        ("triton_red_fused_add_mean_mul_pow_rsqrt_0", REST),
    ],
)
def test_kernels_fall_into_their_groups(name: str, group: str) -> None:
    assert group_of(name) == group
