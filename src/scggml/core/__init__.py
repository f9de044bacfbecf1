"""Numbers only: clouds of cells, optimal transport, ground metrics and their training. Knows no AnnData and no gene."""
