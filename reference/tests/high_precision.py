"""Matrices of fifty digits, and the distance of a double from them."""

from collections.abc import Callable

import mpmath as mp
import numpy as np

mp.mp.dps = 50
EPS = mp.mpf(2) ** -52


def wide(array) -> mp.matrix:
    """Return a matrix of doubles, or a vector as a column, exactly."""
    array = np.asarray(array)
    number = mp.mpc if np.iscomplexobj(array) else mp.mpf
    rows = array.reshape(len(array), -1)
    return mp.matrix([[number(entry) for entry in row.tolist()] for row in rows])


def error(actual, expected: mp.matrix) -> float:
    """Return |A - X|_F / |X|_F in eps, for doubles A, whose shape may be that of a vector."""
    gap = wide(np.reshape(actual, (expected.rows, expected.cols))) - expected
    return float(frobenius(gap) / frobenius(expected) / EPS)


def frobenius(matrix: mp.matrix) -> mp.mpf:
    """Return the root of the sum of all squares."""
    return mp.sqrt(sum(abs(entry) ** 2 for entry in matrix))


def of_spectrum(matrix: mp.matrix, function: Callable) -> mp.matrix:
    """Return V f(D) V^H of a Hermitian matrix V D V^H."""
    values, vectors = mp.eigh((matrix + matrix.H) / 2)
    return vectors * mp.diag([function(value) for value in values]) * vectors.H


def spectral_norm(matrix: mp.matrix) -> mp.mpf:
    """Return the largest singular value."""
    return mp.sqrt(max(mp.eigh(matrix.H * matrix, eigvals_only=True)))


def condition(matrix: mp.matrix) -> mp.mpf:
    """Return the quotient of the largest and the smallest singular value."""
    values = mp.eigh(matrix.H * matrix, eigvals_only=True)
    return mp.sqrt(max(values) / min(values))


def kronecker(left: mp.matrix, right: mp.matrix) -> mp.matrix:
    """Return the Kronecker product."""
    product = mp.zeros(left.rows * right.rows, left.cols * right.cols)
    for i in range(product.rows):
        for j in range(product.cols):
            inside = right[i % right.rows, j % right.cols]
            product[i, j] = left[i // right.rows, j // right.cols] * inside
    return product


def upper(matrix: mp.matrix) -> mp.matrix:
    """Return the upper triangle, with the diagonal."""
    kept = matrix.copy()
    for i in range(matrix.rows):
        for j in range(i):
            kept[i, j] = 0
    return kept
