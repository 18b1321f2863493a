"""`splatface bench lips`: compare the mouth that nets predict from sound with lips that were filmed."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splatface.models.errors import TrainingError

if TYPE_CHECKING:
    from splatface.models.audio2motion.audio_to_mouth import AudioToMouthNet
    from splatface.models.training.filmed_lips.filmed_mouth import FilmedMouth
    from splatface.models.training.filmed_lips.lip_score import LipScore

__all__ = ["add_arguments", "main"]

_ENCODERS = ("fsmn", "whisper")
_COLUMNS = (
    "r_raw",
    "r_speech",
    "r_gap",
    "lag_ms",
    "amplitude",
    "closure_recall",
    "closure_precision",
    "onset_delay_ms",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "datasets",
        type=Path,
        nargs="+",
        metavar="DATASET",
        help="folders that `splatface track` made, or clips (.npz) that `splatface hear films` made",
    )
    parser.add_argument("--encoders", nargs="+", default=list(_ENCODERS), help=f"default: {_ENCODERS}")
    parser.add_argument(
        "--net", type=Path, action="append", default=[], help="another net's file, measured beside"
    )
    parser.add_argument(
        "--again",
        type=Path,
        nargs="*",
        default=[],
        metavar="DATASET",
        help="the same clips tracked in another way, in the same order: the noise ceiling",
    )
    parser.add_argument("--no-ridge", action="store_true", help="leave out the regression on the other clips")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="write filmed and predicted curves")


def main(args: argparse.Namespace) -> int:
    """Measure and print."""
    from splatface.models.training.filmed_lips.filmed_mouth import load_filmed_mouth

    films = [load_filmed_mouth(path) for path in args.datasets]
    again = [load_filmed_mouth(path) for path in args.again]
    if again and len(again) != len(films):
        raise TrainingError(
            f"--again: expected {len(films)} data sets, found {len(again)}: one for each clip"
        )
    scores = _scores(args, films)
    if again:
        scores["tracked again"] = _ceiling(films, again)
    result = _as_plain(films, scores)
    if args.plots:
        _write_plots(args, films)
    if args.json:
        print(json.dumps(_without_nan(result)))
    else:
        print(_table(result))
    return 0


def _scores(args: argparse.Namespace, films: "Sequence[FilmedMouth]") -> "dict[str, list[LipScore]]":
    """Scores of every clip by the name of what predicts."""
    from splatface.models.audio2motion.weights import LOOKAHEAD_FRAMES
    from splatface.models.training.audio_to_mouth.predictors import loudness_baseline, net_predictor
    from splatface.models.training.filmed_lips.lip_score import (
        lip_score,
        ridge_leave_one_out,
        score_predictor,
    )

    scores: dict[str, list[LipScore]] = {}
    for name, net in _nets(args).items():
        scores[name] = []
        for film in films:
            print(f"{name}: {film.name}", file=sys.stderr, flush=True)
            scores[name].append(score_predictor(net_predictor(net), film))
    scores["level"] = [score_predictor(loudness_baseline, film) for film in films]
    if not args.no_ridge and len({film.person for film in films}) > 1:
        for encoder in args.encoders:
            print(f"ridge on {encoder}", file=sys.stderr, flush=True)
            predicted = ridge_leave_one_out(films, encoder, LOOKAHEAD_FRAMES[encoder] * 0.02)
            pairs = zip(films, predicted, strict=True)
            scores[f"ridge {encoder}"] = [lip_score(film, film.times_s, modes) for film, modes in pairs]
    return scores


def _ceiling(films: "Sequence[FilmedMouth]", again: "Sequence[FilmedMouth]") -> "list[LipScore]":
    """Agreement of two trackings of the same clips: the ceiling of what can be measured."""
    from splatface.models.training.filmed_lips.lip_score import lip_score

    return [lip_score(one, other.times_s, other.modes) for one, other in zip(films, again, strict=True)]


def _as_plain(films: "Sequence[FilmedMouth]", scores: "dict[str, list[LipScore]]") -> dict[str, Any]:
    from splatface.models.training.filmed_lips.lip_score import mean_score

    clips = {
        film.name: {name: by_clip[i].plain() for name, by_clip in scores.items()}
        for i, film in enumerate(films)
    }
    return {"clips": clips, "mean": {name: mean_score(by_clip) for name, by_clip in scores.items()}}


def _table(result: dict[str, Any]) -> str:
    """Markdown: the means, then every clip."""
    from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES

    head = "| " + " | ".join(_COLUMNS) + " |"
    lines = ["| predicted by " + head, "|---" * (len(_COLUMNS) + 1) + "|"]
    lines += [f"| {name} {_row(found, _COLUMNS)}" for name, found in result["mean"].items()]
    lines += [
        "",
        "| r above 0.5 Hz | " + " | ".join(MOUTH_MODES) + " |",
        "|---" * (len(MOUTH_MODES) + 1) + "|",
    ]
    lines += [f"| {name} {_row(found['mode_r'], MOUTH_MODES)}" for name, found in result["mean"].items()]
    lines += ["", "| clip | predicted by " + head, "|---" * (len(_COLUMNS) + 2) + "|"]
    for clip, by_name in result["clips"].items():
        lines += [f"| {clip} | {name} {_row(found, _COLUMNS)}" for name, found in by_name.items()]
    return "\n".join(lines)


def _row(found: dict[str, Any], columns: Sequence[str]) -> str:
    return "| " + " | ".join(f"{found[column]:.2f}" for column in columns) + " |"


def _nets(args: argparse.Namespace) -> "dict[str, AudioToMouthNet]":
    """The nets that are measured, by name."""
    from splatface.models.audio2motion.weights import load_net, read_net

    nets = {name: load_net(name) for name in args.encoders}
    return nets | {f"{path.parent.name}/{path.stem}": read_net(path) for path in args.net}


def _write_plots(args: argparse.Namespace, films: "Sequence[FilmedMouth]") -> None:
    """One picture a clip: filmed, by the rule where the phones are known, by every net."""
    from splatface.models.training.audio_to_mouth.predictors import predict_recording
    from splatface.models.training.filmed_lips.lip_score import plot_lips
    from splatface.models.training.speech_corpus.coarticulation import modes_from_phones

    for film in films:
        rule = {"rule": (modes_from_phones(film.phones, film.times_s), film.times_s)} if film.phones else {}
        predictions = rule | {name: predict_recording(net, film.samples) for name, net in _nets(args).items()}
        print(f"wrote {plot_lips(args.plots, film, predictions)}", file=sys.stderr, flush=True)


def _without_nan(value: Any) -> Any:
    """JSON knows no NaN: null."""
    if isinstance(value, dict):
        return {str(key): _without_nan(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and value != value else value
