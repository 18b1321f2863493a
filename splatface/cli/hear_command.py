# SPDX-License-Identifier: Apache-2.0
"""`splatface hear`: make, train and evaluate the audio-to-mouth nets that every head shares."""

import argparse
import importlib.util
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from splatface.cli import filmed_lips_command
from splatface.cli.progress_line import VideoProgress
from splatface.models.errors import AudioError, TrainingError

if TYPE_CHECKING:
    from splatface.models.audio2motion.audio_to_mouth import AudioToMouthNet
    from splatface.models.head.head import Head
    from splatface.models.training.audio_to_mouth.encoded_clips import Clips
    from splatface.models.training.audio_to_mouth.net_evaluation import EvaluationTrial
    from splatface.models.training.audio_to_mouth.predictors import Predictor
    from splatface.models.training.speech_corpus.phonemes import Phone
    from splatface.models.video.video_writer import VideoFormat

__all__ = ["add_arguments", "main"]

_ENCODERS = ("fsmn", "logmel", "whisper")
_COPIES = {"fsmn": 6.0, "logmel": 6.0, "whisper": 1.2}  # whisper encodes a minute in 8 to 15 s
_NET_WEIGHTS = (1.0, 0.7, 0.5)  # of the net, beside a linear regression
_R_TOLERANCE = 0.002  # of the correlation on a few validation voices
_SOURCES = ("espeak", "flite", "joe", "kokoro")
_RIDGE_COPIES = 0.2
_SINGLE_SPEAKER_STEPS = 1000
_SINGLE_SPEAKER_FRACTION = 0.6  # of a video is trained on


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    commands = parser.add_subparsers(dest="verb", required=True)
    _add_data(commands.add_parser("data", help="let many voices speak: the training data"))
    _add_train(commands.add_parser("train", help="train a net; stopped, it goes on with the same command"))
    _add_eval(commands.add_parser("eval", help="measure nets and baselines on what was held out"))
    filmed_lips_command.add_films(
        commands.add_parser("films", help="track the mouths of videos, to learn from or measure with")
    )
    filmed_lips_command.add_rule(
        commands.add_parser("rule", help="fit the coarticulation rule to filmed lips")
    )
    filmed_lips_command.add_lips(
        commands.add_parser("lips", help="train a net on filmed lips and made voices")
    )
    _add_film(commands.add_parser("film", help="see a head say a recording as each net hears it"))


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", type=Path, help="folder to write")
    parser.add_argument("--sources", nargs="*", choices=_SOURCES, default=list(_SOURCES), help="default: all")
    parser.add_argument("--rounds", type=int, help="how often each says its sentences")
    parser.add_argument("--recordings", type=Path, help="folder of a real person's recordings, to be aligned")
    parser.add_argument("--words", type=Path, help="what is said in them: lines `name: words`")
    parser.add_argument(
        "--voice", default="flite/slt", help="says the same to align with: flite/NAME, espeak/LANGUAGE"
    )
    parser.add_argument("--language", default="en", help="of the recordings")


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", type=Path, help="what `hear data` wrote")
    parser.add_argument("--encoder", choices=_ENCODERS, required=True)
    parser.add_argument("--out", type=Path, help="file to write (default: the shipped one)")
    parser.add_argument(
        "--copies",
        type=float,
        help=f"recordings of every sentence, or of a share of them (default: {_COPIES})",
    )
    parser.add_argument("--steps", type=int, default=8000, help="of training, 40 to 100 ms each")
    parser.add_argument(
        "--lookahead", type=int, choices=range(5), help="frames of 20 ms (default: as the shipped net)"
    )
    parser.add_argument("--bf16", action="store_true", help="faster on processors with avx512_bf16")


