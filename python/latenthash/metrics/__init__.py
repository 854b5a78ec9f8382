"""Measures of retrieval: pure functions, each with its formula and source.

`ranks` looks at the hits in rank order, `ties` at what lies at each Hamming distance,
`answers` at answers as such. A function gives one value a query, (Q,) float64; those
named `map_` give the mean over the queries. docs/measures.md tells them apart.
"""

from .answers import accuracy, recall_of_exact, time_saved
from .intervals import bootstrap_intervals
from .ranks import (
    Relevance,
    average_precision_all,
    average_precision_at_k,
    f_beta_at,
    hits_at,
    map_all,
    map_at_k,
    precision_at,
    precision_by_rank,
    precision_recall_curve,
    recall_at,
)
from .ties import (
    map_tie_aware,
    precision_within,
    radius_curve,
    recall_within,
    tie_aware_average_precision,
    tie_aware_precision_at,
)

__all__ = [
    "Relevance",
    "accuracy",
    "average_precision_all",
    "average_precision_at_k",
    "bootstrap_intervals",
    "f_beta_at",
    "hits_at",
    "map_all",
    "map_at_k",
    "map_tie_aware",
    "precision_at",
    "precision_by_rank",
    "precision_recall_curve",
    "precision_within",
    "radius_curve",
    "recall_at",
    "recall_of_exact",
    "recall_within",
    "tie_aware_average_precision",
    "tie_aware_precision_at",
    "time_saved",
]
