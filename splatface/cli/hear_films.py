"""`splatface hear films`, `hear rule` and `hear lips`: learn from lips that were filmed."""

import argparse
import importlib.util
from pathlib import Path

from splatface.models.errors import TrackingError, TrainingError

__all__ = ["add_films", "add_lips", "add_rule", "films_main", "lips_main", "rule_main"]

_COPIES = {"fsmn": 4, "whisper": 3, "logmel": 4}
_CORPUS_COPIES = {"fsmn": 1.0, "whisper": 0.2, "logmel": 1.0}


def add_films(parser: argparse.ArgumentParser) -> None:
    """Options of `hear films`."""
    parser.add_argument("videos", type=Path, nargs="+", metavar="VIDEO", help="one speaking face each")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="for one .npz a video")
    parser.add_argument(
        "--license", "--licence", required=True, help="of the videos: an SPDX name, or in words"
    )
    parser.add_argument("--person", default="", help="who is shown (default: each video shows another one)")
    parser.add_argument("--words", action="store_true", help="also what is said, for `hear rule`")
    parser.add_argument("--recognizer", type=Path, metavar="FOLDER", help="a CTranslate2 Whisper model")


def add_rule(parser: argparse.ArgumentParser) -> None:
    """Options of `hear rule`."""
    parser.add_argument("films", type=Path, help="folder that `hear films --words` wrote")
    parser.add_argument("--out", type=Path, required=True, help="the rule's file (.safetensors)")
    parser.add_argument("--steps", type=int, default=300)


def add_lips(parser: argparse.ArgumentParser) -> None:
    """Options of `hear lips`."""
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
    """Track the mouth of every video; what is there already is kept."""
    from splatface.models.storage import cache_dir
    from splatface.models.training.filmed_lips.filmed_mouth import filmed_mouth_from_track, save_filmed_mouth
    from splatface.models.training.filmed_lips.recognized_words import (
        SpeechRecognizer,
        phones_from_transcript,
    )
    from splatface.models.training.tracking.extract_frames import track_mouth

    args.out.mkdir(parents=True, exist_ok=True)
    cache = cache_dir()
    recognizer = SpeechRecognizer(args.recognizer, cache) if args.words else None
    failed = 0
    for number, video in enumerate(args.videos, 1):
        path = args.out / f"{video.stem}.npz"
        if path.exists():
            continue
        try:
            track = track_mouth(video)
            film = filmed_mouth_from_track(
                track, name=video.stem, person=args.person or video.stem, license=args.license
            )
        except TrackingError as error:
            failed += 1
            print(f"{video}: left out: {error}", flush=True)
            continue
        if recognizer is not None:
            film = film.with_phones(phones_from_transcript(film.samples, recognizer(film.samples)))
        save_filmed_mouth(path, film)
        offset = (
            f"{track.offset.audio_delay_ms:.0f} ms late" if track.offset.reliable else "sound offset unsure"
        )
        print(
            f"{number} of {len(args.videos)}: {path}: {len(film.times_s)} frames, {offset}, "
            f"{len(film.phones)} phones",
            flush=True,
        )
    if failed == len(args.videos):
        raise TrackingError("hear films: expected a video that can be tracked, found none: see above")


def rule_main(args: argparse.Namespace) -> None:
    """Fit the coarticulation rule and write it."""
    _expect_torch()
    import torch

    from splatface.models.training.filmed_lips.filmed_mouth import load_filmed_mouth
    from splatface.models.training.filmed_lips.fit_coarticulation import (
        CoarticulationFitConfig,
        fit_coarticulation,
    )
    from splatface.models.training.speech_corpus.coarticulation import save_coarticulation

    torch.set_num_threads(1)
    films = [load_filmed_mouth(path) for path in _films(args.films)]
    rule = fit_coarticulation(
        films, CoarticulationFitConfig(steps=args.steps), lambda text: print(text, flush=True)
    )
    about = {"license": "Apache-2.0", "sources": f"measured on tracked mouths of {len(films)} clips"}
    save_coarticulation(args.out, rule, about)
    print(f"wrote {args.out}")


def lips_main(args: argparse.Namespace) -> None:
    """Train a net on filmed lips and made voices together."""
    _expect_torch()
    import torch

    from splatface.models.audio.offline_features import features
    from splatface.models.audio2motion.weights import load_net, read_net, store_net
    from splatface.models.training.audio_to_mouth.bf16_features import extract_features_bf16
    from splatface.models.training.audio_to_mouth.encoded_clips import concatenate_clips, corpus_clips
    from splatface.models.training.audio_to_mouth.net_postprocessing import blend_nets, ridge_net
    from splatface.models.training.filmed_lips.filmed_mouth import load_filmed_mouth
    from splatface.models.training.filmed_lips.fine_tune import (
        FineTuningConfig,
        encode_filmed_clips,
        fine_tune_soup,
        match_filmed_amplitude,
    )

    def say(text: str) -> None:
        print(text, flush=True)

    torch.set_num_threads(1)
    ear = extract_features_bf16 if args.bf16 else features
    every = [load_filmed_mouth(path) for path in _films(args.films)]
    known = [film for film in every if film.person not in args.without]
    if not known:
        raise TrainingError("--without: expected some persons to learn from, found none: leave out fewer")
    copies = _COPIES[args.encoder] if args.copies is None else args.copies
    cache = args.films / "features"
    films = encode_filmed_clips(known, args.encoder, copies=copies, cache=cache, ear=ear, report=say)
    made = _CORPUS_COPIES[args.encoder] if args.corpus_copies is None else args.corpus_copies
    corpus = corpus_clips(args.corpus, args.encoder, "train", copies=made, ear=ear, report=say)
    start = load_net(args.encoder) if args.start is None else read_net(args.start)
    net = fine_tune_soup(start, films, corpus, FineTuningConfig(steps=args.steps, bfloat16=args.bf16), say)
    regression = ridge_net(concatenate_clips([films, corpus]), round(start.lookahead_ms / 20))
    net = blend_nets(net, regression, args.share)
    if args.amplitude is not None:
        others = [load_filmed_mouth(path) for path in _films(args.amplitude)]
        net = match_filmed_amplitude(net, others, ear)
    say(f"wrote {store_net(net, args.out)}")


def _films(folder: Path) -> list[Path]:
    found = sorted(folder.glob("*.npz"))
    if not found:
        raise TrainingError(
            f"{folder}: expected clips (.npz), found none: make them with `splatface hear films`"
        )
    return found


def _expect_torch() -> None:
    if importlib.util.find_spec("torch") is None:
        raise TrainingError("expected torch, found none: pip install splatface[train]")