def _add_eval(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", type=Path, help="what `hear data` wrote")
    parser.add_argument("--encoders", nargs="+", choices=_ENCODERS, default=list(_ENCODERS))
    parser.add_argument("--net", type=Path, action="append", default=[], help="another net's file")
    parser.add_argument("--tracked", type=Path, nargs="*", default=[], help="data sets of real films")
    parser.add_argument(
        "--person",
        action="store_true",
        help="also a net trained on the first 60 %% of each film of --tracked",
    )
    parser.add_argument(
        "--gated", action="store_true", help="also each net behind the voice gate, as in a running face"
    )
    parser.add_argument("--ridge", action="store_true", help="also linear regression on each encoder")
    parser.add_argument("--each", type=int, default=10, help="sentences a source and language")
    parser.add_argument("--out", type=Path, help="folder for report.md, report.json and plots")


def _add_film(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sound", type=Path, help="a recording of speech")
    parser.add_argument("--head", default="mira", help="a shipped head's name or a head folder")
    parser.add_argument("--out", type=Path, required=True, metavar="FILM", help="a .mp4 or .webm")
    parser.add_argument(
        "--encoder", nargs="+", default=["whisper", "fsmn"], help="side by side (default: whisper fsmn)"
    )
    parser.add_argument("--size", default="", metavar="WxH", help="of one face, e.g. 384x384")
    parser.add_argument("--fps", default="25", help="pictures per second, 1 to 120 (default: 25)")
    parser.add_argument("--words", default="", help="all that is said: one more face, moved by its phones")
    parser.add_argument(
        "--voice", default="flite/slt", help="says --words to align with: flite/NAME, espeak/LANGUAGE"
    )


def main(args: argparse.Namespace) -> int:
    """Run the subcommand."""
    commands = {
        "data": _data,
        "train": _train,
        "eval": _eval,
        "film": _film,
        "films": filmed_lips_command.films_main,
        "rule": filmed_lips_command.rule_main,
        "lips": filmed_lips_command.lips_main,
    }
    commands[args.verb](args)
    return 0


def _report(text: str) -> None:
    print(text, flush=True)


def _data(args: argparse.Namespace) -> None:
    from splatface.models.training.speech_corpus.corpus import make_corpus, write_sentences

    if args.rounds is not None and args.rounds < 1:
        raise TrainingError(f"--rounds: expected 1 or more, found {args.rounds}: leave it out")
    if args.recordings is None:
        make_corpus(args.corpus, args.sources, _report, rounds=args.rounds)
        return
    from splatface.models.training.speech_corpus.forced_alignment import (
        align_recordings,
        number_transcripts,
        read_transcripts,
        voice_by_name,
    )

    if not args.recordings.is_dir():
        raise AudioError(f"{args.recordings}: expected a folder of recordings, found none: check the path")
    transcripts = number_transcripts() | (read_transcripts(args.words) if args.words else {})
    name = args.recordings.name
    synthesize = voice_by_name(args.voice)
    args.corpus.mkdir(parents=True, exist_ok=True)
    recordings = align_recordings(
        args.recordings, transcripts, synthesize, voice=f"{name}/recording", language=args.language
    )
    sentences = (recording.speech for recording in recordings)
    _report(write_sentences(args.corpus, sentences, f"recordings_{name}"))


def _train(args: argparse.Namespace) -> None:
    if importlib.util.find_spec("torch") is None:
        raise TrainingError("expected torch, found none: pip install splatface[train]")
    import torch

    from splatface.models.audio.offline_features import extract_features
    from splatface.models.audio2motion.pretrained_nets import LOOKAHEAD_FRAMES, store_net
    from splatface.models.training.audio_to_mouth.bf16_features import extract_features_bf16
    from splatface.models.training.audio_to_mouth.encoded_clips import (
        CACHE_FOLDER,
        train_and_validation_clips,
    )
    from splatface.models.training.audio_to_mouth.net_postprocessing import (
        ridge_net,
        scale_outputs,
        variance_gains,
    )
    from splatface.models.training.audio_to_mouth.train_mouth_net import MouthTrainingConfig, train_mouth_net

    torch.set_num_threads(1)
    copies = _COPIES[args.encoder] if args.copies is None else args.copies
    extractor = extract_features_bf16 if args.bf16 else extract_features
    clips, validation = train_and_validation_clips(
        args.corpus, args.encoder, copies=copies, extractor=extractor, report=_report
    )
    _report(f"{len(clips.values) / 50 / 60:.1f} min of sound in {len(clips.starts) - 1} clips")
    lookahead = LOOKAHEAD_FRAMES[args.encoder] if args.lookahead is None else args.lookahead
    config = MouthTrainingConfig(steps=args.steps, lookahead_frames=lookahead, bf16=args.bf16)
    state_path = args.corpus / CACHE_FOLDER / f"{args.encoder}.state"
    net = train_mouth_net(clips, config, _report, state_path)
    net = _blend_with_ridge(net, ridge_net(clips, lookahead), validation)
    gains = variance_gains(net, validation)
    _report("amplitude: " + " ".join(f"{gain:.2f}" for gain in gains))
    _report(f"wrote {store_net(scale_outputs(net, gains), args.out)}")


def _blend_with_ridge(
    net: "AudioToMouthNet", ridge: "AudioToMouthNet", validation: "Clips"
) -> "AudioToMouthNet":
    """Blend in as much of a regression as costs no correlation on unseen voices: it cannot overfit.

    Where the modes are far from linear in the features (log-mel), this may be none.
    """
    from splatface.models.training.audio_to_mouth.net_postprocessing import blend_nets, opening_correlation

    blends = {weight: blend_nets(net, ridge, weight) if weight < 1 else net for weight in _NET_WEIGHTS}
    correlations = {weight: opening_correlation(blend, validation) for weight, blend in blends.items()}
    listed = ", ".join(f"{1 - weight:.0%} regression: r {r:.4f}" for weight, r in correlations.items())
    _report(f"opening of unknown voices with {listed}")
    best = max(correlations.values())
    return blends[min(weight for weight, r in correlations.items() if r > best - _R_TOLERANCE)]


def _eval(args: argparse.Namespace) -> None:
    from splatface.models.training.audio_to_mouth.net_evaluation import (
        evaluate_predictor,
        held_out_trials,
        markdown_table,
        nonspeech_trials,
        plot_openings,
        write_evaluation,
    )

    nets = _nets(args)
    predictors = _predictors(args, nets)
    video_trials = [_video_trial(folder) for folder in args.tracked]
    if args.person:
        video_trials, baselines = _single_speaker_baselines(video_trials, args.encoders)
        predictors |= baselines
    trials = held_out_trials(args.corpus, each=args.each) + video_trials
    nonspeech = nonspeech_trials(args.corpus, each=min(args.each, 4))
    if not trials:
        raise TrainingError(
            f"{args.corpus}: expected held-out sentences, found none: splatface hear data {args.corpus}"
        )
    evaluations = {}
    for name, predictor in predictors.items():
        print(f"measuring {name}", file=sys.stderr, flush=True)
        evaluations[name] = evaluate_predictor(predictor, trials, nonspeech)
    print(markdown_table(evaluations))
    about = {f"{name}: delay and cost": _latency_and_cost(net) for name, net in nets.items()}
    for name, cost in about.items():
        _report(f"{name}: {cost}")
    if args.out:
        write_evaluation(args.out, evaluations, about)
        for path in plot_openings(args.out, predictors, trials):
            _report(f"wrote {path}")


def _nets(args: argparse.Namespace) -> "dict[str, AudioToMouthNet]":
    from splatface.models.audio2motion.pretrained_nets import load_net, read_net

    return {name: load_net(name) for name in args.encoders} | {path.stem: read_net(path) for path in args.net}


def _predictors(args: argparse.Namespace, nets: "dict[str, AudioToMouthNet]") -> "dict[str, Predictor]":
    from splatface.models.audio2motion.pretrained_nets import LOOKAHEAD_FRAMES
    from splatface.models.training.audio_to_mouth.encoded_clips import train_and_validation_clips
    from splatface.models.training.audio_to_mouth.net_postprocessing import ridge_net
    from splatface.models.training.audio_to_mouth.predictors import (
        gated_predictor,
        loudness_baseline,
        net_predictor,
    )

    predictors = {name: net_predictor(net) for name, net in nets.items()}
    if args.gated:
        predictors |= {f"{name} in a face": gated_predictor(net) for name, net in nets.items()}
    if args.ridge:
        for encoder in args.encoders:
            clips, _ = train_and_validation_clips(args.corpus, encoder, copies=_RIDGE_COPIES)
            net = ridge_net(clips, LOOKAHEAD_FRAMES[encoder])
            predictors[f"ridge on {encoder}"] = net_predictor(net)
    return predictors | {"level": loudness_baseline}


def _video_trial(folder: Path) -> "EvaluationTrial":
    """Make a trial of a tracked data set."""
    import numpy as np

    from splatface.models.training.audio_to_mouth.net_evaluation import EvaluationTrial
    from splatface.models.training.dataset.dataset_audio import load_audio
    from splatface.models.training.dataset.dataset_io import load_dataset

    dataset = load_dataset(folder)
    track = dataset.motion
    known = np.isfinite(track.mouth).all(axis=1)
    times_s = track.time_ns[known] / 1e9
    return EvaluationTrial(dataset.name, "film", "tracked", load_audio(dataset), times_s, track.mouth[known])


def _single_speaker_baselines(
    trials: "list[EvaluationTrial]", encoders: Iterable[str]
) -> "tuple[list[EvaluationTrial], dict[str, Predictor]]":
    """Train a net on the beginning of each video alone; return the rest of the videos and the nets."""
    if importlib.util.find_spec("torch") is None:
        raise TrainingError("--person: expected torch, found none: pip install splatface[train]")
    import torch

    from splatface.models.audio2motion.pretrained_nets import LOOKAHEAD_FRAMES
    from splatface.models.training.audio_to_mouth.predictors import net_predictor
    from splatface.models.training.audio_to_mouth.train_mouth_net import (
        MouthTrainingConfig,
        train_single_speaker_net,
    )

    torch.set_num_threads(1)
    rests, predictors = [], {}
    for trial in trials:
        beginning, rest = trial.split(_SINGLE_SPEAKER_FRACTION)
        rests.append(rest)
        for encoder in encoders:
            config = MouthTrainingConfig(
                steps=_SINGLE_SPEAKER_STEPS, lookahead_frames=LOOKAHEAD_FRAMES[encoder], speaker_mixup=0.0
            )
            net = train_single_speaker_net(beginning, encoder, config)
            predictors[f"{encoder} of {trial.source} alone"] = net_predictor(net)
    return rests, predictors


def _latency_and_cost(net: "AudioToMouthNet") -> str:
    """Describe the look-ahead of an image, the time of an inference and the size of a net."""
    import numpy as np

    from splatface.models.audio.encoder import encoder
    from splatface.models.audio2motion.audio_to_mouth import net_to_tensors

    window = np.zeros((net.window, net.feature_dim), np.float32)
    net(window)
    begin = time.perf_counter()
    for _ in range(200):
        net(window)
    ms = (time.perf_counter() - begin) * 1000 / 200
    encoder_ms = encoder(net.encoder).lookahead_ms
    numbers = sum(tensor.size for tensor in net_to_tensors(net).values())
    return (
        f"{encoder_ms + net.lookahead_ms:.0f} ms of sound after a picture's moment "
        f"({encoder_ms:.0f} encoder + {net.lookahead_ms:.0f} net), "
        f"{ms:.3f} ms a picture, {numbers * 2 / 1e6:.2f} MB"
    )


def _film(args: argparse.Namespace) -> None:
    """Write a video of a head that speaks a recording by each net, side by side, above a running plot."""
    from splatface.models.head.head_file import head_folder, load_head
    from splatface.models.training.speech_corpus.forced_alignment import align_phones
    from splatface.models.video.video_writer import parse_video_format

    head = load_head(head_folder(args.head))
    size = head.info.camera.width, head.info.camera.height
    face = parse_video_format(args.size, "", args.fps, size)
    phones = align_phones(args.sound, args.words, args.voice) if args.words else ()
    _write_video(args, head, face, phones)


def _write_video(
    args: argparse.Namespace, head: "Head", face: "VideoFormat", phones: "tuple[Phone, ...]"
) -> None:
    from splatface.models.render.render import renderer
    from splatface.models.talking_head import TalkingHead
    from splatface.models.training.report.encoder_comparison import comparison_format, render_comparison
    from splatface.models.video.video_audio import audio_from_file
    from splatface.models.video.video_writer import VideoFileWriter, metadata_tags

    talking_head = TalkingHead(head, renderer("cpu"), size=(face.width, face.height))
    for name in args.encoder:
        talking_head.lookahead_ns(name)  # raises where the head has no net for the encoder
    video_format = comparison_format(face, len(args.encoder) + bool(phones))
    channels = audio_from_file(args.sound).channels
    with VideoFileWriter(args.out, video_format, channels, metadata_tags(head.info)) as video:
        progress = VideoProgress(sys.stderr, time.monotonic)
        for frame in render_comparison(args.sound, args.encoder, talking_head, face.fps, phones):
            video.add(frame.picture, frame.samples)
            progress.show(video.seconds, frame.share)
        progress.end()
        seconds = video.seconds
    size = f"{video_format.width}x{video_format.height}"
    print(f"{args.out}: {seconds:.1f} s, {size}, {float(video_format.fps):g} fps")
