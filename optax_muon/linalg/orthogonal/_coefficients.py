"""Published coefficient tables of the Newton-Schulz family, named by origin and year."""

import dataclasses

from optax_muon.linalg.orthogonal._gram_normalizer import AOL
from optax_muon.linalg.orthogonal._table import Coefficients

# Tuned for slope at zero, not for convergence: no step has a fixed point at 1, and the image is 0.68 to 1.13.
JORDAN_2024 = Coefficients(
    "JORDAN_2024",
    ((3.4445, -4.7750, 2.0315),) * 5,
    "Keller Jordan et al., Muon: an optimizer for hidden layers (2024), github.com/KellerJordan/Muon",
)

YOU_2025 = Coefficients(
    "YOU_2025",
    (
        (4.0848, -6.8946, 2.9270),
        (3.9505, -6.3029, 2.6377),
        (3.7418, -5.5913, 2.3037),
        (2.8769, -3.1427, 1.2046),
        (2.8366, -3.0525, 1.2012),
    ),
    "Jiacheng You (2025); 'dion' in optax.contrib.muon, 'quintic' in Emerging-Optimizers",
)

# Published as integers over 1024: kept so, for the quotients are exact in float32.
YOU_SIX_2025 = Coefficients(
    "YOU_SIX_2025",
    tuple(
        (a / 1024, b / 1024, c / 1024)
        for a, b, c in (
            (3955, -8306, 5008),
            (3735, -6681, 3463),
            (3799, -6499, 3211),
            (4019, -6385, 2906),
            (2677, -3029, 1162),
            (2172, -1833, 682),
        )
    ),
    "Jiacheng You, with an idea of Franz Cesista (2025); Modula, and Newhouse et al., arXiv 2507.13338",
)

