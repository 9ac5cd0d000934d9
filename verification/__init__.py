"""Cross-checks of the production kernels and optimizers against the float64 reference."""
