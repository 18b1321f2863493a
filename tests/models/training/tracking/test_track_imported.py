"""A data set in the format of ER-NeRF is imported and tracked, a head is trained from it and evaluated."""

import json

import numpy as np
import pytest
from dataset_fixture import make_dataset, tiny_film
from scipy.spatial.transform import Rotation
from shared_format import write_shared

from splatface.cli.main import main
from splatface.models.audio2motion.audio_to_mouth import CONTROLS
from splatface.models.errors import TrackingError
from splatface.models.head.head_file import load_head
from splatface.models.training.dataset.dataset_io import load_dataset, load_points
from splatface.models.training.dataset.findings import BAD, inspect_dataset, read_findings
from splatface.models.training.dataset.frame_images import read_image
from splatface.models.training.dataset.types import FACE, LIPS
from splatface.models.training.tracking.face_fit import load_tracking_result
from splatface.models.training.tracking.track_imported import track_imported

pytestmark = pytest.mark.slow

MOMENTS, SIDE = 52, 128
SHORT = [
    "--set=stages.minutes=null", "--set=stages.canonical_steps=2", "--set=stages.deformation_steps=2",
    "--set=refine.rounds=0", "--set=dynamic=600", "--tune=0", "--no-evaluation",
]  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The shipped head speaks: a data set with exact motion, and the same in the format of ER-NeRF."""
    folder = tmp_path_factory.mktemp("source")
    actor = load_dataset(make_dataset(folder / "actor", SIDE, tiny_film(MOMENTS), thin=False))
    return actor, write_shared(actor, folder / "ernerf")


@pytest.fixture(scope="module")
def imported(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("imported") / "set"
    words = ["--out", folder, "--license", "CC0-1.0", "--consent", "nobody is shown", "--fps", "12.5"]
    assert main(["dataset", "import", *map(str, (source[1], *words))]) == 0
    return load_dataset(folder)


def test_an_import_has_all_that_training_needs(imported):
    assert (imported.source, imported.landmark_scheme) == ("import", "mediapipe478")
    assert np.isfinite(imported.motion.mouth).all()
    assert np.isfinite(imported.motion.controls).all()
    assert {FACE, LIPS} <= set(load_points(imported).labels.tolist())
    assert len(load_tracking_result(imported).confidence) == MOMENTS
    assert BAD not in [finding.level for finding in inspect_dataset(imported)]


def test_the_imported_poses_are_used(source, imported):
    """The head turns between frames as in the source, to numerical precision."""
    (poses,) = (finding for finding in read_findings(imported.folder) if finding.subject == "poses")
    assert poses.action == "used"
    actor = source[0]

    def rotations(dataset):
        T = dataset.camera.T_camera_world @ dataset.frames.T_world_head
        return Rotation.from_matrix(T[:, :3, :3])

    steps, expected = (rotations(d)[1:] * rotations(d)[:-1].inv() for d in (imported, actor))
    assert (steps * expected.inv()).magnitude().max() < 1e-5


def test_the_tracked_motion_is_that_of_the_source(source, imported):
    blink = CONTROLS.index("blink_left")
    for name, column, least in (("mouth", 0, 0.8), ("controls", blink, 0.8)):
        tracked, true = (getattr(d.frames, name)[:, column] for d in (imported, source[0]))
        assert np.corrcoef(tracked, true)[0, 1] > least


def test_a_head_is_trained_from_it_and_evaluated(imported, tmp_path, capsys):
    head = tmp_path / "head"
    assert main(["train", str(imported.folder), "--out", str(head), *SHORT]) == 0
    assert load_head(head).info.consent == "nobody is shown"
    capsys.readouterr()
    assert main(["eval", str(head), str(imported.folder), "--samples", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert min(result[group]["psnr"] for group in ("by_motion", "by_sound")) > 18


def test_frames_without_a_face_are_refused(imported):
    blank = np.full_like(read_image(imported, 0), 128)
    with pytest.raises(TrackingError, match="face"):
        track_imported(imported, lambda row: (blank, blank[..., 0]))
