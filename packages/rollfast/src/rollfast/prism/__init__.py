"""PRISM: momentum shaped by the polar factor of itself stacked on its innovation."""
