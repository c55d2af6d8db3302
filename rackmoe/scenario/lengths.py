"""How long prompts and answers are, as a scenario says it."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from rackmoe.scenario.arrivals import chosen_names
from rackmoe.schema.documents import Document

__all__ = ["HistogramPair", "Lengths", "LognormalPair"]

Positive = Annotated[int, Field(ge=1)]
Tokens = Annotated[float, Field(ge=1)]
Variation = Annotated[float, Field(ge=0, le=100)]
Bins = Annotated[tuple[tuple[Positive, Annotated[float, Field(ge=0)]], ...], Field(min_length=1)]


class LognormalPair(Document):
    """Log-normal lengths whose logarithms are correlated.

    Attributes
    ----------
    input, output : float
        Mean tokens.
    input_cv, output_cv : float
        Coefficients of variation.
    correlation : float
        Correlation of the logarithms of input and output.
    """

    input: Tokens
    output: Tokens
    input_cv: Variation = 1.0
    output_cv: Variation = 1.0
    correlation: Annotated[float, Field(ge=-1, le=1)] = 0.0


class HistogramPair(Document):
    """Lengths by their frequency, input and output independent.

    Attributes
    ----------
    input, output : tuple of pairs
        ``[tokens, weight]`` each, weights in any unit.
    """

    input: Bins
    output: Bins

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        for name in ("input", "output"):
            if not any(weight > 0 for _, weight in getattr(self, name)):
                raise ValueError(f"{name}: no weight above 0; write for example [[1024, 1]]")
        return self


class Lengths(Document):
    """Prompt and output lengths, for arrivals that bring none; exactly one way.

    Attributes
    ----------
    input, output : int or None
        Nominal tokens.
    spread : tuple of float
        Each length is uniform between these multiples of its nominal value.
    lognormal : LognormalPair or None
        Log-normal lengths.
    histogram : HistogramPair or None
        Lengths by their frequency.
    trace : str or None
        A shipped request trace or a file, whose pairs are drawn at random.
    is_staggered : bool
        Whether the first requests of a closed loop start in the middle of their outputs,
        as in a loop that has been running for long.
    """

    input: Positive | None = None
    output: Positive | None = None
    spread: tuple[float, float] = (1.0, 1.0)
    lognormal: LognormalPair | None = None
    histogram: HistogramPair | None = None
    trace: str | None = None
    is_staggered: bool = False

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        ways = ("lognormal", "histogram", "trace")
        chosen = chosen_names(self, names=ways)
        has_nominal = self.input is not None or self.output is not None
        if len(chosen) + has_nominal != 1:
            what = " and ".join(["input and output"] * has_nominal + chosen) or "none"
            raise ValueError(
                f"{what} given; write exactly one of input and output, {', '.join(ways)}"
            )
        if has_nominal and (self.input is None or self.output is None):
            missing = "output" if self.output is None else "input"
            raise ValueError(f"'{missing}' is missing; write both, for example {missing}: 1024")
        low, high = self.spread
        if not 0 < low <= high:
            raise ValueError(f"spread: [{low}, {high}]; write two factors with 0 < low <= high")
        if self.spread != (1.0, 1.0) and not has_nominal:
            raise ValueError("spread goes with input and output only; remove it")
        return self
