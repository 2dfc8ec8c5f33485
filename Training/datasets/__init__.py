"""Published data sets in their own layouts: where the files lie, what the numbers mean, which split a case is in."""
