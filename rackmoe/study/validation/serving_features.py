"""What a simulated row tells a fit: its steps, so that host times can be changed afterwards."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from rackmoe.engine.run import EngineRun
from rackmoe.records import Pool
from rackmoe.scenario.resolved import Scenario

__all__ = ["StepFeatures", "step_features"]

# Steps of each kind that are kept; a run has thousands, of few sizes.
_N_KEPT: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFeatures:
    """The steps that tokens and first tokens of a row wait for.

    Attributes
    ----------
    decode_busy_s, mixed_busy_s, prompt_busy_s : tuple of float
        GPU time of steps that decode, that hold prompts where tokens are decoded, and of
        those that prompts run through. [s]
    decode_sequences, mixed_sequences : tuple of float
        Sequences of an attention group in the same steps.
    mixed_share : float
        Share of the waiting of decoding sequences that is for steps with prompts, by count.
    prompt_steps : float
        Steps that a prompt takes.
    tokens_per_step : float
        Tokens that a sequence gets in a step.
    n_layers : int
        Layers of the model.
    """

    decode_busy_s: tuple[float, ...]
    mixed_busy_s: tuple[float, ...]
    prompt_busy_s: tuple[float, ...]
    decode_sequences: tuple[float, ...]
    mixed_sequences: tuple[float, ...]
    mixed_share: float
    prompt_steps: float
    tokens_per_step: float
    n_layers: int

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "StepFeatures":
        """Return features that were written as JSON.

        Parameters
        ----------
        data : dict
            Values by name; lists stand for tuples.

        Returns
        -------
        StepFeatures
            The features.
        """
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in data.items()
        }
        return cls(**values)


def step_features(scenario: Scenario, *, run: EngineRun) -> StepFeatures:
    """Return the features of a run.

    Parameters
    ----------
    scenario : Scenario
        What was simulated.
    run : EngineRun
        Its records.

    Returns
    -------
    StepFeatures
        A sample of its steps.
    """
    steps = run.records.to_frame("steps")
    pools = scenario.document.deployment.pools
    groups = {plan.role.name.lower(): plan.pool.attention_dp for plan in run.plans}
    decode_pool = "decode" if "decode" in pools else "aggregated"
    prompt_pool = "prefill" if "prefill" in pools else "aggregated"
    is_decode_pool = steps["pool"].astype(str) == _label(decode_pool)
    has_prompts = steps["n_prefill_tokens"] > 0
    decode = steps[is_decode_pool & ~has_prompts]
    mixed = steps[is_decode_pool & has_prompts]
    prompts = steps[(steps["pool"].astype(str) == _label(prompt_pool)) & has_prompts]
    waiting = float(decode["n_sequences"].mean()) if len(decode) else 0.0
    # a step of prompts alone keeps everyone waiting who decodes around it
    mixed_weight = float(mixed["n_sequences"].where(mixed["n_sequences"] > 0, waiting).sum())
    decode_weight = float(decode["n_sequences"].sum())
    n_tokens = float(steps["n_decode_tokens"].sum())
    n_sequences = float(steps["n_sequences"].sum())
    n_requests = max(1, len(run.records.to_frame("requests")))
    per_prompt = prompts["n_prefill_tokens"].sum() / n_requests
    largest = float(prompts["n_prefill_tokens"].max()) if len(prompts) else 1.0
    return StepFeatures(
        decode_busy_s=_sample(decode, "gpu_busy_s"),
        mixed_busy_s=_sample(mixed, "gpu_busy_s"),
        prompt_busy_s=_sample(prompts, "gpu_busy_s"),
        decode_sequences=_sample(decode, "n_sequences", groups[decode_pool]),
        mixed_sequences=_sample(mixed, "n_sequences", groups[decode_pool]),
        mixed_share=mixed_weight / max(mixed_weight + decode_weight, 1.0),
        prompt_steps=float(np.ceil(per_prompt / (largest / groups[prompt_pool]))),
        tokens_per_step=n_tokens / n_sequences if n_sequences else 1.0,
        n_layers=scenario.arch.n_layers,
    )


def _label(name: str) -> str:
    return Pool[name.upper()].name.lower()


def _sample(steps: pd.DataFrame, column: str, divisor: int = 1) -> tuple[float, ...]:
    """Return the column of evenly spaced rows."""
    if not len(steps):
        return ()
    at = np.unique(np.linspace(0, len(steps) - 1, _N_KEPT).astype(int))
    return tuple((steps[column].to_numpy(np.float64)[at] / divisor).tolist())
