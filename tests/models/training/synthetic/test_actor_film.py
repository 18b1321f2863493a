"""A film from its stage to a data set, drawn at once or by another program; with a body that needs no rig."""

from dataclasses import replace

import numpy as np
import pytest
from actor_stand_in import small_stage

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.errors import ActorError, DatasetError
from splatface.models.training.dataset.dataset_audio import load_audio
from splatface.models.training.dataset.dataset_io import load_dataset, load_points
from splatface.models.training.dataset.frame_images import png_bytes, read_image, read_labels
from splatface.models.training.dataset.types import EYES, FACE, HAIR, TEST, TORSO, TRAIN
from splatface.models.training.synthetic.actor_video import ActorVideoSpec, build_scene, draw_dataset
from splatface.models.training.synthetic.blender_folder import (
    import_rendered,
    read_video_spec,
    write_render_folder,
)
from splatface.models.training.synthetic.blender_scene import read_frame
from splatface.models.training.synthetic.initial_points import (
    RenderedView,
    make_initial_points,
    sample_visible_colors,
    surface_samples,
    visible_samples,
)
from splatface.models.training.synthetic.performance import ActingConfig
from splatface.models.training.synthetic.preview.preview_renderer import PreviewRenderer

pytestmark = pytest.mark.slow


def quiet(done, total):
    pass


@pytest.fixture(scope="module")
def staged():
    return small_stage()


@pytest.fixture(scope="module")
def drawn(staged, tmp_path_factory):
    folder = tmp_path_factory.mktemp("film") / "set"
    draw_dataset(staged, folder, quiet)
    return load_dataset(folder)


def test_the_data_set_holds_what_was_acted(staged, drawn):
    chosen, acted = staged.chosen, staged.performance
    assert drawn.source == "actor"
    assert "test/tone" in drawn.license
    assert np.array_equal(drawn.frames.time_ns, acted.time_ns[chosen.moments])
    assert np.array_equal(drawn.frames.mouth, acted.mouth[chosen.moments])
    assert np.array_equal(drawn.motion.controls, acted.controls)
    assert np.allclose(load_audio(drawn), acted.speech.samples, atol=1e-4)
    assert (drawn.frames.split == TRAIN).sum() == 6
    assert (drawn.frames.split == TEST).sum() == 6


def test_bones_are_those_of_the_body(staged, drawn):
    row = 3
    posed = staged.posed(int(staged.chosen.moments[row]))
    assert np.allclose(drawn.frames.T_world_head[row], posed.T_world_head)
    assert np.array_equal(
        drawn.motion.T_world_head[staged.chosen.moments[row]], drawn.frames.T_world_head[row]
    )


def test_pictures_are_the_preview_s(staged, drawn):
    expected, names = PreviewRenderer(staged.body, staged.camera).draw(
        staged.posed(int(staged.chosen.moments[2]))
    )
    assert np.array_equal(read_image(drawn, 2), expected)
    assert np.array_equal(read_labels(drawn, 2), names)


def test_landmarks_lie_where_the_camera_sees_them(staged, drawn):
    camera = staged.camera
    place = np.append([0.01, 0.02, -0.1], 1)
    x, y, z = (camera.T_camera_world @ place)[:3]
    expected = [camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy]
    assert drawn.frames.landmarks_px[0, 0] == pytest.approx(expected, abs=1e-3)


def test_a_stopped_film_goes_on(staged, drawn, tmp_path):
    class StoppedError(Exception):
        pass

    def stop(done, total):
        if done == 4:
            raise StoppedError

    folder = tmp_path / "set"
    with pytest.raises(StoppedError):
        draw_dataset(staged, folder, stop)
    first = folder / "pictures" / "000000.png"
    before = first.stat().st_mtime_ns
    dataset = draw_dataset(staged, folder, quiet)
    assert first.stat().st_mtime_ns == before
    assert np.array_equal(read_image(dataset, 5), read_image(drawn, 5))


def test_another_film_is_not_mixed_in(staged, tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_dataset(staged, tmp_path / "set", stop)
    other = replace(staged, film=replace(staged.film, actor="somebody"))
    with pytest.raises(DatasetError, match="of another"):
        draw_dataset(other, tmp_path / "set", quiet)


def test_points_stand_on_what_is_seen(drawn):
    found = load_points(drawn)
    assert set(np.unique(found.labels)) == {FACE, EYES, HAIR, TORSO}
    face = found.labels == FACE
    away = np.linalg.norm(found.means[face], axis=1)
    assert away == pytest.approx(np.full(face.sum(), 0.1), abs=0.002)
    assert found.means[face, 2].max() < 0.09  # the back of the head is never seen
    assert np.array_equal(found.skinning_weight == 1, found.labels != TORSO)


def test_discs_lie_in_the_surface(drawn):
    found = load_points(drawn)
    face = found.labels == FACE
    w, x, y, z = found.quats[face].T
    third = np.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], 1)
    assert (third * found.normals[face]).sum(1).min() > 0.999
    assert (found.scales[face, 2] < 0.3 * found.scales[face, 0]).all()


def test_points_are_well_spaced(drawn):
    from scipy.spatial import cKDTree

    found = load_points(drawn)
    chest = found.means[found.labels == TORSO]
    nearest = cKDTree(chest).query(chest, k=2)[0][:, 1]
    assert nearest.min() > 0.9 * 0.0058


