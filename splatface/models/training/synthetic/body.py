# SPDX-License-Identifier: Apache-2.0
"""A synthetic person's body: pieces that follow 52 facial actions and a pose."""

from collections.abc import Mapping

import numpy as np

from splatface.models.training.synthetic.actor_identity import Identity
from splatface.models.training.synthetic.appearance.eyes_and_brows import (
    make_brow_hair,
    make_eyes,
    make_lashes,
)
from splatface.models.training.synthetic.appearance.face_measurements import measure_face
from splatface.models.training.synthetic.appearance.hair_styles import make_hair
from splatface.models.training.synthetic.appearance.skin_paint import make_skin
from splatface.models.training.synthetic.appearance.sweater import make_sweater
from splatface.models.training.synthetic.appearance.teeth_and_tongue import make_teeth_and_tongue
from splatface.models.training.synthetic.body_parts import DeformablePart, Part, PosedBody
from splatface.models.training.synthetic.rig import IBUG68, BodyPose, Rig, load_rig, pose_rig
from splatface.models.typing import AnyArray

__all__ = ["Body", "BodyPose", "Part", "PosedBody", "make_body"]


class Body:
    """All pieces of one person. Canonical frame: OpenCV axes, origin between the eyes at rest, meters."""

    def __init__(self, identity: Identity, rigged: Rig, pieces: Mapping[str, DeformablePart]) -> None:
        self.identity = identity
        self.parts: Mapping[str, Part] = {name: piece.part for name, piece in pieces.items()}
        self.actions: tuple[str, ...] = rigged.actions
        self.pivot_m: AnyArray = rigged.bone_heads[rigged.bone("neck02")].copy()
        self._rig = rigged
        self._pieces = pieces

    def posed(self, actions: Mapping[str, float], pose: BodyPose | None = None) -> PosedBody:
        """Return the body under facial actions (ARKit names, about 0..1) and a pose (rest if None).

        Raises ActorError for an action that the rig does not have.
        """
        skeleton = pose_rig(self._rig, actions, pose or BodyPose())
        return PosedBody(
            positions={name: piece.deformer(skeleton) for name, piece in self._pieces.items()},
            T_world_head=skeleton.T_world_head,
            T_world_torso=skeleton.T_world_torso,
            landmarks=skeleton.vertices[IBUG68],
        )


def make_body(identity: Identity) -> Body:
    """Build a person: the same identity gives the same body, to the bit."""
    rng = np.random.default_rng(identity.seed)
    rigged = load_rig(identity.shape)
    marks = measure_face(rigged)
    looks = identity.looks
    skin = make_skin(rigged, marks, looks)
    pieces = {
        "skin": skin.piece,
        **make_teeth_and_tongue(rigged),
        **make_eyes(rigged, marks, looks, rng),
        "hair": make_hair(skin, marks, looks, rng),
        "brows": make_brow_hair(skin, marks, looks, rng),
        "lashes": make_lashes(rigged, looks, rng),
        **make_sweater(rigged, looks),
    }
    return Body(identity, rigged, pieces)
