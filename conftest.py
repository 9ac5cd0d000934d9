"""What all tests of the repository start with."""

from verification.compiler import compile_quickly

compile_quickly()
