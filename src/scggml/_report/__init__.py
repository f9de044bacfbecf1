"""A report on patients as one file, for readers without Python."""
