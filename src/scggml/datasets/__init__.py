"""Cohorts to try the methods on: the paper's synthetic ones and simulated single-cell counts with a known truth."""

from ._simulated_cohort import simulated_cohort
from ._synthetic_cohort import synthetic_cohort

__all__ = ["simulated_cohort", "synthetic_cohort"]
