"""The conventions that are tried, and the mistakes that are known by name, by method."""
