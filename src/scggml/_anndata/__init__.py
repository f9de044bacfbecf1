"""All that is read from and written to an AnnData, apart from the one line of a function that stores its result."""
