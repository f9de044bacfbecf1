"""Does it hold on held-out samples? Splits, methods, scores, intervals, permutations, tuning. Knows no AnnData."""
