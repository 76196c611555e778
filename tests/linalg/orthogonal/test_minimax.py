"""The generator gives the published schedules, the published errors, and the digits that the lists got wrong."""

import decimal

import numpy as np
import pytest

from optax_muon import linalg
from optax_muon.linalg import minimax_coefficients

# performance.md A2: greedy minimax schedules computed there by another program.
CUBIC_3 = [
    (5.180102143361589, -5.174922046393149), (2.5840279040023137, -0.6476801541361508),
    (2.5620590660360714, -0.6448013544200857), (2.5076207458734223, -0.6376511088551622),
    (2.3820795186987507, -0.6210681982018555), (2.1374993505711055, -0.5883564273823128),
    (1.8030516168731485, -0.5426316116658276),
]  # fmt: skip
QUINTIC_2 = [
    (8.093368512548254, -23.62043032882427, 17.446151749836247),
    (3.63658555425904, -2.721926746608908, 0.5365462883273613),
    (2.661299985777101, -1.9771545218846256, 0.4526164069964008),
    (1.9561716388844537, -1.3375077459440725, 0.38385270132987975),
    (1.87516556273676, -1.2501839462942395, 0.37501839510597884),
]
QUINTIC_3E3 = [
    (8.383673612923165, -24.765905857974534, 18.357081892887596),
    (4.043420433700426, -3.011404993841532, 0.5695121503191821),
    (3.5055706172438947, -2.6266538356181015, 0.5257194048203222),
    (2.4901159394442542, -1.8342750827526706, 0.43683470689542464),
    (1.9177762487314522, -1.2967501911246484, 0.37970487539858694),
]
CUSHIONED_4 = [
    (8.350950292335598, -23.949112121173577, 17.597326733832695),
    (4.17168501311171, -2.9934209190738024, 0.5503358840776276),
    (4.154228760355651, -2.9888094566666195, 0.5509469855646755),
    (4.083359113071905, -2.970428745851806, 0.5536361810320368),
    (3.7857593807528698, -2.8291151782912576, 0.5487429546735172),
    (2.9064642751956153, -2.1737136137330433, 0.4745542990578912),
]

LISTS = {
    # The seventh row of both lists is off by 2e-11: see test_the_seventh_row below.
    "Polar Express": (linalg.POLAR_EXPRESS_PAPER_2025.rows[:6], {"lower": 1e-3, "cushion": 0.02407327424182761}),
    "Polar Express, limit": (linalg.POLAR_EXPRESS_PAPER_2025.rows, {"lower": 1e-3, "cushion": 0.02407327424182761}),
    "modded-nanogpt": (linalg.POLAR_EXPRESS_NANOGPT_2025.rows, {"lower": 1e-3, "cushion": 0.02, "safety": 0.02}),
    "CANS": (linalg.CANS_2025.rows[:6], {"lower": 1e-3}),
    "cubic 1e-3": (CUBIC_3, {"lower": 1e-3, "degree": 3}),
    "quintic 1e-2": (QUINTIC_2[:4], {"lower": 1e-2}),
    "quintic 3e-3": (QUINTIC_3E3, {"lower": 3e-3}),
    "quintic 1e-4, cushion": (CUSHIONED_4, {"lower": 1e-4, "cushion": 0.02}),
}


@pytest.mark.parametrize("name", LISTS)
def test_published_schedules(name):
    rows, options = LISTS[name]
    ours = minimax_coefficients(steps=len(rows), **options)
    keep = [i for i in range(len(rows)) if not (name == "Polar Express, limit" and i == 6)]
    assert ours.dtype == np.float64
    np.testing.assert_allclose(ours[keep], np.array(rows)[keep], rtol=0, atol=1e-12)


@pytest.mark.parametrize("table", [linalg.POLAR_EXPRESS_PAPER_2025, linalg.CANS_2025], ids=lambda t: t.name)
def test_the_seventh_row(table):
    """There the interval is 1e-3 wide, and float64 Remez in monomials, as published, loses five digits; ours none."""
    cushion = {"CANS_2025": 0.0}.get(table.name, 0.02407327424182761)
    ours = minimax_coefficients(1e-3, 7, cushion=cushion)[6]
    exact = remez_in_decimals(1e-3, 7, cushion)
    np.testing.assert_allclose(ours, exact, rtol=0, atol=1e-15)
    assert 1e-11 < np.abs(np.array(table.rows[6]) - exact).max() < 3e-11


def remez_in_decimals(low, steps, cushion):
    """The last row of a quintic schedule, with 60 digits and the plainest algorithm."""
    with decimal.localcontext() as context:
        context.prec = 60
        low, high, cushion = decimal.Decimal(low), decimal.Decimal(1), decimal.Decimal(cushion)
        for _ in range(steps):
            left = max(low, cushion * high)
            x = [left, (3 * left + high) / 4, (left + 3 * high) / 4, high]
            for _ in range(12):
                a, b, c, _ = solve([[s, s**3, s**5, (-1) ** j] for j, s in enumerate(x)])
                root = (9 * b * b - 20 * a * c).sqrt()
                x[1:3] = [((-3 * b - root) / (10 * c)).sqrt(), ((-3 * b + root) / (10 * c)).sqrt()]
            if cushion * high > low:
                scale = 2 / (a * (low + high) + b * (low**3 + high**3) + c * (low**5 + high**5))
                a, b, c = a * scale, b * scale, c * scale
            low = a * low + b * low**3 + c * low**5
            high = 2 - low
        return np.array([float(a), float(b), float(c)])


