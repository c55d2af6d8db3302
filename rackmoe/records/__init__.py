"""What a run writes down: the columns, units and types of every table."""

from rackmoe.records.columns import (
    BREAKDOWN_COLUMNS,
    EXPERT_COLUMNS,
    LINK_COLUMNS,
    POWER_COLUMNS,
    REBALANCE_COLUMNS,
    REPLICA_COLUMNS,
    REQUEST_COLUMNS,
    STEP_COLUMNS,
    TABLES,
    Column,
    Part,
    Pool,
    ServiceState,
    State,
    Tier,
)
from rackmoe.records.tables import Records, Table

__all__ = [
    "BREAKDOWN_COLUMNS",
    "EXPERT_COLUMNS",
    "LINK_COLUMNS",
    "POWER_COLUMNS",
    "REBALANCE_COLUMNS",
    "REPLICA_COLUMNS",
    "REQUEST_COLUMNS",
    "STEP_COLUMNS",
    "TABLES",
    "Column",
    "Part",
    "Pool",
    "Records",
    "ServiceState",
    "State",
    "Table",
    "Tier",
]
