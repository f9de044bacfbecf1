"""Who comes next: new samples beside a reference cohort. Knows no AnnData and no plot."""
