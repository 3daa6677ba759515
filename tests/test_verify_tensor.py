"""Were Tensor Cores used? Kernel names as profilers print them, and how the kinds of evidence are weighed."""

from __future__ import annotations

from typing import Any

import pytest

from envcheck.model import Machine
from envcheck.verify.rates import RATES, packed_ratio, peak_tflops
from envcheck.verify.tensor import (
    NONE,
    NOT_USED,
    UNDETERMINED,
    USED,
    classify_kernel,
    judge_tensor_core,
    tensor_core_use,
)
from envcheck.verify.words import Context, Device

TENSOR = [
    "volta_fp16_s884gemm_fp16_128x128_ldg8_f2f_nn",
    "volta_h884gemm_256x64_ldg8_nn",
    "turing_fp16_s1688gemm_fp16_128x128_ldg8_f2f_nn",
    "turing_h1688gemm_128x128_ldg8_nn",
    "ampere_fp16_s16816gemm_fp16_128x128_ldg8_f2f_stages_32x5_nn",
    "ampere_bf16_s16816gemm_bf16_256x128_ldg8_f2f_stages_64x3_tn",
    "ampere_sgemm_tf32_128x128_nn_1688",
    "cutlass_80_tensorop_f16_s16816gemm_f16_256x128_32x3_nn_align8",
    "void cutlass::Kernel<cutlass_80_tensorop_s1688gemm_128x256_16x3_nn_align4>(Params)",
    "sm80_xmma_gemm_f16f16_f16f32_f32_nn_n_tilesize128x128x32_stage4_warpsize2x2x1_tensor16x8x16_kernel",
    "sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64_warpgroupsize1x1x1_execute_segment_k_off_kernel__5x_cublas",
    "nvjet_hsh_128x256_64x4_1x2_h_bz_coopA_NNT",
    "nvjet_tst_192x192_64x4_2x1_v_bz_coopB_TNN",
    "nvjet_sm90_hss_128x256_64x4_2x1_v_bz_coopA_NNN",
    "cutlass3x_sm90_tensorop_s64x128x16gemm_f16_f16_f32_f16_f16",
    # as seen in public profiles of each generation
    "turing_fp16_s1688gemm_fp16_256x128_ldg8_f2f_stages_32x1_tn",
    "turing_fp16_s1688gemm_fp16_128x64_sliced1x2_ldg8_f2f_tn",
    "void cutlass::Kernel2<cutlass_75_wmma_tensorop_f16_s161616gemm_f16_16x16_128x2_tn_align8>"
    "(cutlass_75_wmma_tensorop_f16_s161616gemm_f16_16x16_128x2_tn_align8::Params)",
    "void cutlass::Kernel2<cutlass_75_wmma_tensorop_h161616gemm_32x32_128x2_tn_align8>(T1::Params)",
    "cutlass::Kernel2<cutlass_70_tensorop_h884gemm_128x128_tn_align8>",
    "cutlass_75_tensorop_bf16_s1688gemm_bf16_256x128_nn_align1",
    "ampere_bf16_s1688gemm_bf16_128x128_ldg8_f2f_stages_32x1_nn",
    "ampere_bf16_s16816gemm_bf16_256x128_ldg8_f2f_stages_32x3_nn",
    "cutlass_tensorop_s1688tf32gemm_256x128_16x3_nn_align4",
    "sm80_xmma_fprop_implicit_gemm_f16f16_f16f32_f32_nhwckrsc_nhwc_tilesize128x32x32_stage4_warpsize4x1x1_g1_"
    "tensor16x8x16_execute_kernel__5x_cudnn",
    "sm90_xmma_gemm_f16f16_f16f32_f32_tn_n_tilesize64x128x64_warpgroupsize1x1x1_execute_segment_k_off_kernel__5x_cublas",
    "nvjet_sm100_tst_64x32_64x16_2x1_2cta_h_bz_splitk_TNT",
    "nvjet_sm120_tst_mma_64x64x128_3_32x32x128_tmaAB_alignCD4_bz_TNNN",
    "cutlass3x_sm100_tensorop_gemm_bf16_bf16_f32_bf16_bf16_256x256x64_2x2x1_0_tnt_align8_2sm",
    "cutlass3x_sm100_tensorop_s128x128x8tf32gemm_f32_f32_f32_f32_f32_128x128x32_0_tnn_align4_1sm",
]
SIMT = [
    "maxwell_fp16_sgemm_fp16_128x64_nn",
    "volta_fp16_sgemm_fp16_128x64_nn",
    "volta_sgemm_128x64_nn",
    "maxwell_hgemm_256x128_nt",
    "ampere_sgemm_128x64_nn",
    "cutlass_80_simt_sgemm_256x128_8x4_nn_align1",
    "void gemv2T_kernel_val<int, int, __half, __half, __half, float, 128, 16, 4, 4, false>",
    "sm80_xmma_gemm_f32f32_f32f32_f32_tn_n_tilesize32x32x8_stage3_warpsize1x2x1_ffma_aligna4_alignc4_execute_kernel__51_cublas",
    "void gemmSN_NN_kernel<float, 256, 4, 2, 8, 4, 4, false>",
    # as seen in public profiles
    "volta_fp16_sgemm_fp16_128x128_nt",
    "maxwell_fp16_sgemm_fp16_32x128_nt",
    "ampere_fp16_sgemm_fp16_64x64_nn",
    "ampere_sgemm_128x128_nn",
    "cutlass3x_sm100_simt_sgemm_f32_f32_f32_f32_f32_64x128x16_1x1x1_3_tnn_align1_bias_f32_relu",
    "void precomputed_convolve_sgemm<float, 1024, 5, 5, 4, 3, 3, 1, false>",
    "void implicit_convolve_sgemm<__half, __half, 1024, 5, 5, 3, 3, 3, 1, true, false, true>",
]


