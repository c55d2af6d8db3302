"""How often the scheduler of a benchmark recipe looks for new prompts."""

from typing import Final

__all__ = ["recipe_intake_steps"]

# SGLang's --scheduler-recv-interval in the recipes for DeepSeek-R1 on B200 (InferenceX,
# benchmarks/dsr1_fp8_b200.sh and dsr1_fp4_b200.sh): 10, and 30 from 16 users on.
_FEW_STEPS: Final = 10
_MANY_STEPS: Final = 30
_MANY_USERS: Final = 16
_RECIPES: Final = frozenset({("sglang", "hgx_b200", "agg")})


def recipe_intake_steps(*, engine: str, hardware: str, mode: str, n_users: int) -> int | None:
    """Return the steps between two looks at new prompts.

    Parameters
    ----------
    engine, hardware, mode : str
        Cells of a row.
    n_users : int
        Users of its closed loop.

    Returns
    -------
    int or None
        None where the recipes leave it to the engine.
    """
    if (engine, hardware, mode) not in _RECIPES:
        return None
    return _MANY_STEPS if n_users >= _MANY_USERS else _FEW_STEPS
