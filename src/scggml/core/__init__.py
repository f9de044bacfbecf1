"""Numbers only: clouds of cells, optimal transport, ground metrics and their training. Knows no AnnData, no gene and no plot."""