@pytest.mark.parametrize("name", TENSOR)
def test_tensor_core_kernels(name: str) -> None:
    assert classify_kernel(name) == "tensor"


@pytest.mark.parametrize("name", SIMT)
def test_kernels_of_the_fp32_units(name: str) -> None:
    assert classify_kernel(name) == "simt"


@pytest.mark.parametrize(
    "name",
    [
        "void at::native::vectorized_elementwise_kernel<4>",
        "splitKreduce_kernel",
        "my_kernel",
        "sm80_xmma_gemm_f32f32_f32f32_f32_nn_n_tilesize32x32x8_kernel",
    ],
)
def test_other_kernels_say_nothing(name: str) -> None:
    assert classify_kernel(name) is None


@pytest.mark.parametrize(
    ("cores", "gpm", "kernels", "ratio", "packed", "verdict"),
    [
        # the chip's veto comes first: these kernels run on a GTX 16xx without an error
        (0, None, TENSOR[2:3], 8.0, 2, NONE),
        (0, 90.0, TENSOR[2:3], 8.0, 2, NONE),
        # the GPU's own counter decides
        (4, 85.0, None, None, 1, USED),
        (4, 0.0, None, None, 1, NOT_USED),
        (4, 0.0, SIMT[:1], 1.0, 1, NOT_USED),
        (4, 85.0, SIMT[:1], 1.0, 1, USED),
        # ... unless everything else speaks against a counter that stands still
        (4, 0.0, TENSOR[:1], 8.0, 1, UNDETERMINED),
        (4, 3.0, TENSOR[:1], 8.0, 1, UNDETERMINED),
        # names
        (4, None, TENSOR[:1], 1.9, 1, USED),
        (4, None, SIMT[:1], 1.0, 1, NOT_USED),
        (4, None, TENSOR[:1], 0.9, 1, UNDETERMINED),
        (4, None, SIMT[:1], 8.0, 1, UNDETERMINED),
        # speed alone: a healthy RTX 4090 reaches only 2, a V100 reaches 2 without Tensor Cores
        (4, None, None, 1.9, 1, USED),
        (1, None, None, 1.9, 2, UNDETERMINED),
        (1, None, None, 6.0, 2, USED),
        (4, None, None, 1.0, 1, NOT_USED),
        (4, None, ["unknown_kernel"], None, 1, UNDETERMINED),
        (4, None, None, None, 1, UNDETERMINED),
        # a chip that nobody knows (7.5 is had by cards with and without)
        (None, None, TENSOR[2:3], 6.0, 2, UNDETERMINED),
        (None, 80.0, None, None, 2, USED),
        (None, None, SIMT[:1], 1.0, 2, NOT_USED),
    ],
)
def test_how_evidence_is_weighed(
    cores: int | None, gpm: float | None, kernels: list[str] | None, ratio: float | None, packed: float, verdict: str
) -> None:
    found, reasons = tensor_core_use(cores, gpm, kernels, ratio, packed)
    assert found == verdict
    assert reasons or (gpm, kernels, ratio) in ((None, None, None), (None, ["unknown_kernel"], None))


