"""The table of DESIGN section 1: who may import whom, and who may read a clock."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROS = {
    "rclpy",
    "builtin_interfaces",
    "std_msgs",
    "sensor_msgs",
    "geometry_msgs",
    "diagnostic_msgs",
    "lifecycle_msgs",
    "rosgraph_msgs",
    "rcl_interfaces",
    "std_srvs",
    "splatface_msgs",
    "ament_index_python",
}
# A folder of the live wing imports only from layers below its own, or from its own.
LIVE_LAYERS = {
    "errors": 1,
    "typing": 0,
    "array_checks": 2,
    "storage": 1,
    "signals": 1,
    "rotations": 1,
    "messages": 2,
    "onnx_session": 2,
    "camera": 2,
    "audio2motion": 3,
    "head": 4,
    "timeline": 5,
    "frame_scheduler": 5,
    "recording": 5,
    "provenance": 5,
    "audio": 5,
    "behavior": 5,
    "render": 5,
    "tts": 6,
    "talking_head": 6,
    "video": 7,
}
# So does a folder of the workshop; all of them may import the live wing.
TRAINING_LAYERS = {
    "dataset": 1,
    "fields": 1,
    "speech_corpus": 1,
    "synthetic": 2,
    "tracking": 2,
    "audio_to_mouth": 2,
    "filmed_lips": 3,
    "evaluation": 4,
    "optimization": 5,
    "report": 6,
}
# Outside the workshop, only these may import torch or gsplat when they are imported themselves.
TORCH_IN_LIVE_WING = {"models/render/reference.py", "models/render/autograd.py"}

PACKAGE = ROOT / "splatface"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)


def imports_of(path, top_level_only=False):
    """Absolute dotted names that a file imports."""
    tree = ast.parse(path.read_text())
    package = list(path.relative_to(ROOT).parts[:-1])
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            yield ".".join([*base, *([node.module] if node.module else [])])


def names_of(paths):
    return [str(path.relative_to(PACKAGE)) for path in paths]


def test_the_card_finds_its_folders():
    assert (ROOT / "models").resolve() == PACKAGE / "models"
    assert (ROOT / "nodes").resolve() == PACKAGE / "nodes"
    assert not list((ROOT / "launch").rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=names_of(FILES))
def test_only_nodes_know_ros(path):
    if path.relative_to(PACKAGE).parts[0] == "nodes":
        return
    imported = {name.split(".")[0] for name in imports_of(path)} & ROS
    assert not imported, f"{path}: {imported} belong into nodes/"


@pytest.mark.parametrize("path", FILES, ids=names_of(FILES))
def test_folders_import_only_what_lies_below(path):
    own = path.relative_to(PACKAGE).parts[0]
    allowed = {"models": {"models"}, "nodes": {"models", "nodes"}, "cli": {"models", "nodes", "cli"}}.get(own)
    imported = {name.split(".")[1] for name in imports_of(path) if name.startswith("splatface.")}
    assert allowed is None or imported <= allowed


MODELS = [path for path in FILES if path.relative_to(PACKAGE).parts[0] == "models"]


def layer_of(dotted):
    """The wing and the layer of a module below splatface.models, or None for a package's own file."""
    parts = dotted.split(".")[2:]
    if parts[:1] == ["training"]:
        return ("training", parts[1], TRAINING_LAYERS[parts[1]]) if len(parts) > 1 else None
    return ("live", parts[0], LIVE_LAYERS[parts[0]]) if parts else None


@pytest.mark.parametrize("path", MODELS, ids=names_of(MODELS))
def test_folders_import_only_from_lower_layers(path):
    own = layer_of(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    for name in imports_of(path):
        other = layer_of(name) if name.startswith("splatface.models.") else None
        if own is None or other is None or own[:2] == other[:2]:
            continue
        if own[0] == "live":
            assert other[0] == "live", f"{path}: the live wing imports {name}"
        if own[0] == other[0]:
            assert other[2] < own[2], f"{path}: layer {own[2]} imports {name} of layer {other[2]}"


@pytest.mark.parametrize("path", MODELS, ids=names_of(MODELS))
def test_models_read_no_clock(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            read = (node.value.id, node.attr)
            clocks = {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"}
            assert not (read[0] == "time" and read[1] in clocks), f"{path}:{node.lineno} reads a clock"
            assert read not in {("datetime", "now"), ("datetime", "utcnow")}


@pytest.mark.parametrize("path", FILES, ids=names_of(FILES))
def test_the_kiosk_never_meets_torch(path):
    relative = path.relative_to(PACKAGE)
    if str(relative) in TORCH_IN_LIVE_WING or relative.parts[:2] == ("models", "training"):
        return
    heavy = {name.split(".")[0] for name in imports_of(path, top_level_only=True)} & {"torch", "gsplat"}
    assert not heavy


NODES = [path for path in FILES if path.relative_to(PACKAGE).parts[0] == "nodes"]


@pytest.mark.parametrize("path", NODES, ids=names_of(NODES))
def test_nodes_never_import_the_workshop(path):
    assert not [name for name in imports_of(path) if name.startswith("splatface.models.training")]


SOURCES = [*FILES, *sorted((ROOT / "bench").rglob("*.py"))]


def repeated(places):
    """The names that stand in more than one place."""
    return {name: found for name, found in places.items() if len(found) > 1}


def test_no_class_name_stands_twice():
    places = {}
    for path in SOURCES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert not repeated(places)


def wing_of(path):
    """The part of the tree within which file names are unique."""
    parts = path.relative_to(ROOT).parts
    return "/".join(parts[:3] if parts[:3] == ("splatface", "models", "training") else parts[:2])


def test_no_file_name_stands_twice_in_a_wing():
    places = {}
    for path in SOURCES:
        if not path.name.startswith("__"):
            places.setdefault((wing_of(path), path.name), []).append(str(path.relative_to(ROOT)))
    assert not repeated(places)
    tests = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        tests.setdefault(path.name, []).append(str(path.relative_to(ROOT)))
    assert not repeated(tests)


@pytest.mark.parametrize("path", SOURCES, ids=[str(path.relative_to(ROOT)) for path in SOURCES])
def test_functions_are_short_and_docstrings_plain(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 100, f"{node.name} is longer than 100 lines"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            first = (ast.get_docstring(node) or "").split(" ")[0]
            assert first not in {"What", "How", "Where", "Who"}, f"{path}: {ast.get_docstring(node)[:60]!r}"