# `minimax_coefficients(1e-3, 8, cushion=0.02407327424182761)` gives these to 1e-12 but for the seventh row, where the
# listing itself is off by 2e-11 (see `_minimax`).
POLAR_EXPRESS_PAPER_2025 = Coefficients(
    "POLAR_EXPRESS_PAPER_2025",
    (
        (8.28721201814563, -23.595886519098837, 17.300387312530933),
        (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
        (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
        (3.3184196573706015, -2.488488024314874, 0.51004894012372),
        (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
        (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
        (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
        (1.875, -1.25, 0.375),
    ),
    "Amsel et al., The Polar Express, arXiv 2505.16932, listing 1 (lower bound 1e-3); the listing then divides by "
    "1.01, 1.01^3, 1.01^5: with_safety(1.01)",
)

# The library's default: the generator's, with cushion=0.02 and safety=0.02. It ripples by 14 % on [1e-3, 1].
POLAR_EXPRESS_NANOGPT_2025 = Coefficients(
    "POLAR_EXPRESS_NANOGPT_2025",
    (
        (8.156554524902461, -22.48329292557795, 15.878769915207462),
        (4.042929935166739, -2.808917465908714, 0.5000178451051316),
        (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
        (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
        (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
    ),
    "modded-nanogpt (2025), github.com/KellerJordan/modded-nanogpt: Polar Express for five steps, lower bound 1e-3, "
    "safety 1.02 folded into all rows but the last",
    safety=1.02,
)

POLAR_EXPRESS_MANIFOLDS_2025 = dataclasses.replace(
    POLAR_EXPRESS_PAPER_2025.with_safety(1.01).first(10),
    name="POLAR_EXPRESS_MANIFOLDS_2025",
    source="Thinking Machines, Modular Manifolds (2025), github.com/thinking-machines-lab/manifolds: ten steps of the "
    "paper's list, safety 1.01; 'thinky_polar_express' in HeavyBall",
)

POLAR_EXPRESS_GRAM_2026 = Coefficients(
    "POLAR_EXPRESS_GRAM_2026",
    tuple((a / 1.05, b / 1.05**3, c / 1.05**5) for a, b, c in POLAR_EXPRESS_PAPER_2025.rows[:5]),
    "Zhang, Amsel, Chen, Dao (2026), github.com/Dao-AILab/gram-newton-schulz: the paper's first five rows, all five "
    "divided by 1.05 (the norm is not, so small values come out up to five percent low)",
)

# No cushion and no safety: exact on [1e-3, 1], and driven beyond all bounds by rounding to 11 bits or fewer. These are
# the generator's digits; the published rows are rounded to four.
CANS_2025 = Coefficients(
    "CANS_2025",
    (
        (8.470328803848073, -25.108074706661885, 18.62927559911802),
        (4.1828341832939415, -3.1087011098892434, 0.5806066813500497),
        (3.9618572789615976, -2.954063746359376, 0.5629761179538959),
        (3.2865862170279603, -2.4647201345312815, 0.5073576938614547),
        (2.2737499944340405, -1.6446603679080711, 0.4161909274978869),
        (1.8887161973518287, -1.265157225338601, 0.37651892555749106),
        (1.8750008858661797, -1.250000984305217, 0.37500009843936793),
    ),
    "Grishina et al., CANS, arXiv 2506.10935, lower bound 1e-3; the first five rows, rounded, are 'cans' in "
    "Emerging-Optimizers",
)

CANS_CUBIC_2025 = Coefficients(
    "CANS_CUBIC_2025",
    (
        (5.182503604966906, -5.126830178299687),
        (2.586120737395915, -0.641538812403133),
        (2.567364126726186, -0.6391058222170474),
        (2.520560084348265, -0.6330225823828756),
        (2.410759275435182, -0.6186815444268036),
        (2.1883348130094173, -0.5893091162177136),
        (1.8595760874873613, -0.5449991062102938),
        (1.589020160467417, -0.5075811685214573),
        (1.5051653981684994, -0.4957799077972079),
        (1.4925557853149838, -0.49259266842078675),
    ),
    "Emerging-Optimizers, matrix inverse roots by scaled cubic CANS (2025); its coupled iteration takes the root of an "
    "eigenvalue through these same polynomials",
)

# A trap as published: a rank-one matrix has norm 1 under every normaliser here, the first row is negative at 1, and the
# step would ascend. `Coefficients` raises on that, hence the safety.
AOL_2025 = Coefficients(
    "AOL_2025",
    (
        (4.0098, -7.0585, 2.4635),
        (3.4585, -5.5479, 2.5959),
        (2.7573, -3.2939, 1.4254),
        (2.7215, -3.0494, 1.3169),
    ),
    "'aol' in Emerging-Optimizers and Levanter, from github.com/thib-s/flash-newton-schulz (2025). The first row is "
    "negative above 0.8837 and both norms reach 1 on a matrix of rank 1: the safety of 1.2 is ours",
    safety=1.2,
    normalize=AOL(),
)

TURBO_MUON_2025 = Coefficients(
    "TURBO_MUON_2025",
    YOU_2025.rows[1:],
    "Boissin et al., Turbo-Muon, arXiv 2512.04632: the last four rows of YOU_2025 after AOL scaling",
    normalize=AOL(),
)

# The most accurate preset, 1.000 to 1.002 down to 1e-4, at twice the cost.
DEEPSEEK_V4_2026 = Coefficients(
    "DEEPSEEK_V4_2026",
    ((3.4445, -4.7750, 2.0315),) * 8 + ((2.0, -1.5, 0.5),) * 2,
    "DeepSeek-V4 technical report (2026): eight steps of JORDAN_2024, then two that converge to 1",
)

CUBIC_2026 = Coefficients(
    "CUBIC_2026",
    (
        (3.3656576, -3.3420992),
        (2.5744352, -1.4957376),
        (2.5368962, -1.4312570),
        (2.4418906, -1.2764040),
        (2.2230472, -0.9630650),
    ),
    "Relaxed cubic Newton-Schulz, arXiv 2606.00371 (lower bound 7e-3); 'cubic5' in Emerging-Optimizers",
)

TABLES = (
    JORDAN_2024,
    YOU_2025,
    YOU_SIX_2025,
    POLAR_EXPRESS_PAPER_2025,
    POLAR_EXPRESS_NANOGPT_2025,
    POLAR_EXPRESS_MANIFOLDS_2025,
    POLAR_EXPRESS_GRAM_2026,
    CANS_2025,
    CANS_CUBIC_2025,
    AOL_2025,
    TURBO_MUON_2025,
    DEEPSEEK_V4_2026,
    CUBIC_2026,
)
