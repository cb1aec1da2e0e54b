"""Least squares with no coefficient below 0, over a few terms."""

from collections.abc import Sequence


def nonnegative_fit(moments: Sequence[Sequence[float]], xy: Sequence[float]) -> list[float]:
    """Fit a line by least squares with no coefficient below 0.

    Terms whose coefficient would be negative are left out one by one, the most negative first.

    Args:
        moments: the normal equations' square matrix: for each two terms, the weighted sum of their products.
        xy: for each term, the weighted sum of its products with the value to explain.

    Returns:
        The coefficient of each term; 0 for terms that were left out.
    """
    terms = list(range(len(xy)))
    while terms:
        solution = _solve([[moments[i][j] for j in terms] for i in terms], [xy[i] for i in terms])
        worst = min(range(len(terms)), key=solution.__getitem__)
        if solution[worst] >= 0.0:
            result = [0.0] * len(xy)
            for term, value in zip(terms, solution, strict=True):
                result[term] = value
            return result
        del terms[worst]
    return [0.0] * len(xy)


def _solve(matrix: list[list[float]], right: list[float]) -> list[float]:
    """Solve a small symmetric positive semidefinite system by elimination; terms without data come out as 0."""
    size = len(right)
    scale = [matrix[i][i] for i in range(size)]
    for i in range(size):
        pivot = matrix[i][i]
        if pivot <= 1e-12 * scale[i]:
            matrix[i] = [1.0 if j == i else 0.0 for j in range(size)]
            right[i] = 0.0
            continue
        for k in range(i + 1, size):
            factor = matrix[k][i] / pivot
            for j in range(i, size):
                matrix[k][j] -= factor * matrix[i][j]
            right[k] -= factor * right[i]
    for i in reversed(range(size)):
        known = sum(matrix[i][j] * right[j] for j in range(i + 1, size))
        right[i] = (right[i] - known) / matrix[i][i]
    return right