def test_points_move_as_the_body_does(drawn):
    found = load_points(drawn)
    opening = found.mouth_modes[:, MOUTH_MODES.index("open")]
    low = (found.labels == FACE) & (found.means[:, 1] > 0.03)
    assert opening[low, 1] == pytest.approx(np.full(low.sum(), 0.03 * 0.6), abs=2e-3)
    assert np.abs(opening[found.labels == TORSO]).max() == 0
    assert np.abs(found.control_modes).max() == 0


def test_colors_are_looked_up_where_seen(staged):
    posed = staged.body.posed({})
    size = staged.camera.height
    names = PreviewRenderer(staged.body, staged.camera).draw(posed)[1]
    red = np.zeros((size, size, 3), np.uint8)
    red[..., 0] = 200
    samples = surface_samples(staged.body, {"skin": 4000}, np.random.default_rng(0))
    colors = sample_visible_colors(staged.body, RenderedView(posed, red, names, staged.camera), samples)
    assert colors == pytest.approx(np.tile([200 / 255, 0, 0], (4000, 1)), abs=0.02)


def test_the_back_is_not_seen(staged):
    samples = surface_samples(staged.body, {"skin": 2000}, np.random.default_rng(0))
    seen = visible_samples(staged.body, staged.body.posed({}), staged.camera, samples)
    assert seen[samples.means[:, 2] < -0.07].mean() > 0.8  # an eye hides some
    assert not seen[samples.means[:, 2] > 0.05].any()


def test_the_same_seed_gives_the_same_points(staged):
    posed = staged.body.posed({})
    shot = RenderedView(posed, *PreviewRenderer(staged.body, staged.camera).draw(posed), staged.camera)
    assert np.array_equal(
        make_initial_points(staged.body, shot).means, make_initial_points(staged.body, shot).means
    )


def render_like_a_tool(staged, folder):
    """What tools/film does, with our own renderer."""
    preview = PreviewRenderer(staged.body, staged.camera)
    for name in ("pictures", "labels"):
        (folder / name).mkdir(exist_ok=True)
    for row, moment in enumerate(staged.chosen.moments.tolist()):
        image, names = preview.draw(staged.posed(moment))
        (folder / "pictures" / f"{row:06d}.png").write_bytes(png_bytes(image))
        (folder / "labels" / f"{row:06d}.png").write_bytes(png_bytes(names))
    (folder / "background.png").write_bytes(png_bytes(preview.background()))


def test_a_film_folder_becomes_the_same_data_set(staged, drawn, tmp_path):
    write_render_folder(staged, tmp_path / "film", quiet)
    assert read_video_spec(tmp_path / "film") == staged.film
    render_like_a_tool(staged, tmp_path / "film")
    dataset = import_rendered(staged, tmp_path / "film", tmp_path / "set", quiet)
    assert np.array_equal(read_image(dataset, 1), read_image(drawn, 1))
    assert np.array_equal(dataset.frames.T_world_head, drawn.frames.T_world_head)
    assert np.array_equal(load_dataset(tmp_path / "set").background, drawn.background)


def test_frames_hold_the_posed_parts(staged, tmp_path):
    write_render_folder(staged, tmp_path, quiet)
    frame = read_frame(tmp_path, 2)
    posed = staged.posed(int(staged.chosen.moments[2]))
    assert np.allclose(frame["skin"], posed.positions["skin"], atol=1e-6)
    assert np.allclose(frame["T_world_head"], posed.T_world_head)


def test_missing_pictures_are_named(staged, tmp_path):
    write_render_folder(staged, tmp_path / "film", quiet)
    render_like_a_tool(staged, tmp_path / "film")
    (tmp_path / "film" / "labels" / "000002.png").unlink()
    with pytest.raises(ActorError, match=r"missing 000002.png: run tools/film/render.py"):
        import_rendered(staged, tmp_path / "film", tmp_path / "set", quiet)


def test_damaged_pictures_are_named(staged, tmp_path):
    write_render_folder(staged, tmp_path / "film", quiet)
    render_like_a_tool(staged, tmp_path / "film")
    (tmp_path / "film" / "pictures" / "000003.png").write_bytes(b"not a picture")
    with pytest.raises(DatasetError, match="row 3: delete its picture and render it again"):
        import_rendered(staged, tmp_path / "film", tmp_path / "set", quiet)


def test_another_film_s_folder_is_refused(staged, tmp_path):
    write_render_folder(staged, tmp_path, quiet)
    other = replace(staged, film=replace(staged.film, pictures=7))
    with pytest.raises(ActorError, match="choose another folder"):
        write_render_folder(other, tmp_path, quiet)


@pytest.mark.parametrize("content", [None, "no json", '{"actor": "mira"}', '{"acting": {"speed": 3}}'])
def test_a_folder_without_a_film_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "film.json").write_text(content)
    with pytest.raises(ActorError, match="prepare it first"):
        read_video_spec(tmp_path)


@pytest.mark.parametrize(
    ("film", "message"),
    [(ActorVideoSpec(actor="nobody"), "mira"), (ActorVideoSpec(actor="mira", voice="x"), "flite/slt")],
)
def test_unknown_names_list_the_choices(film, message):
    with pytest.raises(ActorError, match=message):
        build_scene(replace(film, acting=ActingConfig(seconds=10)))
