"""Does it hold on held-out samples? Splits, methods, scores, intervals, permutations, tuning, power. No AnnData."""
