"""Small random changes of the package, and how many of them the checks object to.

`python -m verification.mutation --family psgd --count 100 --seed 0`. A mutant that survives is a
hole in the checks, or computes the same: `equivalents.toml` says which, and why.
"""
