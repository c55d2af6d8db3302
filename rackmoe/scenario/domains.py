"""How much the popularity of experts differs between the domains of requests."""

from typing import Annotated

from pydantic import Field

from rackmoe.schema.documents import Document
from rackmoe.schema.quantities import Fraction

__all__ = ["DomainShares", "Domains", "check_shares"]

_SHARE_TOLERANCE = 1e-6

DomainShares = Annotated[dict[str, Annotated[float, Field(gt=0, le=1)]], Field(min_length=1)]
"""Parts of the requests that are about each of several domains."""


class Domains(Document):
    """Requests of one domain choose the experts that are popular there.

    Attributes
    ----------
    specific_frac : float
        Part of the variance of log popularity that a domain does not share with the others;
        0 makes all alike. 0.3 between related texts (derived: DeepSeek-R1 on GPQA and AIME)
        to 0.75 between unrelated ones (measured: OLMoE on six corpora, 0.72 to 0.76).
    """

    specific_frac: Fraction = 0.75


def check_shares(domain: str | dict[str, float] | None) -> None:
    """Check that the parts of a mix of domains are all there is.

    Parameters
    ----------
    domain : str, dict or None
        What an application says.

    Raises
    ------
    ValueError
        If the parts of a mix do not sum up to 1.
    """
    if isinstance(domain, dict) and abs(sum(domain.values()) - 1) > _SHARE_TOLERANCE:
        raise ValueError(
            f"domain: shares sum up to {sum(domain.values()):g}; write shares of 1 in all"
        )
