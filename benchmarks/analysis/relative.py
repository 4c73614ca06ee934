"""Main loss relative to that of `sum` at equal auxiliary loss: the front ratio before it is averaged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..experiments.box import Bounds
from . import indicators
from .protocols import Pair

CURVE_COLUMNS = ["protocol", "method", "split", "aux", "low", "median", "high"]
POINT_COLUMNS = ["protocol", "method", "split", "id", "aux", "ratio"]


def curve(pair: Pair, split: str, box: Bounds) -> Iterator[list[float]]:
    """A(a) / A_sum(a) against the box's auxiliary losses a: quartiles over seeds, as step functions of a.

    The mean over a of a seed's logarithm is that of its `indicators.front_ratio`.

    Args:
        pair: a method and `sum`.
        split: of the losses.
        box: of that split.

    Yields:
        a, and the lower quartile, median and upper quartile from there to the next a; the last is the upper
        bound of the auxiliary loss.
    """
    ours, theirs = pair.points(split)
    edges = [indicators.attained(points, box)[0].ravel() for points in (ours, theirs)]
    aux = np.unique(np.concatenate(edges))
    ratios = [indicators.attained_at(points, box, aux) for points in (ours, theirs)]
    quartiles = np.exp(np.quantile(np.log(ratios[0] / ratios[1]), [0.25, 0.5, 0.75], axis=0))
    yield from np.column_stack([aux, quartiles.T]).tolist()


def points(pair: Pair, split: str, box: Bounds) -> Iterator[list[Any]]:
    """End points of a method that the box sees: id, auxiliary loss, main loss over its seed's A_sum there."""
    _, theirs = pair.points(split)
    place = {seed: index for index, seed in enumerate(pair.seeds)}
    runs = pair.of(pair.method, split)
    within = indicators.seen(runs[[f"{split}_main", f"{split}_aux"]].to_numpy(float), box)
    for (main, aux), seed, identity in zip(within.tolist(), runs["seed"], runs["id"], strict=True):
        if not np.isnan(main):
            of_sum = indicators.attained_at(theirs[place[seed]], box, np.array([aux]))
            yield [identity, aux, main / float(of_sum[0])]
