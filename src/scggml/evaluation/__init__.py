"""Does it hold on samples that were held out? Splits, methods side by side, scores, permutations, tuning. Knows no AnnData and no plot."""
