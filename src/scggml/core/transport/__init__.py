"""Optimal transport between measures: solvers, plans, distances, sketches, barycenters."""
