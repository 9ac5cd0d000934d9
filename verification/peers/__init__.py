"""Comparison with other people's packages, where installed: `python -m verification.peers`."""
