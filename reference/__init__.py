"""The methods as their papers write them, in NumPy and SciPy.

Every function here has the dotted name, below this package, of the production function that it
judges. It forms the decomposition, the stacked matrix or the third sequence that the paper writes,
even where that is wasteful, and it imports neither JAX nor the production package.

Results have the dtype of the arguments: float64 is the reference proper, and the same code in
float32 shows what that precision costs. NumPy computes bfloat16 arrays with Python numbers in
float32; each function then rounds its result back to bfloat16.
"""

__all__: list[str] = []
