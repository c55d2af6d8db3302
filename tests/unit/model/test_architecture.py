"""Architectures answer questions about their layers."""

from dataclasses import FrozenInstanceError

import pytest


def test_layers_are_told_apart(latent):
    assert latent.n_layers == 2
    assert latent.dense_layers == (0,)
    assert latent.moe_layers == (1,)
    assert latent.dense_inter == 16
    assert latent.n_mtp_layers == 1


def test_latent_attention_caches_the_compressed_vector_and_the_rotary_part(latent):
    assert latent.is_mla
    assert latent.attention.kv_dim == 4 + 2
    assert latent.attention.qk_dim == 3 + 2


def test_grouped_query_attention_caches_keys_and_values(windowed):
    assert not windowed.is_mla
    assert windowed.attention.kv_dim == 2 * 2 * 4


def test_windows_belong_to_layers(windowed):
    assert [windowed.attention_window(layer) for layer in range(4)] == [16, None, 16, None]


def test_architecture_cannot_be_changed(latent):
    with pytest.raises(FrozenInstanceError):
        latent.hidden = 9


def test_architecture_can_be_a_key(latent, windowed):
    assert len({latent, latent, windowed}) == 2
