import argparse
import sys

import pytest

from splatface.cli.actor_command import add_arguments, main
from splatface.models.errors import ActorError


def parsed(*words):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


def test_defaults_are_a_film_of_45_s():
    args = parsed("mira", "--out", "set")
    assert (args.seconds, args.pictures, args.fps, args.size, args.look) == (45, 220, 25, 512, "preview")


def test_film_quality_needs_a_blender(tmp_path):
    with pytest.raises(ActorError, match="--blender"):
        main(parsed("mira", "--out", tmp_path / "set", "--look", "film"))
    assert not list(tmp_path.iterdir())


def test_a_python_without_bpy_is_refused_before_anything_is_done(tmp_path):
    words = ("mira", "--out", tmp_path / "set", "--look", "film", "--blender", sys.executable)
    with pytest.raises(ActorError, match="imports bpy"):
        main(parsed(*words))
    assert not list(tmp_path.iterdir())


def test_no_such_python_is_refused(tmp_path):
    words = ("mira", "--out", tmp_path / "set", "--look", "film", "--blender", tmp_path / "python")
    with pytest.raises(ActorError, match="No such file"):
        main(parsed(*words))


def test_nothing_to_import_says_what_to_do_first(tmp_path):
    with pytest.raises(ActorError, match="prepare it first"):
        main(parsed("mira", "--out", tmp_path / "set", "--look", "film", "--step", "import"))


def test_an_unknown_actor_lists_the_known(tmp_path):
    with pytest.raises(ActorError, match="mira, theo, ada"):
        main(parsed("nobody", "--out", tmp_path / "set"))
