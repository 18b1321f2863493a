"""The linear basis in training: deltas = dynamism * (basis @ map(motion)), with slopes written by hand.

The gradient of the basis, [M, 14, K] numbers, is never made, see `step_basis`.
"""

import numpy as np
from numpy.typing import NDArray

from splatface.models.head.motion_map import MotionMap
from splatface.models.head.splats import DELTA_CHANNELS
from splatface.models.render.workers import Workers
from splatface.models.training.adam import Moments, no_moments, step_array, step_basis
from splatface.models.training.config import RateConfig
from splatface.models.training.densify import Regrown
from splatface.models.training.map_slopes import MapSlopes
from splatface.models.training.pull import Moves, Slopes
from splatface.models.training.schedule import CANONICAL, Pace, basis_rates

__all__ = ["BasisMover"]

Floats = NDArray[np.float32]
Arrays = dict[str, NDArray[np.generic]]
_MASKED_EVERY = 4  # pictures: drawing the dynamism costs a fifth of a step
_MAP = ("linear", "w1", "b1", "w2")


class BasisMover:
    """A basis over `rows` of the table, its motion map, and how dynamic each row is."""

    def __init__(
        self,
        rows: NDArray[np.int64],
        basis: Floats,
        motion_map: MotionMap,
        motion: Floats,
        rates: RateConfig,
        workers: Workers,
    ) -> None:
        """Rows [M] rising, basis [M, 14, K], motion [F, 15] of all rows of the data set."""
        self.rows, self.basis = rows, basis
        self.map = {name: getattr(motion_map, name).copy() for name in _MAP}
        # sigmoid(4) = 0.98: all that may move does, until the mask says otherwise.
        self.dynamism = np.full(len(rows), 4.0, np.float32)
        self.masked = True
        self._motion, self._rates, self._workers = motion, rates, workers
        self._moments = {name: no_moments(array) for name, array in self._learned().items()}
        self._count = np.zeros(2, np.int64)  # moves, and steps of Adam
        self._kept: tuple[MapSlopes, Floats, Floats] | None = None

    def coefficients(self, row: int) -> MapSlopes:
        """What the map makes of the motion of a row."""
        return MapSlopes(self._motion[row], **self.map)

    def move(self, table: Floats, row: int, pace: Pace) -> Moves:
        """Movements of a row; the dynamism is drawn in every fourth picture of the deformation stage."""
        known = self.coefficients(row)
        width = self.basis.shape[2]
        free = (self.basis.reshape(-1, width) @ known.coefficients).reshape(-1, DELTA_CHANNELS)
        share = 1 / (1 + np.exp(-self.dynamism))
        self._kept = known, free, share
        self._count[0] += 1
        drawn = self.masked and pace.stage != CANONICAL and self._count[0] % _MASKED_EVERY == 0
        return Moves(table, self.rows, free * share[:, None], share if drawn else None)

    def learn(self, slopes: Slopes, pace: Pace, rate: float) -> Floats:
        """A step of Adam on basis, map and dynamism; in the canonical stage they stay."""
        assert self._kept is not None
        known, free, share = self._kept
        if pace.stage == CANONICAL:
            return slopes.table
        self._count[1] += 1
        steps = int(self._count[1])
        own = slopes.deltas * share[:, None]
        back = own.reshape(-1) @ self.basis.reshape(own.size, -1)
        rates = basis_rates(self._rates, pace) * np.float32(rate)
        moments = self._moments
        step_basis(self.basis, own, known.coefficients, moments["basis"], rates, steps, self._workers)
        calm = rate * pace.warm * self._rates.last**pace.through
        for name, slope in known.back(back).items():
            step_array(self.map[name], slope, moments[name], self._rates.field * calm, steps)
        if self.masked:
            pull = (slopes.deltas * free).sum(axis=1)
            if slopes.dynamism is not None:
                pull += _MASKED_EVERY * slopes.dynamism
            pull *= share * (1 - share)
            step_array(self.dynamism, pull, moments["dynamism"], self._rates.opacity * calm * 0.3, steps)
        return slopes.table

    def movable(self, count: int) -> tuple[NDArray[np.bool_], int]:
        """The Gaussians of the basis; no more are taken in."""
        mine = np.zeros(count, np.bool_)
        mine[self.rows] = True
        return mine, 0

    def regrow(self, regrown: Regrown) -> None:
        """Halves move as the whole did."""
        place = np.full(int(regrown.sources.max()) + 1 if len(regrown.sources) else 0, -1, np.int64)
        inside = self.rows < len(place)
        place[self.rows[inside]] = np.flatnonzero(inside)
        found = place[regrown.sources]
        self.rows = np.flatnonzero(found >= 0)
        kept, fresh = found[self.rows], regrown.fresh[self.rows]
        self.basis, self.dynamism = self.basis[kept], self.dynamism[kept]
        for name in ("basis", "dynamism"):
            first, second = self._moments[name].first[kept], self._moments[name].second[kept]
            first[fresh] = 0
            self._moments[name] = Moments(first, second)

    def arrays(self) -> Arrays:
        """All that learning changes."""
        found: Arrays = {"rows": self.rows, "count": self._count, **self._learned()}
        for name, moments in self._moments.items():
            found |= {f"{name}.first": moments.first, f"{name}.second": moments.second}
        return found

    def load(self, arrays: Arrays) -> None:
        """Go on from what `arrays` gave."""
        found = {name: np.array(array) for name, array in arrays.items()}
        self.rows, self._count = found["rows"], found["count"]
        self.basis, self.dynamism = found["basis"], found["dynamism"]
        self.map = {name: found[name] for name in _MAP}
        self._moments = {
            name: Moments(found[f"{name}.first"], found[f"{name}.second"]) for name in self._learned()
        }

    def _learned(self) -> dict[str, Floats]:
        return {"basis": self.basis, "dynamism": self.dynamism, **self.map}
