"""Which part of a run counts: the measurement window after warm-up."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rackmoe.errors import ConfigError

__all__ = ["Window", "WindowRule", "arrived_within", "measurement_window", "overlap_s"]


class WindowRule(StrEnum):
    """Where the window ends."""

    STEADY = "steady"
    """With the last arrival, so that the run's tail with its falling load does not count."""

    RUN = "run"
    """With the last token, as benchmark clients measure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A half-open interval of simulated time.

    Two rules decide what counts. Latencies are those of the requests that
    *arrive* within the window and are done when the run ends. Rates count
    *events* within the window, whoever they belong to: tokens as they come out,
    requests as they are done.

    Parameters
    ----------
    start_s : float
        First instant inside. [s]
    end_s : float
        First instant after. [s]
    """

    start_s: float
    end_s: float

    def __post_init__(self) -> None:
        if not self.start_s < self.end_s < np.inf:
            raise ConfigError(
                f"window: {self.start_s} s to {self.end_s} s; expected an end after the start;"
                " raise the number of requests or shorten the warm-up"
            )

    @property
    def duration_s(self) -> float:
        """Length of the window. [s]."""
        return self.end_s - self.start_s


def measurement_window(
    requests: pd.DataFrame, *, n_warmup: int = 0, rule: WindowRule = WindowRule.STEADY
) -> Window:
    """Return the window of a run.

    It opens when the first request after the warm-up arrives.

    Parameters
    ----------
    requests : DataFrame
        The requests of a run (`REQUEST_COLUMNS`).
    n_warmup : int, optional
        Requests that do not count, in the order of arrival.
    rule : WindowRule, optional
        Where the window ends.

    Returns
    -------
    Window
        The window.

    Raises
    ------
    ConfigError
        If no request is left or the window has no length.
    """
    arrival_s = np.sort(requests["arrival_s"].to_numpy(np.float64))
    if not 0 <= n_warmup < arrival_s.size:
        raise ConfigError(
            f"workload.warmup: {n_warmup} of {arrival_s.size} requests; expected to leave some to"
            " measure; raise the number of requests"
        )
    end_s = float(arrival_s[-1])
    if rule == WindowRule.RUN:
        # half-open, so the first instant after the last token
        last_s = np.nanmax(np.append(requests["last_token_s"].to_numpy(np.float64), end_s))
        end_s = float(np.nextafter(last_s, np.inf))
    return Window(start_s=float(arrival_s[n_warmup]), end_s=end_s)


def arrived_within(requests: pd.DataFrame, *, window: Window) -> pd.DataFrame:
    """Return the requests that arrive within a window.

    Parameters
    ----------
    requests : DataFrame
        The requests of a run.
    window : Window
        The window.

    Returns
    -------
    DataFrame
        These rows, whatever became of them.
    """
    arrival_s = requests["arrival_s"]
    return requests[(arrival_s >= window.start_s) & (arrival_s < window.end_s)]


def overlap_s(
    start_s: NDArray[np.float64], *, end_s: NDArray[np.float64], window: Window
) -> NDArray[np.float64]:
    """Return how long intervals lie within a window.

    Parameters
    ----------
    start_s, end_s : ndarray of shape (n,)
        Ends of the intervals; an interval that never began is NaN. [s]
    window : Window
        The window.

    Returns
    -------
    ndarray of shape (n,)
        Common length, 0 where there is none. [s]
    """
    common_s = np.minimum(end_s, window.end_s) - np.maximum(start_s, window.start_s)
    return np.where(common_s > 0, common_s, 0.0)
