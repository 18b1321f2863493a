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
# A room imports only from floors below its own, or from its own.
FLOORS = {
    "errors": 1,
    "peak": 1,
    "pearson": 1,
    "values": 2,
    "camera": 2,
    "head": 3,
    "timeline": 4,
    "pace": 4,
    "recording": 4,
    "watermark": 4,
    "background": 4,
    "audio": 4,
    "motion": 4,
    "render": 4,
    "speech": 4,
    "dataset": 5,
    "fields": 5,
    "hearing": 5,
    "talker": 5,
    "actor": 6,
    "tracking": 6,
    "film": 6,
    "filmed_lips": 7,
    "metrics": 7,
    "training": 8,
}
# Only these may import torch or gsplat when they are imported themselves.
WORKSHOP = {
    "models/render/reference.py",
    "models/render/autograd.py",
    "models/hearing/halves.py",
    "models/hearing/torch_net.py",
    "models/hearing/train.py",
}
# Rooms where heads are made: they may import torch, and nothing that runs on a kiosk imports them.
WORKSHOP_ROOMS = {"actor", "dataset", "fields", "filmed_lips", "metrics", "tracking", "training"}

FILES = sorted(
    path
    for folder in ("models", "nodes", "launch")
    for path in (ROOT / folder).rglob("*.py")
    if "__pycache__" not in path.parts
)


def imports_of(path, top_level_only=False):
    """Absolute dotted names that a file imports."""
    tree = ast.parse(path.read_text())
    package = ["splatface", *path.relative_to(ROOT).parts[:-1]]
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            yield ".".join([*base, *([node.module] if node.module else [])])


def names_of(paths):
    return [str(path.relative_to(ROOT)) for path in paths]


@pytest.mark.parametrize("path", FILES, ids=names_of(FILES))
def test_only_nodes_know_ros(path):
    if path.relative_to(ROOT).parts[0] == "nodes":
        return
    found = {name.split(".")[0] for name in imports_of(path)} & ROS
    assert not found, f"{path}: {found} belong into nodes/"


@pytest.mark.parametrize("path", FILES, ids=names_of(FILES))
def test_folders_import_only_what_lies_below(path):
    own = path.relative_to(ROOT).parts[0]
    allowed = {"models": {"models"}, "nodes": {"models", "nodes"}, "launch": {"models", "nodes", "launch"}}[
        own
    ]
    found = {name.split(".")[1] for name in imports_of(path) if name.startswith("splatface.")}
    assert found <= allowed


MODELS = [path for path in FILES if path.relative_to(ROOT).parts[0] == "models"]


@pytest.mark.parametrize("path", MODELS, ids=names_of(MODELS))
def test_rooms_import_only_from_their_floor_or_below(path):
    room = path.relative_to(ROOT / "models").parts[0].removesuffix(".py")
    if room == "__init__":
        return
    for name in imports_of(path):
        parts = name.split(".")
        if parts[:2] == ["splatface", "models"] and len(parts) > 2 and parts[2] != room:
            assert FLOORS[parts[2]] < FLOORS[room], f"{room} imports {parts[2]}"


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
    parts = path.relative_to(ROOT).parts
    if str(path.relative_to(ROOT)) in WORKSHOP or (parts[0] == "models" and parts[1] in WORKSHOP_ROOMS):
        return
    heavy = {name.split(".")[0] for name in imports_of(path, top_level_only=True)} & {"torch", "gsplat"}
    assert not heavy


@pytest.mark.parametrize("path", FILES, ids=names_of(FILES))
def test_the_live_wing_never_imports_the_workshop(path):
    parts = path.relative_to(ROOT).parts
    if parts[0] == "launch" or (parts[0] == "models" and parts[1] in WORKSHOP_ROOMS):
        return
    rooms = {name.split(".")[2] for name in imports_of(path) if name.startswith("splatface.models.")}
    assert not rooms & WORKSHOP_ROOMS
