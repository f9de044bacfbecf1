"""What carries it? Parts of distances and metrics by cell types, genes and classes. Knows no AnnData and no plot."""