def solve(rows):
    """Gauss-Jordan with a right-hand side of ones."""
    rows = [[*map(decimal.Decimal, row), decimal.Decimal(1)] for row in rows]
    for i in range(len(rows)):
        pivot = max(range(i, len(rows)), key=lambda k: abs(rows[k][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        for k in range(len(rows)):
            if k != i:
                factor = rows[k][i] / rows[i][i]
                rows[k] = [x - factor * y for x, y in zip(rows[k], rows[i], strict=True)]
    return [row[-1] / row[i] for i, row in enumerate(rows)]


@pytest.mark.parametrize("lower", [1e-6, 0.2, 0.999])
def test_cubic_has_a_closed_form(lower):
    a = (3 / (1 + lower + lower**2)) ** 0.5
    b = 4 / (2 + lower * (1 + lower) * a**3)
    np.testing.assert_allclose(minimax_coefficients(lower, 1, 3), [[1.5 * a * b, -(a**3) * b / 2]], rtol=1e-12)


@pytest.mark.parametrize(
    ("degree", "limit"), [(3, [1.5, -0.5]), (5, [1.875, -1.25, 0.375]), (7, [2.1875, -2.1875, 1.3125, -0.3125])]
)
def test_a_narrow_interval_gives_the_classic_polynomial(degree, limit):
    np.testing.assert_allclose(minimax_coefficients(1 - 1e-9, 1, degree), [limit], rtol=1e-8)


# performance.md A3: lower bound, degree, steps, error to two digits.
ERRORS = [
    (3e-2, 5, 3, 3.6e-2), (3e-2, 5, 4, 2.9e-5), (3e-2, 3, 4, 0.12), (3e-2, 3, 5, 1.1e-2), (1e-2, 5, 3, 0.27),
    (1e-2, 5, 4, 1.25e-2), (1e-2, 5, 5, 1.2e-6), (1e-2, 3, 5, 0.156), (1e-2, 3, 6, 1.85e-2), (1e-2, 3, 7, 2.5e-4),
    (3e-3, 5, 4, 0.198), (3e-3, 5, 5, 4.9e-3), (3e-3, 3, 6, 0.223), (3e-3, 3, 7, 3.8e-2), (3e-3, 3, 8, 1.1e-3),
    (1e-3, 5, 4, 0.546), (1e-3, 5, 5, 0.113), (1e-3, 5, 6, 9.2e-4), (1e-3, 5, 7, 4.8e-10), (1e-3, 3, 7, 0.265),
    (1e-3, 3, 8, 5.4e-2), (1e-3, 3, 9, 2.2e-3), (1e-4, 5, 5, 0.764), (1e-4, 5, 6, 0.353), (1e-4, 5, 7, 2.9e-2),
    (1e-4, 5, 8, 1.5e-5), (1e-4, 3, 9, 0.39), (1e-4, 3, 10, 0.12), (1e-5, 5, 8, 0.174), (1e-5, 5, 9, 3.3e-3),
    (1e-5, 5, 10, 2.3e-8),
]  # fmt: skip


def compose(rows, s):
    for row in rows:
        s = s * np.polynomial.polynomial.polyval(s * s, row)
    return s


@pytest.mark.parametrize(("lower", "degree", "steps", "published"), ERRORS)
def test_minimax_errors(lower, degree, steps, published):
    s = np.geomspace(lower, 1, 40_001)
    ours = np.abs(1 - compose(minimax_coefficients(lower, steps, degree), s)).max()
    assert ours == pytest.approx(published, rel=0.05)


@pytest.mark.parametrize("degree", [3, 5, 7])
@pytest.mark.parametrize("lower", [1e-8, 1e-3, 0.5, 0.9])
def test_first_step_equioscillates(lower, degree):
    s = np.geomspace(lower, 1, 200_001)
    wrong = 1 - compose(minimax_coefficients(lower, 1, degree), s)
    extreme = np.abs(wrong).max()
    peaks = np.flatnonzero(np.abs(wrong) > extreme * (1 - 1e-6) - 1e-15)
    turns = np.count_nonzero(np.diff(np.sign(wrong[peaks])))
    # Chebyshev's theorem: (degree + 1) / 2 coefficients are optimal if the error peaks once more with turning signs.
    assert turns == (degree + 1) // 2


def test_safety_shrinks_the_argument_of_all_steps_but_the_last():
    plain = minimax_coefficients(1e-2, 1, cushion=0.05)
    np.testing.assert_array_equal(plain, minimax_coefficients(1e-2, 1, cushion=0.05, safety=0.1))
    first = minimax_coefficients(1e-2, 2, cushion=0.05, safety=0.1)[0]
    np.testing.assert_allclose(first * 1.1 ** np.array([1, 3, 5]), plain[0], rtol=1e-14)


BAD = [
    ("lower", {"lower": 0.0}), ("lower", {"lower": 1.0}), ("lower", {"lower": float("nan")}), ("steps", {"steps": 0}),
    ("steps", {"steps": 1.5}), ("degree", {"degree": 4}), ("degree", {"degree": 9}), ("cushion", {"cushion": -0.1}),
    ("cushion", {"cushion": 1.0}), ("safety", {"safety": 1.02}), ("safety", {"safety": -0.1}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options"), BAD)
def test_bad_options_name_the_argument_and_the_value(name, options):
    with pytest.raises(ValueError, match=f"{name}.*{next(iter(options.values()))}"):
        minimax_coefficients(**{"lower": 1e-3, "steps": 5} | options)
