"""The values of the GGML paper (Kuehn and Schaub, AISTATS 2025), to two digits.

Source: the output stored in the notebook of its tables, `code/reproduce_experiments/draw_benchmark_table.ipynb` in
github.com/DaminK/GlobalGround-MetricLearning. GGML of the public cohorts is `GGML_L2` there. They were computed by
`scripts/class_clust_benchmark.py` of the same repository.

Its learned baselines differ from the textbook. The script passes the learned Mahalanobis matrix M to a function that
expects a linear map. With at most 100 features, the ground metric is thus ||M (x - y)||. With more features, it takes a
Cholesky factor of M of rank 5. On public cohorts it uses all genes of more than average variance and at most 1,000
cells of a patient. Training patients and scored patients are sampled independently of each other, so that they overlap.
"""

from __future__ import annotations

from math import nan

#: kNN, MI, ARI and VI of samples, and kNN of cells; nan if the paper has no value
PAPER = {
    "synth_2D": {
        "GGML": (0.96, 1.10, 1.00, 0.00, 0.93),
        "Euclidean": (0.29, 0.00, -0.07, 2.19, 0.32),
        "Manhattan": (0.29, 0.00, -0.07, 2.19, 0.34),
        "cosine": (0.27, 0.11, 0.03, 1.83, 0.47),
        "LMNN": (0.43, 0.01, -0.06, 2.14, 0.93),
        "LFDA": (0.33, 0.06, -0.02, 2.05, 0.42),
        "NCA": (0.27, 0.01, -0.06, 2.15, 0.55),
        "ITML": (0.36, 0.20, 0.04, 1.60, 0.48),
    },
    "synth_200D": {
        "GGML": (1.00, 1.10, 1.00, 0.00, 0.91),
        "Euclidean": (0.39, 0.00, -0.07, 2.15, 0.74),
        "Manhattan": (0.40, 0.00, -0.07, 2.19, 0.67),
        "cosine": (0.32, 0.07, 0.00, 1.24, 0.48),
        "LMNN": (0.49, 0.02, -0.05, 2.15, 0.93),
        "LFDA": (0.42, 0.07, 0.00, 1.35, 0.32),
        "NCA": (0.47, 0.05, -0.02, 2.10, 0.92),
        "ITML": (0.35, 0.08, 0.00, 1.63, 0.39),
    },
    "kidney": {
        "GGML": (0.86, 0.77, 0.81, 0.34, 0.70),
        "Euclidean": (0.56, 0.07, 0.02, 1.11, 0.52),
        "Manhattan": (0.61, 0.07, 0.02, 1.11, 0.53),
        "cosine": (0.59, 0.07, 0.02, 1.11, 0.50),
        "LFDA": (0.76, 0.05, -0.01, 1.39, 0.55),
        "ITML": (0.50, 0.06, 0.01, 1.27, 0.46),
    },
    "breast": {
        "GGML": (0.83, 0.21, 0.49, 0.79, 0.72),
        "Euclidean": (0.72, 0.01, -0.02, 0.68, 0.69),
        "Manhattan": (0.72, 0.03, 0.13, 0.93, 0.69),
        "cosine": (0.71, 0.01, -0.02, 0.68, 0.70),
        "LFDA": (0.74, 0.06, 0.13, 0.68, 0.66),
        "ITML": (0.69, 0.01, -0.02, 0.68, 0.68),
    },
    "myocardial_infarction": {
        "GGML": (nan, 0.91, 0.92, 0.20, nan),
        "Euclidean": (nan, 0.11, 0.02, 1.21, nan),
        "Manhattan": (nan, 0.22, 0.17, 1.00, nan),
        "cosine": (nan, 0.07, 0.00, 1.19, nan),
        "LFDA": (nan, 0.64, 0.53, 0.75, nan),
        "ITML": (nan, 0.09, 0.03, 1.15, nan),
    },
}
