"""What carries a distance or a metric: cell types, genes, classes. Knows no AnnData and no plot."""
