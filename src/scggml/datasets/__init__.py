"""Cohorts to try the methods on: the paper's synthetic and public ones, and simulated counts with a known truth."""

from ._breast_cohort import breast_cohort
from ._iga_nephropathy_cohort import iga_nephropathy_cohort
from ._kidney_cohort import kidney_cohort
from ._myocardial_infarction_cohort import myocardial_infarction_cohort
from ._simulated_cohort import simulated_cohort
from ._synthetic_cohort import synthetic_cohort

__all__ = [
    "breast_cohort",
    "iga_nephropathy_cohort",
    "kidney_cohort",
    "myocardial_infarction_cohort",
    "simulated_cohort",
    "synthetic_cohort",
]
