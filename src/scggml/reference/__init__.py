"""Who comes next? New samples beside a reference cohort. Knows no AnnData and no plot."""
