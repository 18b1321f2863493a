# SPDX-License-Identifier: Apache-2.0
"""`splatface hear films`, `hear rule` and `hear lips`: train on filmed lips."""

import argparse
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from splatface.models.errors import TrackingError, TrainingError

if TYPE_CHECKING:
    from splatface.models.training.filmed_lips.filmed_mouth import FilmedMouth
    from splatface.models.training.filmed_lips.recognized_words import SpeechRecognizer

__all__ = ["add_films", "add_lips", "add_rule", "films_main", "lips_main", "rule_main"]

_COPIES = {"fsmn": 4, "whisper": 3, "logmel": 4}
_CORPUS_COPIES = {"fsmn": 1.0, "whisper": 0.2, "logmel": 1.0}


def add_films(parser: argparse.ArgumentParser) -> None:
    """Add the options of `hear films`."""
    parser.add_argument("videos", type=Path, nargs="+", metavar="VIDEO", help="one speaking face each")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="for one .npz a video")
    parser.add_argument(
        "--license", "--licence", required=True, help="of the videos: an SPDX name, or in words"
    )
    parser.add_argument("--person", default="", help="who is shown (default: each video shows another one)")
    parser.add_argument("--words", action="store_true", help="also what is said, for `hear rule`")
    parser.add_argument("--recognizer", type=Path, metavar="FOLDER", help="a CTranslate2 Whisper model")


def add_rule(parser: argparse.ArgumentParser) -> None:
    """Add the options of `hear rule`."""
    parser.add_argument("films", type=Path, help="folder that `hear films --words` wrote")
    parser.add_argument("--out", type=Path, required=True, help="the rule's file (.safetensors)")
    parser.add_argument("--steps", type=int, default=300)


def add_lips(parser: argparse.ArgumentParser) -> None:
    """Add the options of `hear lips`."""
    parser.add_argument("corpus", type=Path, help="made voices, as `hear data` wrote them")
    parser.add_argument("films", type=Path, help="folder that `hear films` wrote")
    parser.add_argument("--encoder", choices=tuple(_COPIES), required=True)
    parser.add_argument("--start", type=Path, help="net to go on from (default: the shipped one)")
    parser.add_argument("--out", type=Path, help="file to write (default: the shipped one)")
    parser.add_argument("--copies", type=int, help=f"recordings anew of every clip (default: {_COPIES})")
    parser.add_argument("--corpus-copies", type=float, help="of made voices (default: as `hear train`)")
    parser.add_argument("--steps", type=int, default=900, help="more learn the clips by heart")
    parser.add_argument("--share", type=float, default=0.7, help="of the net beside a ridge regression")
    parser.add_argument(
        "--amplitude", type=Path, metavar="FOLDER", help="clips of other persons: how wide people open"
    )
    parser.add_argument(
        "--without", nargs="*", default=[], metavar="PERSON", help="left out, to measure with"
    )
    parser.add_argument("--bf16", action="store_true", help="faster on processors with avx512_bf16")


def films_main(args: argparse.Namespace) -> None:
    """Track the mouth of every video that has not been tracked yet."""
    from splatface.models.storage import cache_dir
    from splatface.models.training.filmed_lips.filmed_mouth import save_filmed_mouth
    from splatface.models.training.filmed_lips.recognized_words import SpeechRecognizer

    args.out.mkdir(parents=True, exist_ok=True)
    recognizer = SpeechRecognizer(args.recognizer, cache_dir()) if args.words else None
    failed = 0
    for number, video in enumerate(args.videos, 1):
        path = args.out / f"{video.stem}.npz"
        if path.exists():
            continue
        try:
            clip, sync = _track(video, args.person or video.stem, args.license, recognizer)
        except TrackingError as error:
            failed += 1
            print(f"{video}: left out: {error}", flush=True)
            continue
        save_filmed_mouth(path, clip)
        print(
            f"{number} of {len(args.videos)}: {path}: {len(clip.times_s)} frames, {sync}, "
            f"{len(clip.phones)} phones",
            flush=True,
        )
    if failed == len(args.videos):
        raise TrackingError("hear films: expected a video that can be tracked, found none: see above")


