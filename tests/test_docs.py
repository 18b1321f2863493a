"""Every command, link and image of the documentation exists, and its generated pages are up to date."""

import argparse
import dataclasses
import importlib.util
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import yaml
from safetensors import safe_open

from splatface.cli.main import COMMANDS
from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.head.head_yaml import FORMAT_VERSION
from splatface.models.training.dataset.file_format import VERSION as DATASET_VERSION
from splatface.models.training.dataset.file_format import pack
from splatface.models.training.dataset.types import LABELS, FrameTable, MotionTrack, Points
from splatface.models.training.optimization.train_config import PRESETS, config_to_yaml, preset

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
NOTES = ROOT / "docs" / "notes"  # dated: their commands are those of their day
PAGES = sorted(
    [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md")]
    + list((ROOT / "docs").rglob("*.md"))
)
# Programs whose lines a reader may copy; only ours, make's and ros2's are looked into.
PROGRAMS = {"splatface", "make", "ros2", "python", "pip", "pre-commit", "git", "colcon", "chromium"}
PROGRAMS |= {"cd", "mkdir", "source", "export"}
# Commands that are cheap enough to be run here, by their beginning.
CHEAP = (
    "splatface --help",
    "splatface run --help",
    "splatface head list",
    "splatface info mira",
    "splatface doctor",
    "splatface voices list",
    "splatface voices say",
    "splatface launch kiosk.launch.yaml --show-args",
    'splatface render mira --say "Good morning."',
)
SHELLS = {"", "bash", "sh"}
SAFETY_S = 300  # only ends a command that hangs


@dataclass(frozen=True)
class Line:
    """One command of a page."""

    page: Path
    text: str

    @property
    def words(self):
        return split(self.text)

    def __str__(self):
        return f"{self.page.relative_to(ROOT)}: {self.text}"


def split(text):
    """The words of a command line; operators such as && and < are words of their own."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    return list(lexer)


@cache
def reference():
    """tools/make_reference.py, which knows every topic, service, node and parameter."""
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "tools" / "make_reference.py")
    module = sys.modules["make_reference"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def command_pages():
    return [page for page in PAGES if NOTES not in page.parents]


def code_blocks(page):
    """Language and lines of every fenced block."""
    for language, body in re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.S | re.M):
        yield language, [line for line in body.splitlines() if line.strip()]


@cache
def command_lines():
    """Every command of a fenced block; one that begins with a program must hold nothing else."""
    lines = []
    for page in command_pages():
        for language, body in code_blocks(page):
            if language not in SHELLS or body[0].split()[0] not in PROGRAMS:
                continue
            for line in body:
                text = re.sub(r"(^|\s)#.*", "", line).strip()
                for part in re.split(r"\s*(?:&&|;)\s+", text) if text else []:
                    lines.append(Line(page, part))
    return lines


def lines_of(program):
    lines = [line for line in command_lines() if line.text.split()[0] == program]
    assert lines, f"expected some lines of {program} in the documentation"
    return lines


def make_parser(command):
    return reference()._parser_maker(sys.modules["splatface.cli.main"])(command)


def until_operator(words):
    """The words before a redirection or a pipe."""
    return words[: next((i for i, word in enumerate(words) if word in "<>|"), len(words))]


def check_splatface(words, where):
    """All options exist and the command line can be parsed; launch arguments exist, too."""
    command, *rest = until_operator(words[1:])
    if command == "--help":
        return
    assert command in COMMANDS, f"{where}: no command {command}"
    if "--help" in rest:
        rest.remove("--help")
        assert not rest or command in COMMANDS
        return
    try:
        args = make_parser(command).parse_args(rest)
    except SystemExit:
        pytest.fail(f"{where}: cannot be parsed")
    if command == "launch":
        check_launch_arguments(args.file, args.arguments, where)


def check_launch_arguments(file, arguments, where):
    path = ROOT / "launch" / file
    assert path.exists(), f"{where}: no launch file {file}"
    entries = yaml.safe_load(path.read_text())["launch"]
    known = {entry["arg"]["name"] for entry in entries if "arg" in entry}
    for argument in arguments:
        assert argument.split(":=")[0] in known, f"{where}: {file} has no argument {argument}"


def test_every_block_of_commands_holds_commands_only():
    for line in command_lines():
        assert line.text.split()[0] in PROGRAMS, f"{line}: begins with no program known to this test"


@pytest.mark.parametrize("line", lines_of("splatface"), ids=str)
def test_splatface_lines_can_be_parsed(line):
    check_splatface(line.words, line)


@pytest.mark.parametrize("line", lines_of("make"), ids=str)
def test_make_lines_name_targets(line):
    _, target, *variables = line.words
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"^{re.escape(target)}:", makefile, re.M), f"{line}: no target {target}"
    for variable in variables:
        name, _, value = variable.partition("=")
        assert re.search(rf"^{name} \?=", makefile, re.M), f"{line}: the Makefile knows no {name}"
        if target == "run" and name == "ARGS":
            check_splatface(["splatface", "run", *split(value)], line)


@pytest.mark.parametrize("line", lines_of("python"), ids=str)
def test_python_lines_name_scripts_and_tests(line):
    paths = [word for word in line.words[1:] if word.startswith(("examples/", "tools/", "tests/"))]
    assert paths, f"{line}: expected a path of this repository"
    for path in paths:
        assert (ROOT / path).exists(), f"{line}: no {path}"


@cache
def endpoints():
    """Name without namespace -> types of all topics, services and actions."""
    tool, found = reference(), {}
    modules = [tool._base_module(), *(node.module for node in tool._nodes())]
    for module in modules:
        for endpoint in tool._endpoints(module):
            found.setdefault(endpoint.name.lstrip("~/"), set()).add(endpoint.type_name)
    return found


def nodes():
    return {node.name: node for node in reference()._nodes()}


@pytest.mark.parametrize("line", lines_of("ros2"), ids=str)
def test_ros2_lines_name_what_exists(line):
    _, group, verb, *rest = line.words
    names = [word for word in rest if not word.startswith("-")]
    if group == "launch":
        assert verb == "splatface"
        check_launch_arguments(names[0], names[1:], line)
    elif group == "run":
        assert verb == "splatface"
        assert names[0] in nodes(), f"{line}: no executable {names[0]}"
        check_parameters(names[0], rest, line)
    elif group in ("topic", "service", "action"):
        check_endpoint(names, line)
    elif group in ("param", "lifecycle"):
        node = nodes()[names[0].split("/")[-1]]
        parameters = {parameter.name for parameter in node.node_class.PARAMETERS}
        assert group == "lifecycle" or names[1] in parameters, f"{line}: no parameter {names[1]}"
    else:
        assert group == "bag", f"{line}: unknown to this test"


def check_endpoint(names, where):
    endpoint = "/".join(names[0].strip("/").split("/")[1:])
    assert endpoint in endpoints(), f"{where}: no topic, service or action {endpoint}"
    types = [name for name in names[1:2] if "/" in name]
    assert not types or types[0] in endpoints()[endpoint], f"{where}: {endpoint} is no {types[0]}"


def check_parameters(node, words, where):
    known = {parameter.name for parameter in nodes()[node].node_class.PARAMETERS} | {"autostart"}
    for option, value in pairwise(words):
        if option == "-p":
            assert value.split(":=")[0] in known, f"{where}: {node} has no parameter {value}"


def inline_commands():
    """Every `splatface ...` in running text or a table, with the options that it names."""
    for page in command_pages():
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M)
        for code in re.findall(r"`(splatface [a-z][^`]*)`", text):
            yield Line(page, code)


@pytest.mark.parametrize("line", list(inline_commands()), ids=str)
def test_commands_in_the_text_and_their_options_exist(line):
    command, *rest = until_operator(line.words[1:])
    assert command in COMMANDS, f"{line}: no command {command}"
    parser = make_parser(command)
    verbs = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if verbs and rest and not rest[0].startswith("-"):
        assert rest[0] in verbs[0].choices, f"{line}: {command} has no {rest[0]}"
        parser = verbs[0].choices[rest[0]]
    for option in (word for word in rest if word.startswith("--")):
        assert option in parser._option_string_actions, f"{line}: no option {option}"


def cheap_lines():
    lines = {line.text: line for line in lines_of("splatface") if line.text.startswith(CHEAP)}
    missing = [start for start in CHEAP if not any(text.startswith(start) for text in lines)]
    assert not missing, f"no page names {missing}"
    return list(lines.values())


@pytest.mark.parametrize("line", cheap_lines(), ids=str)
def test_cheap_commands_work(line, tmp_path, ros_environment):
    program = [sys.executable, "-m", "splatface.cli.main", *line.words[1:]]
    result = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=SAFETY_S)
    assert result.returncode == 0, f"{line}: {result.stderr}"
    if "--out" in line.words:
        out = tmp_path / line.words[line.words.index("--out") + 1]
        assert out.stat().st_size > 0


def anchors(page):
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_images_resolve(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M)
    for target in re.findall(r"\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"", text):
        path, _, anchor = (target[0] or target[1]).partition("#")
        if "://" in path:
            continue
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: no {path}"
        if anchor:
            assert anchor in anchors(file), f"{page.name}: {file.name} has no heading {anchor}"


@pytest.mark.parametrize("index", [ROOT / "README.md", ROOT / "docs" / "README.md"], ids=["top", "docs"])
def test_every_page_is_in_the_index(index):
    text = index.read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        if page != index and NOTES not in page.parents and page.name != "README.md":
            assert f"{page.parent.name}/{page.name})" in text or f"({page.name})" in text, (
                f"{page} is not in it"
            )


def test_training_settings_in_the_text_exist():
    known = [yaml.safe_load(config_to_yaml(preset(kind))) for kind in PRESETS]
    for page in command_pages():
        for key in re.findall(r"--set ([a-z_.0-9]+)=", page.read_text()):
            assert any(has_setting(settings, key.split(".")) for settings in known), f"{page.name}: no {key}"


def has_setting(settings, path):
    if not path:
        return True
    return isinstance(settings, dict) and path[0] in settings and has_setting(settings[path[0]], path[1:])


def test_paths_in_the_text_exist():
    """Files and folders of the tree, as they are named in `code`."""
    shown = re.compile(r"`((?:splatface|models|training|tools|tests|docs|launch|bench|examples)/[\w./-]+)`")
    places = [ROOT, ROOT / "splatface", ROOT / "splatface" / "models"]
    for page in command_pages():
        for path in shown.findall(page.read_text()):
            if "YYYY" not in path:
                assert any((place / path).exists() for place in places), f"{page.name}: no {path}"


def test_the_architecture_names_every_folder_and_node():
    text = (ROOT / "docs" / "explanation" / "architecture.md").read_text()
    models = ROOT / "splatface" / "models"
    for folder in (*models.glob("*/__init__.py"), *(models / "training").glob("*/__init__.py")):
        assert f"{folder.parent.name}`" in text, f"architecture.md: nothing about {folder.parent.name}"
    for node in nodes():
        assert re.search(rf"\b{node}\b", text), f"architecture.md: nothing about the node {node}"


def test_file_formats_name_every_field():
    text = (ROOT / "docs" / "reference" / "file_formats.md").read_text()
    head = ROOT / "heads" / "mira"
    description = yaml.safe_load((head / "head.yaml").read_text())
    names = {*description, *description["encoders"][0], *description["camera"], *description["pose_limits"]}
    names |= {*MOUTH_MODES, *CONTROLS, *LABELS}
    for table in (FrameTable, MotionTrack, Points):
        empty = {field.name: np.zeros(0, np.float32) for field in dataclasses.fields(table)}
        names |= set(safetensors.numpy.load(pack(table(**empty))))
    with safe_open(head / "head.safetensors", "np") as tensors:
        names |= {name for name in tensors.keys() if not name.startswith("net.")}  # noqa: SIM118
    missing = [name for name in sorted(names) if not re.search(rf"\b{re.escape(name)}\b", text)]
    assert not missing, f"file_formats.md: nothing about {missing}"
    assert f"`splatface-head`, version {FORMAT_VERSION}" in text
    assert f"`splatface-dataset`, version {DATASET_VERSION}" in text


@pytest.mark.parametrize("name", reference().make_pages())
def test_generated_pages_are_up_to_date(name):
    page = ROOT / "docs" / "reference" / name
    assert page.read_text() == reference().make_pages()[name], "run python tools/make_reference.py"
