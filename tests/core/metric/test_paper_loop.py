"""Training with the paper's settings is the paper's loop, step by step.

The loop is written from the formulas of Kuehn and Schaub (2025), and shares no code with ours: plans are those of POT,
gradients those of torch, and the steps those of Kingma and Ba (2015).
"""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest

from scggml.core.metric import _refinement, _training
from scggml.estimators._presets import preset

MARGIN, REG, LR, MINIBATCH, EPOCHS, RANK = 10, 0.1, 0.02, 128, 30, 5


def paper_loss(w, clouds, triplets):
    """The mean hinge of triplets (anchor, positive, negative) plus the largest column sum."""
    import ot
    import torch

    z = [torch.from_numpy(x) @ w.T for x in clouds]

    def distance(a, b):
        costs = (z[a][:, None] - z[b][None]).pow(2).sum(dim=-1).sqrt()
        uniform = (np.full(n, 1 / n) for n in costs.shape)
        plan = ot.emd(*uniform, costs.detach().numpy())  # fixed in the gradient, by the envelope theorem
        return (torch.from_numpy(plan) * costs).sum()

    known = {}
    for j, i, k in triplets:
        for pair in ((j, i), (j, k)):
            if pair not in known:
                known[pair] = distance(*pair)
    hinges = [torch.relu(known[j, i] - known[j, k] + MARGIN) for j, i, k in triplets]
    return torch.stack(hinges).mean() + REG * torch.linalg.norm(w, 1)


def paper_loop(clouds, start, triplets, epochs):
    """Yield the map and the loss before it, after each step; `epochs` holds the order of the triplets in each epoch."""
    import torch

    w = start.copy()
    for order in epochs:
        first, second = np.zeros_like(w), np.zeros_like(w)  # Adam is new in each epoch
        for step, at in enumerate(range(0, len(order), MINIBATCH), start=1):
            leaf = torch.tensor(w, requires_grad=True)
            loss = paper_loss(leaf, clouds, triplets[order[at : at + MINIBATCH]].tolist())
            loss.backward()
            gradient = leaf.grad.numpy()
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            w = w - LR * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
            yield w, float(loss.detach())


@pytest.fixture
def cohort():
    """Three classes of five samples, which differ in one of eight features."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 5)
    clouds = []
    for label in labels:
        cloud = rng.normal(size=(rng.integers(6, 12), 8)) + 3 * rng.normal(size=8)
        cloud[:, 0] = rng.normal(size=len(cloud)) + 2 * label
        clouds.append(cloud)
    return clouds, labels


def test_paper_settings_are_the_loop_of_the_paper(cohort, monkeypatch):
    clouds, labels = cohort
    given, maps = {}, []
    train, take = _training.refine_by_minibatches, _refinement._Adam.take

    def seen(problem, start, triplets, options, minibatch, rng):
        given.update(start=start.copy(), triplets=triplets, rng=deepcopy(rng))
        return train(problem, start, triplets, options, minibatch, rng)

    def recorded(self, objective, solved):
        result = take(self, objective, solved)
        maps.append((self.components.copy(), result[0]))
        return result

    monkeypatch.setattr(_training, "refine_by_minibatches", seen)
    monkeypatch.setattr(_refinement._Adam, "take", recorded)
    learner = preset("paper").set_params(rng=3, n_jobs=1).fit(clouds, labels)

    start = given["start"]
    assert start.shape == (RANK, 8)
    triplets = np.stack([getattr(given["triplets"], name) for name in ("anchor", "positive", "negative")], axis=1)
    assert len(triplets) == 15 * 4 * 2 * 4  # four positives and four negatives of each other class
    epochs = [given["rng"].permutation(len(triplets)) for _ in range(EPOCHS)]
    expected = list(paper_loop(clouds, start, triplets, epochs))
    assert len(maps) == len(expected) == EPOCHS * 4
    for (ours, our_loss), (theirs, their_loss) in zip(maps, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)
        np.testing.assert_allclose(our_loss, their_loss, rtol=1e-12)
    np.testing.assert_array_equal(learner.components_, maps[-1][0])  # on raw features, the last and not the best
    assert np.abs(learner.components_ - start).max() > 0.3
