"""Trees of leaves: grouping, reshaping and dtypes."""
