"""How the mix of texts, and with it the popularity of experts, changes during a run."""

from typing import Annotated

from pydantic import Field

from rackmoe.schema.documents import Document
from rackmoe.schema.quantities import Seconds

__all__ = ["Drift"]


class Drift(Document):
    """Kinds of text whose parts of the traffic wander.

    Attributes
    ----------
    domains : int
        Kinds of text.
    domain_sd : float
        Spread of the log popularity of an expert between them: 0.3 between related texts
        to 1.0 between unrelated ones (assumed, from the popularity shared by OLMoE's domains
        and by DeepSeek-R1 on GPQA and AIME).
    mix_sd : float
        Spread of the log weights of the domains over time.
    memory_s : float
        Time after which the mix has forgotten (1/e) what it was. [s]
    """

    domains: Annotated[int, Field(ge=2, le=64)] = 4
    domain_sd: Annotated[float, Field(ge=0, le=4)] = 0.7
    mix_sd: Annotated[float, Field(ge=0, le=8)] = 1.0
    memory_s: Annotated[Seconds, Field(gt=0)]
