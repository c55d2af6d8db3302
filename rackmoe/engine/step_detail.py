"""How closely the exchanges of the next step of a replica are looked at."""

from rackmoe.network.exchange_tiers import ExchangeTier

__all__ = ["StepDetail"]

_CLOSED = ("plan", "auto")

_MOST_RANKS = 32
"""Groups of more ranks keep the closed form when escalated, on shares that are solved: within
5 % of events on 8 and 16 ranks, at no more cost (kind: assumed; bounds the cost)."""


class StepDetail:
    """Chooses the tier of each step that a replica plans.

    Parameters
    ----------
    fidelity : str
        ``plan``, ``phase``, ``flow`` or ``packet`` for all steps; ``auto`` for closed forms
        until someone sets `is_escalated`.
    audit_every : int
        Steps for each audited one, the first one included; 0 for none.
    n_ranks : int
        Ranks of the replica.

    Attributes
    ----------
    is_escalated : bool
        Whether closed forms are known to fall short at present; ``auto`` then shares
        links between the pairs of ranks.
    is_audited : bool
        Whether the step that was chosen last is to be compared with packets.
    """

    def __init__(self, fidelity: str = "plan", *, audit_every: int = 0, n_ranks: int = 1) -> None:
        self._is_auto = fidelity == "auto"
        self._tier = ExchangeTier.PLAN if fidelity in _CLOSED else ExchangeTier(fidelity)
        self._audit_every = audit_every
        self._has_few_ranks = n_ranks <= _MOST_RANKS
        self._n_steps = 0
        self.is_escalated = False
        self.is_audited = False

    @property
    def may_escalate(self) -> bool:
        """Whether closed forms are left where they are known to fall short."""
        return self._is_auto

    @property
    def solves_shares(self) -> bool:
        """Whether what other traffic leaves of a port is solved, not read off a closed form."""
        return self._is_auto or self._tier in {ExchangeTier.FLOW, ExchangeTier.PACKET}

    def next_tier(self) -> ExchangeTier | None:
        """Return the tier of the next step; None for closed forms that nobody asks about."""
        if self._audit_every:
            self.is_audited = self._n_steps % self._audit_every == 0
            self._n_steps += 1
        if self.is_escalated and self._is_auto and self._has_few_ranks:
            return ExchangeTier.FLOW
        if self._tier is ExchangeTier.PLAN and not self.is_audited:
            return None
        return self._tier
