"""The rules by which PSGD moves one factor, in fifty digits.

Each is written from its coordinate: dQ = -mu times E Q, Q E and so on, with E the relative gradient
of c(P) = E[h^H P h + v^H P^-1 v], and the way back to the group that the released code takes.
"""

import mpmath as mp

from reference.tests.high_precision import of_spectrum, spectral_norm, upper

# What E is made of: the names are those of `fitting.terms`.
BASES = {
    "EQ": "whitened",
    "QEP": "factor",
    "QEQ": "normal",
    "Q0.5EQ1.5": "normal",
    "QUAD": "normal",
    "QUAD4P": "direct",
    "PRO4P": "direct",
    "NS": "normal",
    "EXP": "normal",
    "TAYLOR2": "normal",
    "HYPER": "normal",
}


def inner(left: mp.matrix, right: mp.matrix) -> mp.mpf:
    """Return Re tr(A B)."""
    product = left * right
    return sum(mp.re(product[i, i]) for i in range(product.rows))


def turned(q: mp.matrix, order: int) -> mp.matrix:
    """Return Q after one step of a rotation towards a positive definite matrix.

    U = I + a R + (a R)^2 / 2, and with the third order + (a R)^3 / 8; a maximises Re tr(U Q) and is
    at most 1/8, or 1/3. It is found as a root of the derivative t1 + a t2 (+ 3/8 a^2 t3).
    """
    skew = q.H - q
    norm = spectral_norm(skew)
    if norm == 0:
        return q
    r, one = skew / norm, mp.eye(q.rows)
    t1, t2, t3 = inner(r, q), inner(r * r, q), inner(r * r * r, q)
    if order == 2:
        a = min(-t1 / t2, mp.mpf(1) / 8) if t2 < 0 else mp.mpf(1) / 8
        return (one + a * r + (a * r) ** 2 / 2) * q
    if not (t1 > 0 and t3 < 0):
        return q
    # Of opposite signs, since their product 8 t1 / (3 t3) is negative.
    a = max(mp.polyroots([t1, t2, mp.mpf(3) / 8 * t3], asc=True))
    a = min(a, mp.mpf(1) / 3)
    return (one + a * r + (a * r) ** 2 / 2 + (a * r) ** 3 / 8) * q


def hermitian(matrix: mp.matrix) -> mp.matrix:
    """Return (A + A^H) / 2."""
    return (matrix + matrix.H) / 2


def moved(mode: str, q: mp.matrix, e: mp.matrix, mu: mp.mpf) -> mp.matrix:
    """Return a dense factor after the step of a geometry."""
    one = mp.eye(q.rows)
    if mode == "EQ":
        return (one - mu * upper(e)) * q
    if mode == "QEQ":
        return q * (one - mu * e)
    left = (one - mu * e) * q
    if mode == "QEP":
        return left
    if mode == "Q0.5EQ1.5":
        return turned(left, 2)
    if mode == "PRO4P":
        for _ in range(10):
            left = turned(left, 3)
            if largest(left - left.H) < largest(left) / 1000:
                break
        return left
    if mode == "NS":
        return of_spectrum(left.H * left, mp.sqrt)
    sides = {
        "QUAD": one - mu / 2 * e,
        "QUAD4P": one - mu * e,
        "EXP": of_spectrum(e, lambda value: mp.exp(-mu / 2 * value)),
        "TAYLOR2": of_spectrum(e, lambda x: 1 - mu * x / 2 + (mu * x / 2) ** 2 / 2),
        "HYPER": of_spectrum(e, lambda x: (1 - mu * x / 4) / (1 + mu * x / 4)),
    }
    return hermitian(sides[mode] * q * sides[mode])


def moved_diagonal(mode: str, q: mp.matrix, e: mp.matrix, mu: mp.mpf) -> mp.matrix:
    """Return a diagonal factor, a column, after the step of a geometry."""
    change = {
        "QUAD": lambda x: (1 - mu * x / 2) ** 2,
        "QUAD4P": lambda x: (1 - mu * x) ** 2,
        "EXP": lambda x: mp.exp(-mu * x),
        "TAYLOR2": lambda x: (1 - mu * x / 2 + (mu * x / 2) ** 2 / 2) ** 2,
        "HYPER": lambda x: ((1 - mu * x / 4) / (1 + mu * x / 4)) ** 2,
    }.get(mode, lambda x: 1 - mu * x)
    return mp.matrix([entry * change(x) for entry, x in zip(q, e, strict=True)])


def largest(matrix: mp.matrix) -> mp.mpf:
    """Return the largest modulus of an entry."""
    return max(abs(entry) for entry in matrix)
