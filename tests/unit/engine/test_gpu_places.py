"""Which GPUs replicas get: inside domains, as long as there is room."""

import pytest

from rackmoe.engine.gpu_places import replica_places, straddles


@pytest.mark.parametrize(
    ("sizes", "n_gpus", "expected"),
    [
        ([4, 4, 8], 16, (0, 4, 8)),
        # the third would straddle; the fourth fills the gap
        ([3, 3, 3, 2], 16, (0, 3, 8, 6)),
        # several domains at once begin with an empty one
        ([2, 12], 24, (0, 8)),
        ([16, 4, 4], 24, (0, 16, 20)),
        ([12, 4], 16, (0, 12)),
    ],
)
def test_replicas_stay_inside_domains(sizes, n_gpus, expected):
    assert replica_places(sizes, domain_gpus=8, n_gpus=n_gpus) == expected


def test_without_room_gpus_are_given_out_one_after_the_other():
    assert replica_places([6, 6, 4], domain_gpus=8, n_gpus=16) == (0, 6, 12)


def test_no_gpu_is_given_out_twice():
    sizes = [5, 2, 3, 9, 1, 4]
    places = replica_places(sizes, domain_gpus=8, n_gpus=40)
    taken = [
        gpu for first, n in zip(places, sizes, strict=True) for gpu in range(first, first + n)
    ]
    assert len(set(taken)) == len(taken) == sum(sizes)


def test_only_what_would_fit_into_one_domain_straddles():
    assert straddles(6, size=4, domain_gpus=8)
    assert not straddles(4, size=4, domain_gpus=8)
    assert not straddles(4, size=12, domain_gpus=8)
