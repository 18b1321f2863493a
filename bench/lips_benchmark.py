# SPDX-License-Identifier: Apache-2.0
"""`splatface bench lips`: compare the mouth that nets predict from audio with filmed lips."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
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
_FRAME_S = 0.02


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
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
    """Score the nets and baselines and print the scores."""
    from splatface.models.audio2motion.pretrained_nets import load_net, read_net
    from splatface.models.training.filmed_lips.filmed_mouth import load_filmed_mouth

    clips = [load_filmed_mouth(path) for path in args.datasets]
    retracked = [load_filmed_mouth(path) for path in args.again]
    if retracked and len(retracked) != len(clips):
        raise TrainingError(
            f"--again: expected {len(clips)} data sets, found {len(retracked)}: one for each clip"
        )
    nets = {name: load_net(name) for name in args.encoders}
    nets |= {f"{path.parent.name}/{path.stem}": read_net(path) for path in args.net}
    scores = _score_nets(nets, clips)
    if not args.no_ridge and len({clip.speaker for clip in clips}) > 1:
        scores |= _score_ridge(args.encoders, clips)
    if retracked:
        scores["tracked again"] = _noise_ceiling(clips, retracked)
    result = _as_dict(clips, scores)
    if args.plots:
        _write_plots(args.plots, nets, clips)
    print(json.dumps(_nan_to_none(result)) if args.json else _markdown(result))
    return 0


def _score_nets(
    nets: "Mapping[str, AudioToMouthNet]", clips: "Sequence[FilmedMouth]"
) -> "dict[str, list[LipScore]]":
    """Score every clip by each net and by the loudness baseline."""
    from splatface.models.training.audio_to_mouth.predictors import loudness_baseline, net_predictor
    from splatface.models.training.filmed_lips.lip_score import score_predictor

    scores: dict[str, list[LipScore]] = {}
    for name, net in nets.items():
        scores[name] = []
        for clip in clips:
            print(f"{name}: {clip.name}", file=sys.stderr, flush=True)
            scores[name].append(score_predictor(net_predictor(net), clip))
    scores["level"] = [score_predictor(loudness_baseline, clip) for clip in clips]
    return scores


def _score_ridge(encoders: Sequence[str], clips: "Sequence[FilmedMouth]") -> "dict[str, list[LipScore]]":
    """Score every clip by ridge regression on the clips of the other speakers."""
    from splatface.models.audio2motion.pretrained_nets import LOOKAHEAD_FRAMES
    from splatface.models.training.filmed_lips.lip_score import lip_score, ridge_leave_one_out

    scores: dict[str, list[LipScore]] = {}
    for encoder in encoders:
        print(f"ridge on {encoder}", file=sys.stderr, flush=True)
        predicted = ridge_leave_one_out(clips, encoder, LOOKAHEAD_FRAMES[encoder] * _FRAME_S)
        pairs = zip(clips, predicted, strict=True)
        scores[f"ridge {encoder}"] = [lip_score(clip, clip.times_s, modes) for clip, modes in pairs]
    return scores


def _noise_ceiling(clips: "Sequence[FilmedMouth]", retracked: "Sequence[FilmedMouth]") -> "list[LipScore]":
    """Score one tracking of the clips by another."""
    from splatface.models.training.filmed_lips.lip_score import lip_score

    pairs = zip(clips, retracked, strict=True)
    return [lip_score(clip, other.times_s, other.modes) for clip, other in pairs]


def _as_dict(clips: "Sequence[FilmedMouth]", scores: "dict[str, list[LipScore]]") -> dict[str, Any]:
    from splatface.models.training.filmed_lips.lip_score import mean_score

    by_clip = {
        clip.name: {name: clip_scores[i].as_dict() for name, clip_scores in scores.items()}
        for i, clip in enumerate(clips)
    }
    mean = {name: mean_score(clip_scores) for name, clip_scores in scores.items()}
    return {"clips": by_clip, "mean": mean}


def _markdown(result: dict[str, Any]) -> str:
    """Format the means, then every clip."""
    from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES

    header = "| " + " | ".join(_COLUMNS) + " |"
    lines = ["| predicted by " + header, "|---" * (len(_COLUMNS) + 1) + "|"]
    lines += [f"| {name} {_table_row(score, _COLUMNS)}" for name, score in result["mean"].items()]
    lines += [
        "",
        "| r above 0.5 Hz | " + " | ".join(MOUTH_MODES) + " |",
        "|---" * (len(MOUTH_MODES) + 1) + "|",
    ]
    lines += [
        f"| {name} {_table_row(score['mode_r'], MOUTH_MODES)}" for name, score in result["mean"].items()
    ]
    lines += ["", "| clip | predicted by " + header, "|---" * (len(_COLUMNS) + 2) + "|"]
    for clip, by_name in result["clips"].items():
        lines += [f"| {clip} | {name} {_table_row(score, _COLUMNS)}" for name, score in by_name.items()]
    return "\n".join(lines)


def _table_row(score: dict[str, Any], columns: Sequence[str]) -> str:
    return "| " + " | ".join(f"{score[column]:.2f}" for column in columns) + " |"


def _write_plots(folder: Path, nets: "Mapping[str, AudioToMouthNet]", clips: "Sequence[FilmedMouth]") -> None:
    """Plot each clip: filmed, by the rule where the phones are known, and by every net."""
    from splatface.models.training.audio_to_mouth.predictors import predict_recording
    from splatface.models.training.filmed_lips.lip_score import plot_lips
    from splatface.models.training.speech_corpus.coarticulation import modes_from_phones

    for clip in clips:
        rule = {"rule": (modes_from_phones(clip.phones, clip.times_s), clip.times_s)} if clip.phones else {}
        predictions = rule | {name: predict_recording(net, clip.samples) for name, net in nets.items()}
        print(f"wrote {plot_lips(folder, clip, predictions)}", file=sys.stderr, flush=True)


def _nan_to_none(value: Any) -> Any:
    """Replace NaN, which JSON does not have, by None."""
    if isinstance(value, dict):
        return {str(key): _nan_to_none(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and value != value else value
