"""Other people's packages under the same probes as ours: `python -m verification.peers`."""
