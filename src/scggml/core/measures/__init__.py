"""Clouds of cells as measures: ragged arrays, points on disk, moments, products of sparse rows, threads."""
