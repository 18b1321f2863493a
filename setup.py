"""Install data files where ROS looks for them; pyproject.toml says everything else.

Two fields of pyproject.toml stand here, because colcon and old and new setuptools must all read them:
colcon cannot read the object that setuptools makes of `requires-python`, and of `license` setuptools below 77
knows only the table, which setuptools refuses from 2027 on.
"""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def share(*patterns: str) -> list[tuple[str, list[str]]]:
    """Return data files for share/splatface, in the folders that they have here."""
    files_by_folder: dict[str, list[str]] = {}
    for pattern in patterns:
        for path in sorted(ROOT.glob(pattern)):
            if path.is_file():
                file = path.relative_to(ROOT)
                files_by_folder.setdefault(f"share/splatface/{file.parent}", []).append(str(file))
    return list(files_by_folder.items())


setup(
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["splatface*"]),
    package_data={
        "splatface": ["py.typed"],
        "splatface.nodes": ["page/*"],
        "splatface.models.audio2motion": ["weights/*"],
        "splatface.models.tts": ["weights/*"],
        "splatface.models.training.report": ["*.jinja"],
        "splatface.models.training.speech_corpus": ["coarticulation_data/*"],
        "splatface.models.training.tracking": ["face_model_data/*"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/splatface"]),
        ("share/splatface", ["package.xml"]),
        # `ros2 run` and launch files look in lib/splatface; pip ignores setup.cfg's install_scripts.
        ("lib/splatface", sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("scripts/*"))),
        *share(
            "launch/*.launch.yaml", "launch/params/*.yaml", "launch/*.xml", "launch/sounds/*", "heads/**/*"
        ),
    ],
)