def _track(
    video: Path, speaker: str, license: str, recognizer: "SpeechRecognizer | None"
) -> "tuple[FilmedMouth, str]":
    """Return the filmed mouth of a video, with phones where there is a recognizer, and its sync in words."""
    from splatface.models.training.filmed_lips.filmed_mouth import filmed_mouth_from_track
    from splatface.models.training.filmed_lips.recognized_words import phones_from_transcript
    from splatface.models.training.tracking.extract_frames import track_mouth

    track = track_mouth(video)
    clip = filmed_mouth_from_track(track, name=video.stem, speaker=speaker, license=license)
    if recognizer is not None:
        clip = clip.with_phones(phones_from_transcript(clip.samples, recognizer(clip.samples)))
    offset = track.offset
    sync = f"{offset.audio_delay_ms:.0f} ms late" if offset.reliable else "sound offset unsure"
    return clip, sync


def rule_main(args: argparse.Namespace) -> None:
    """Fit the coarticulation rule and write it."""
    _expect_torch()
    import torch

    from splatface.models.training.filmed_lips.fit_coarticulation import (
        CoarticulationFitConfig,
        fit_coarticulation,
    )
    from splatface.models.training.speech_corpus.coarticulation import save_coarticulation

    torch.set_num_threads(1)
    clips = _load_clips(args.films)
    rule = fit_coarticulation(clips, CoarticulationFitConfig(steps=args.steps), _report)
    about = {"license": "Apache-2.0", "sources": f"measured on tracked mouths of {len(clips)} clips"}
    save_coarticulation(args.out, rule, about)
    _report(f"wrote {args.out}")


def lips_main(args: argparse.Namespace) -> None:
    """Fine-tune a net on filmed lips and synthetic speech together."""
    _expect_torch()
    import torch

    from splatface.models.audio.offline_features import extract_features
    from splatface.models.audio2motion.pretrained_nets import load_net, read_net, store_net
    from splatface.models.training.audio_to_mouth.bf16_features import extract_features_bf16
    from splatface.models.training.audio_to_mouth.encoded_clips import concatenate_clips, corpus_clips
    from splatface.models.training.audio_to_mouth.net_postprocessing import blend_nets, ridge_net
    from splatface.models.training.filmed_lips.fine_tune import (
        FineTuningConfig,
        encode_filmed_clips,
        fine_tune_soup,
        match_filmed_amplitude,
    )

    torch.set_num_threads(1)
    extractor = extract_features_bf16 if args.bf16 else extract_features
    clips = [clip for clip in _load_clips(args.films) if clip.speaker not in args.without]
    if not clips:
        raise TrainingError("--without: expected some persons to learn from, found none: leave out fewer")
    filmed = encode_filmed_clips(
        clips,
        args.encoder,
        copies=_COPIES[args.encoder] if args.copies is None else args.copies,
        cache=args.films / "features",
        extractor=extractor,
        report=_report,
    )
    corpus_copies = _CORPUS_COPIES[args.encoder] if args.corpus_copies is None else args.corpus_copies
    corpus = corpus_clips(
        args.corpus, args.encoder, "train", copies=corpus_copies, extractor=extractor, report=_report
    )
    start = load_net(args.encoder) if args.start is None else read_net(args.start)
    config = FineTuningConfig(steps=args.steps, bf16=args.bf16)
    net = fine_tune_soup(start, filmed, corpus, config, _report)
    ridge = ridge_net(concatenate_clips([filmed, corpus]), round(start.lookahead_ms / 20))
    net = blend_nets(net, ridge, args.share)
    if args.amplitude is not None:
        net = match_filmed_amplitude(net, _load_clips(args.amplitude), extractor)
    _report(f"wrote {store_net(net, args.out)}")


def _load_clips(folder: Path) -> "list[FilmedMouth]":
    from splatface.models.training.filmed_lips.filmed_mouth import load_filmed_mouth

    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise TrainingError(
            f"{folder}: expected clips (.npz), found none: make them with `splatface hear films`"
        )
    return [load_filmed_mouth(path) for path in paths]


def _report(text: str) -> None:
    print(text, flush=True)


def _expect_torch() -> None:
    if importlib.util.find_spec("torch") is None:
        raise TrainingError("expected torch, found none: pip install splatface[train]")
