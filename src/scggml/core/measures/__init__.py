"""Clouds of cells as measures: arrays, points on disk, moments, sparse products; and the machine: threads, memory."""
