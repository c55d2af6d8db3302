from surrogate_cases import AT, PRIORS, errors_of, surrogate

from rackmoe.study.calibration.serving_folds import held_out_errors, median_error

ROWS = [surrogate(index, curve=curve) for curve in "pqr" for index in range(4)]


def test_left_out_curves_are_not_seen():
    odd = [surrogate(index, curve="z", slower=5.0) for index in range(4)]
    errors = held_out_errors({("a-1", "x"): [*ROWS, *odd]}, priors=PRIORS)
    assert set(errors) == {one.row.id for one in (*ROWS, *odd)}
    assert errors["z0"]["tpot"] < -0.6
    assert median_error(errors, rows=ROWS, metric="tpot") < 0.1


def test_a_curve_of_two_dates_is_left_out_whole():
    # if the other half of the curve were seen, its date would be known to be slow
    early = [surrogate(index, curve="z", slower=2.0) for index in range(2)]
    late = [surrogate(index, curve="z", slower=2.0) for index in range(2, 4)]
    errors = held_out_errors({("a-1", "x"): early, ("a-2", "x"): [*ROWS, *late]}, priors=PRIORS)
    assert max(errors[one.row.id]["tpot"] for one in (*early, *late)) < -0.4


def test_a_single_curve_falls_back_on_the_nearest_groups():
    own = [surrogate(index, curve="s") for index in range(4)]
    errors = held_out_errors({("a-1", "x"): ROWS, ("a-1", "y"): own}, priors=PRIORS)
    # nothing of its own was seen, and the other family has the same constants
    assert max(abs(errors[one.row.id]["tpot"]) for one in own) < 0.05


def test_the_only_curve_of_an_engine_has_what_is_assumed():
    own = [surrogate(index, curve="s") for index in range(4)]
    errors = held_out_errors({("a-1", "x"): own}, priors=PRIORS)
    assert [abs(errors[one.row.id]["tpot"]) for one in own] == errors_of(own, AT, "tpot")


def test_curves_weigh_the_same_in_a_median():
    rows = [surrogate(0, curve="p"), *(surrogate(index, curve="q") for index in range(3))]
    errors = {one.row.id: {"tpot": 0.1 if one.row.curve == "q" else 0.3} for one in rows}
    assert 0.1 < median_error(errors, rows=rows, metric="tpot") < 0.3
    assert median_error(errors, rows=rows[1:], metric="ttft") != 0