def facts(**changes: Any) -> dict[str, Any]:
    bounded = {"elements": 9, "outside": 0, "nonfinite": 0, "worst": 0.3, "relative": 2.1e-4}
    return {
        "exact": {"elements": 9, "mismatches": 0},
        "bounded": bounded,
        "odd": dict(bounded),
        "side": 8192,
        "fp16_tflops": 100.0,
        "fp32_tflops": 25.0,
        "ratio": 4.0,
        "gpm": None,
        "kernels": TENSOR[:1],
        "load": {"sm_mhz": 1500, "power_w": 70.0, "power_limit_w": 72.0, "throttle": ["software power cap"]},
        **changes,
    }


def judged(cores: int | None, capability: str = "8.9", name: str = "NVIDIA L4", **changes: Any) -> Any:
    device = Device(index=0, ordinal=0, name=name, compute_capability=capability, sms=60, tensor_cores=cores)
    return judge_tensor_core(facts(**changes), Context(device=device, machine=Machine()))


def test_right_and_used_passes_with_its_share_of_the_peak() -> None:
    found = judged(4)
    assert found.status == "pass"
    # 512 FMA x 2 x 60 SMs x 1.5 GHz = 92.16 TFLOPS
    assert found.measured["peak_tflops"] == pytest.approx(92.16)
    assert any("software power cap" in line for line in found.evidence)


def test_right_and_not_used_fails() -> None:
    assert judged(4, kernels=SIMT[:1], ratio=1.0).status == "fail"


def test_a_chip_without_tensor_cores_is_not_applicable() -> None:
    found = judged(0, capability="7.5", name="NVIDIA GeForce GTX 1660")
    assert (found.status, found.not_applicable) == ("skip", True)
    assert "train in fp32" in found.summary


def test_undetermined_is_unknown() -> None:
    assert judged(None, capability="7.5").status == "unknown"


@pytest.mark.parametrize(
    "changes",
    [
        {"exact": {"elements": 9, "mismatches": 1}},
        {"odd": {"elements": 9, "outside": 1, "nonfinite": 0, "worst": 2.0, "relative": 2.1e-4}},
        {"bounded": {"elements": 9, "outside": 0, "nonfinite": 0, "worst": 0.9, "relative": 6.1e-4}},
    ],
)
def test_wrong_products_fail_on_any_chip(changes: dict[str, Any]) -> None:
    assert judged(4, **changes).status == "fail"
    assert judged(0, capability="6.1", **changes).status == "fail"


def test_a_slow_or_throttled_card_warns() -> None:
    slow = judged(4, fp16_tflops=20.0)
    assert slow.status == "warn"
    assert "22 % of the peak" in slow.summary
    assert judged(4, load={"sm_mhz": 1500, "throttle": ["hardware thermal slowdown"]}).status == "warn"


def test_rates() -> None:
    assert packed_ratio("8.0") == 4
    assert packed_ratio("8.9") == 1
    assert packed_ratio("6.1") == 1
    assert packed_ratio("99.0") == max(r.packed_fp16 / r.fp32 for r in RATES.values())
    # GeForce cards from Turing on sum fp16 products in fp32 at half the rate
    assert peak_tflops("8.9", "NVIDIA GeForce RTX 4090", 128, 2520) == pytest.approx(165.2, rel=0.01)
    assert peak_tflops("9.0", "NVIDIA H100 80GB HBM3", 132, 1830) == pytest.approx(989.4, rel=0.01)
    assert peak_tflops("8.0", "NVIDIA A100-SXM4-40GB", 108, 1410) == pytest.approx(312, rel=0.01)
    assert peak_tflops("6.1", "NVIDIA GeForce GTX 1080", 20, 1700) is None
    assert peak_tflops("9.0", None, None, 1000) is None
