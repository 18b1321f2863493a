"""Points spread over a body that can be followed through every pose: the start of a Gaussian head."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import ActorError
from splatface.models.training.synthetic.body import Body
from splatface.models.training.synthetic.parts import Part, PosedBody
from splatface.models.training.synthetic.subdivide import vertex_normals
from splatface.models.typing import AnyArray

__all__ = ["SurfaceSamples", "surface_samples"]


@dataclass(frozen=True, eq=False)
class _PartSamples:
    """Samples of one part: weighted sums of its points."""

    points: NDArray[np.int64]  # [n, 4] numbers into the part's points, flattened
    weights: AnyArray  # [n, 4], sums to 1


@dataclass(frozen=True, eq=False)
class SurfaceSamples:
    """N samples of a body at rest, grouped by part in the order of `parts`."""

    parts: Mapping[str, _PartSamples]
    means: AnyArray  # [N, 3] m
    normals: AnyArray  # [N, 3] unit; for strands across the hair, out of the head
    tangents: AnyArray  # [N, 3] unit; along the hair, or any direction in the surface
    colors: AnyArray  # [N, 3] linear RGB 0..1
    labels: NDArray[np.uint8]  # [N] dataset LABELS
    skin: AnyArray  # [N] 0 torso .. 1 head
    area_m2: AnyArray  # [N] surface that a sample stands for (strands: length x width)

    def __len__(self) -> int:
        return len(self.means)

    def positions(self, posed: PosedBody) -> AnyArray:
        """Where the samples are [N, 3] in a pose."""
        return np.concatenate(
            [
                (posed.positions[name].reshape(-1, 3)[part.points] * part.weights[..., None]).sum(1)
                for name, part in self.parts.items()
            ]
        )

    def displacement(self, body: Body, actions: Mapping[str, float]) -> AnyArray:
        """How far the samples move [N, 3] under facial actions, the bones at rest."""
        moved: AnyArray = self.positions(body.posed(actions)) - self.means
        return moved


def surface_samples(body: Body, counts: Mapping[str, int], rng: np.random.Generator) -> SurfaceSamples:
    """Spread counts[part] samples over each named part, evenly by area (strands: by length).

    Raises ActorError for a part that the body does not have.
    """
    chosen: dict[str, _PartSamples] = {}
    columns: list[tuple[AnyArray, ...]] = []
    for name, count in counts.items():
        if name not in body.parts:
            raise ActorError(f"counts: expected parts of {', '.join(body.parts)}, found '{name}'")
        part = body.parts[name]
        chosen[name], column = (_on_mesh if part.faces is not None else _on_strands)(part, count, rng)
        columns.append(column)
    joined = [np.concatenate(values) for values in zip(*columns, strict=True)]
    means, normals, tangents, colors, labels, skin, area = joined
    return SurfaceSamples(chosen, means, normals, tangents, colors, labels, skin, area)


def _on_mesh(part: Part, count: int, rng: np.random.Generator) -> tuple[_PartSamples, tuple[AnyArray, ...]]:
    assert part.faces is not None
    corners = part.positions[part.faces]
    areas = 0.5 * np.linalg.norm(
        np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]), axis=1
    )
    face = rng.choice(len(areas), count, p=areas / areas.sum())
    a, b = rng.uniform(0, 1, (2, count))
    weights = np.stack([(1 - a) * (1 - b), a * (1 - b), a * b, (1 - a) * b], 1)
    points = part.faces[face]
    normals = vertex_normals(part.positions, part.faces)[points]
    nearest = points[np.arange(count), weights.argmax(1)]
    tangents = corners[face, 1] - corners[face, 0]
    column = (
        _barycentric_sum(part.positions[points], weights),
        _unit(_barycentric_sum(normals, weights)),
        _unit(tangents),
        _barycentric_sum(part.colors[points], weights),
        part.labels[nearest],
        _barycentric_sum(part.skin[points][..., None], weights)[:, 0],
        np.full(count, areas.sum() / max(count, 1)),
    )
    return _PartSamples(points, weights), column


def _on_strands(
    part: Part, count: int, rng: np.random.Generator
) -> tuple[_PartSamples, tuple[AnyArray, ...]]:
    steps = part.positions.shape[1]
    pieces = np.linalg.norm(np.diff(part.positions, axis=1), axis=2)
    which = rng.choice(pieces.size, count, p=pieces.ravel() / pieces.sum())
    strand, step = np.divmod(which, steps - 1)
    a = rng.uniform(0, 1, count)
    first = strand * steps + step
    points = np.stack([first, first + 1, first, first], 1)
    weights = np.stack([1 - a, a, 0 * a, 0 * a], 1)
    flat = part.positions.reshape(-1, 3)
    tangents = _unit(flat[first + 1] - flat[first])
    means = _barycentric_sum(flat[points], weights)
    outward = means - flat.mean(0)
    outward -= tangents * (outward * tangents).sum(1, keepdims=True)
    width = 2 * float(np.mean(part.radius))
    column = (
        means,
        _unit(outward),
        tangents,
        part.colors[strand],
        part.labels[strand],
        part.skin[strand],
        np.full(count, pieces.sum() * width / max(count, 1)),
    )
    return _PartSamples(points, weights), column


def _barycentric_sum(values: AnyArray, weights: AnyArray) -> AnyArray:
    mixed: AnyArray = (values * weights[..., None]).sum(1)
    return mixed


def _unit(vectors: AnyArray) -> AnyArray:
    unit: AnyArray = vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-12)
    return unit
