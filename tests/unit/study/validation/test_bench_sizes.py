import pytest

from rackmoe.study.validation.bench_sizes import bench_limits, bench_sizes


@pytest.mark.parametrize(
    ("cached_tokens", "lengths", "sizes"),
    [
        # 1,000 sequences, rounded up to 8 x 128; 2,000 tokens, and a prompt beside all of them
        (2_048_000, (1024, 1024), (1024, 2048)),
        # 1,500 sequences: 6 x 256; 3,000 tokens: 12 x 256
        (3_072_000, (1024, 1024), (1536, 3072)),
        # 100 sequences: 4 x 32; 112.5 tokens, at least 2,048
        (921_600, (1024, 8192), (128, 2048)),
        # 10 sequences, at least 64; a prompt is never cut
        (337_920, (32_768, 1024), (64, 32_832)),
        # more memory than any batch needs: 4,096 sequences, 8,192 tokens
        (10**9, (1000, 1000), (4096, 8192)),
        # 3,600 sequences of 8 prompt tokens for each output token: 32,400 tokens, 32 x 1,024
        (3_600 * 9216, (8192, 1024), (3840, 32_768)),
    ],
)
def test_sizes_are_those_of_the_tool(cached_tokens, lengths, sizes):
    assert sizes == bench_sizes(
        cached_tokens=cached_tokens, n_input_tokens=lengths[0], n_output_tokens=lengths[1]
    )


def test_batch_of_gpt_oss_on_a_gb200_is_worked_by_hand():
    limits = bench_limits(
        {"model": "gpt-oss-120b", "hardware": "gb200_nvl72", "isl": "1024", "osl": "1024"},
        pool={"tp": 1, "attention_dp": 1, "ep": 1},
        model={"weights": "w4a8_mxfp4", "kv_cache": "fp8"},
    )
    # 36 layers x 2 x 8 heads x 64 bytes: 36,864 B a token, 75.5 MB a request; 0.9 of the
    # 133 GB beside the weights hold 1,590: 7 x 256 sequences, and 2 x 1,590 = 13 x 256 tokens
    assert limits == {"max_batch_per_rank": 1792, "max_tokens_per_step": 3328}
