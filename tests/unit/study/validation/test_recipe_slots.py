import pytest

from rackmoe.study.validation.recipe_slots import recipe_slots


@pytest.mark.parametrize(
    ("n_users", "shape", "slots"),
    [
        # users, (instances, groups of each), the batch in the name of the recipe
        (666, (1, 32), 16),
        (2253, (1, 32), 64),
        (180, (1, 32), 4),
        (4301, (1, 8), 512),
        (6144, (1, 8), 768),
        (16130, (5, 4), 768),
        (5, (4, 1), 1),
        (76, (4, 1), 16),
        (63, (3, 1), 16),
        (245, (7, 1), 32),
    ],
)
def test_recipes_have_the_batch_in_their_name(n_users, shape, slots):
    n_instances, n_groups = shape
    found = recipe_slots(
        n_users, n_instances=n_instances, n_groups=n_groups, most_users=n_users, default=512
    )
    assert found == slots


def test_tensor_parallel_engines_are_built_for_the_most_users_of_their_curve():
    shape = {"n_instances": 4, "n_groups": 1, "default": 512}
    assert recipe_slots(192, most_users=192, **shape) == 32
    assert recipe_slots(192, most_users=668, **shape) == 128
    assert recipe_slots(44, most_users=76, **shape) == 16


def test_sweeps_over_powers_of_two_have_room_for_all():
    shape = {"most_users": 0, "n_instances": 7, "n_groups": 8}
    assert recipe_slots(128, default=512, **shape) == 512
    assert recipe_slots(65_536, default=512, **shape) == 1171


def test_a_few_users_of_an_instance_wait_only_where_there_is_one_slot():
    shape = {"most_users": 15, "n_groups": 1, "default": 512}
    assert recipe_slots(15, n_instances=5, **shape) == 512
    assert recipe_slots(6, n_instances=5, **shape) == 1
    assert recipe_slots(3, n_instances=3, **shape) == 512
