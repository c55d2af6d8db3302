from rackmoe.compute.attention_shapes import DEEPSEEK_ATTENTION, grouped_query, latent_attention


def test_a_rank_keeps_the_latent_widths_with_its_own_heads():
    shape = latent_attention(16)
    assert shape.n_heads == 16
    assert shape.kv_lora_rank == DEEPSEEK_ATTENTION.kv_lora_rank


def test_equal_shapes_are_one_object():
    assert grouped_query(8, kv_heads=1, head_dim=64) is grouped_query(8, kv_heads=1, head_dim=64)
