"""`splatface hear`: make, train and measure the nets that every head hears with."""

import argparse
import importlib.util
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from splatface.cli import hear_film, hear_films
from splatface.models.errors import AudioError, TrainingError

if TYPE_CHECKING:
    from splatface.models.audio2motion.audio_to_mouth import AudioToMouthNet
    from splatface.models.training.audio_to_mouth.encoded_clips import Clips
    from splatface.models.training.audio_to_mouth.net_evaluation import EvaluationTrial
    from splatface.models.training.audio_to_mouth.predictors import Predictor

__all__ = ["add_arguments", "main"]

_ENCODERS = ("fsmn", "logmel", "whisper")
_COPIES = {"fsmn": 6.0, "logmel": 6.0, "whisper": 1.2}  # whisper hears a minute in 8 to 15 s
_SHARES = (1.0, 0.7, 0.5)  # of the net, beside a linear regression
_AS_GOOD = 0.002  # correlation on a few validating voices
_SOURCES = ("espeak", "flite", "joe", "kokoro")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One subcommand for each verb."""
    verbs = parser.add_subparsers(dest="verb", required=True)
    data = verbs.add_parser("data", help="let many voices speak: the training data")
    data.add_argument("corpus", type=Path, help="folder to write")
    data.add_argument("--sources", nargs="*", choices=_SOURCES, default=list(_SOURCES), help="default: all")
    data.add_argument("--rounds", type=int, help="how often each says its sentences")
    data.add_argument("--recordings", type=Path, help="folder of a real person's recordings, to be aligned")
    data.add_argument("--words", type=Path, help="what is said in them: lines `name: words`")
    data.add_argument(
        "--voice", default="flite/slt", help="says the same to align with: flite/NAME, espeak/LANGUAGE"
    )
    data.add_argument("--language", default="en", help="of the recordings")
    train = verbs.add_parser("train", help="train a net; stopped, it goes on with the same command")
    train.add_argument("corpus", type=Path, help="what `hear data` wrote")
    train.add_argument("--encoder", choices=_ENCODERS, required=True)
    train.add_argument("--out", type=Path, help="file to write (default: the shipped one)")
    train.add_argument(
        "--copies",
        type=float,
        help=f"recordings of every sentence, or of a share of them (default: {_COPIES})",
    )
    train.add_argument("--steps", type=int, default=8000, help="of training, 40 to 100 ms each")
    train.add_argument(
        "--lookahead", type=int, choices=range(5), help="frames of 20 ms (default: as the shipped net)"
    )
    train.add_argument("--bf16", action="store_true", help="faster on processors with avx512_bf16")
    measure = verbs.add_parser("eval", help="measure nets and baselines on what was held out")
    measure.add_argument("corpus", type=Path, help="what `hear data` wrote")
    measure.add_argument("--encoders", nargs="+", choices=_ENCODERS, default=list(_ENCODERS))
    measure.add_argument("--net", type=Path, action="append", default=[], help="another net's file")
    measure.add_argument("--tracked", type=Path, nargs="*", default=[], help="data sets of real films")
    measure.add_argument(
        "--person",
        action="store_true",
        help="also a net trained on the first 60 %% of each film of --tracked",
    )
    measure.add_argument(
        "--gated", action="store_true", help="also each net behind the voice gate, as in a running face"
    )
    measure.add_argument("--ridge", action="store_true", help="also linear regression on each encoder")
    measure.add_argument("--each", type=int, default=10, help="sentences a source and language")
    measure.add_argument("--out", type=Path, help="folder for report.md, report.json and plots")
    hear_films.add_films(
        verbs.add_parser("films", help="track the mouths of videos, to learn from or measure with")
    )
    hear_films.add_rule(verbs.add_parser("rule", help="fit the coarticulation rule to filmed lips"))
    hear_films.add_lips(verbs.add_parser("lips", help="train a net on filmed lips and made voices"))
    hear_film.add_arguments(verbs.add_parser("film", help="see a head say a recording as each net hears it"))


def main(args: argparse.Namespace) -> int:
    """Carry out the verb."""
    verbs = {
        "data": _data,
        "train": _train,
        "eval": _eval,
        "film": hear_film.main,
        "films": hear_films.films_main,
        "rule": hear_films.rule_main,
        "lips": hear_films.lips_main,
    }
    verbs[args.verb](args)
    return 0


def _say(text: str) -> None:
    print(text, flush=True)


def _data(args: argparse.Namespace) -> None:
    from splatface.models.training.speech_corpus.corpus import make_corpus, write_sentences

    if args.rounds is not None and args.rounds < 1:
        raise TrainingError(f"--rounds: expected 1 or more, found {args.rounds}: leave it out")
    if args.recordings is None:
        make_corpus(args.corpus, args.sources, _say, rounds=args.rounds)
        return
    from splatface.models.audio.offline_features import features
    from splatface.models.training.speech_corpus.forced_alignment import (
        align_recordings,
        number_transcripts,
        read_transcripts,
        voice_by_name,
    )

    if not args.recordings.is_dir():
        raise AudioError(f"{args.recordings}: expected a folder of recordings, found none: check the path")
    words = number_transcripts() | (read_transcripts(args.words) if args.words else {})
    name = args.recordings.name
    say = voice_by_name(args.voice)
    args.corpus.mkdir(parents=True, exist_ok=True)
    found = align_recordings(
        args.recordings, words, say, features, voice=f"{name}/recording", language=args.language
    )
    _say(write_sentences(args.corpus, (each.said for each in found), f"recordings_{name}"))


def _train(args: argparse.Namespace) -> None:
    if importlib.util.find_spec("torch") is None:
        raise TrainingError("expected torch, found none: pip install splatface[train]")
    import torch

    from splatface.models.audio.offline_features import features
    from splatface.models.audio2motion.weights import LOOKAHEAD_FRAMES, store_net
    from splatface.models.training.audio_to_mouth.bf16_features import extract_features_bf16
    from splatface.models.training.audio_to_mouth.encoded_clips import train_and_validation_clips
    from splatface.models.training.audio_to_mouth.net_postprocessing import (
        ridge_net,
        scale_outputs,
        variance_gains,
    )
    from splatface.models.training.audio_to_mouth.train_mouth_net import MouthTrainingConfig, train_mouth_net

    torch.set_num_threads(1)
    copies = _COPIES[args.encoder] if args.copies is None else args.copies
    ear = extract_features_bf16 if args.bf16 else features
    clips, validation = train_and_validation_clips(
        args.corpus, args.encoder, copies=copies, ear=ear, report=_say
    )
    _say(f"{len(clips.values) / 50 / 60:.1f} min of sound in {len(clips.starts) - 1} clips")
    frames = LOOKAHEAD_FRAMES[args.encoder] if args.lookahead is None else args.lookahead
    how = MouthTrainingConfig(steps=args.steps, lookahead=frames, bf16=args.bf16)
    net = train_mouth_net(clips, how, _say, args.corpus / "heard" / f"{args.encoder}.state")
    net = _blend_with_ridge(net, ridge_net(clips, frames), validation)
    gains = variance_gains(net, validation)
    _say("amplitude: " + " ".join(f"{gain:.2f}" for gain in gains))
    _say(f"wrote {store_net(scale_outputs(net, gains), args.out)}")


def _blend_with_ridge(
    net: "AudioToMouthNet", regression: "AudioToMouthNet", validation: "Clips"
) -> "AudioToMouthNet":
    """The net with as much of a regression as costs unknown voices nothing: it knows no voice by heart.

    Where the features are far from linear in the mouth (log-mel), a second opinion only disturbs.
    """
    from splatface.models.training.audio_to_mouth.net_postprocessing import blend_nets, opening_correlation

    opinions = {share: blend_nets(net, regression, share) if share < 1 else net for share in _SHARES}
    heard = {share: opening_correlation(opinion, validation) for share, opinion in opinions.items()}
    told = ", ".join(f"{1 - share:.0%} regression: r {r:.4f}" for share, r in heard.items())
    _say(f"opening of unknown voices with {told}")
    return opinions[min(share for share, r in heard.items() if r > max(heard.values()) - _AS_GOOD)]


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
    listeners = _listeners(args, nets)
    films = list(_tracked(args.tracked))
    if args.person:
        films, own = _per_person_baselines(films, args.encoders)
        listeners |= own
    trials = held_out_trials(args.corpus, each=args.each) + films
    resting = nonspeech_trials(args.corpus, each=min(args.each, 4))
    if not trials:
        raise TrainingError(
            f"{args.corpus}: expected held-out sentences, found none: splatface hear data {args.corpus}"
        )
    found = {}
    for name, listener in listeners.items():
        print(f"measuring {name}", file=sys.stderr, flush=True)
        found[name] = evaluate_predictor(listener, trials, resting)
    print(markdown_table(found))
    about = {f"{name}: delay and cost": _cost(net) for name, net in nets.items()}
    for name, cost in about.items():
        _say(f"{name}: {cost}")
    if args.out:
        write_evaluation(args.out, found, about)
        for path in plot_openings(args.out, listeners, trials):
            _say(f"wrote {path}")


def _nets(args: argparse.Namespace) -> "dict[str, AudioToMouthNet]":
    from splatface.models.audio2motion.weights import load_net, read_net

    return {name: load_net(name) for name in args.encoders} | {path.stem: read_net(path) for path in args.net}


def _listeners(args: argparse.Namespace, nets: "dict[str, AudioToMouthNet]") -> "dict[str, Predictor]":
    from splatface.models.audio2motion.weights import LOOKAHEAD_FRAMES
    from splatface.models.training.audio_to_mouth.encoded_clips import train_and_validation_clips
    from splatface.models.training.audio_to_mouth.net_postprocessing import ridge_net
    from splatface.models.training.audio_to_mouth.predictors import (
        gated_predictor,
        loudness_baseline,
        net_predictor,
    )

    found = {name: net_predictor(net) for name, net in nets.items()}
    if args.gated:
        found |= {f"{name} in a face": gated_predictor(net) for name, net in nets.items()}
    if args.ridge:
        for encoder in args.encoders:
            clips, _ = train_and_validation_clips(args.corpus, encoder, copies=0.2)
            found[f"ridge on {encoder}"] = net_predictor(ridge_net(clips, LOOKAHEAD_FRAMES[encoder]))
    return found | {"level": loudness_baseline}


def _tracked(folders: Iterable[Path]) -> "Iterable[EvaluationTrial]":
    """What people in films did, as the face tracker saw it."""
    import numpy as np

    from splatface.models.training.audio_to_mouth.net_evaluation import EvaluationTrial
    from splatface.models.training.dataset.dataset_audio import load_audio
    from splatface.models.training.dataset.dataset_io import load_dataset

    for folder in folders:
        dataset = load_dataset(folder)
        track = dataset.motion
        known = np.isfinite(track.mouth).all(axis=1)
        times_s = track.time_ns[known] / 1e9
        yield EvaluationTrial(
            dataset.name, "film", "tracked", load_audio(dataset), times_s, track.mouth[known]
        )


def _per_person_baselines(
    films: "list[EvaluationTrial]", encoders: Iterable[str]
) -> "tuple[list[EvaluationTrial], dict[str, Predictor]]":
    """What is left of the films to measure on, and for each a net that knows nothing but the rest."""
    if importlib.util.find_spec("torch") is None:
        raise TrainingError("--person: expected torch, found none: pip install splatface[train]")
    import torch

    from splatface.models.audio2motion.weights import LOOKAHEAD_FRAMES
    from splatface.models.training.audio_to_mouth.predictors import net_predictor
    from splatface.models.training.audio_to_mouth.train_mouth_net import split_trial, train_single_speaker_net

    torch.set_num_threads(1)
    left, found = [], {}
    for film in films:
        known, rest = split_trial(film)
        left.append(rest)
        for encoder in encoders:
            net = train_single_speaker_net(encoder, known, LOOKAHEAD_FRAMES[encoder], lambda told: None)
            found[f"{encoder} of {film.source} alone"] = net_predictor(net)
    return left, found


def _cost(net: "AudioToMouthNet") -> str:
    """What a picture waits for, and what asking the net costs."""
    import numpy as np

    from splatface.models.audio.encoder import encoder
    from splatface.models.audio2motion.audio_to_mouth import tensors_of_net

    window = np.zeros((net.window, net.feature_dim), np.float32)
    net(window)
    begin = time.perf_counter()
    for _ in range(200):
        net(window)
    ms = (time.perf_counter() - begin) * 1000 / 200
    ahead_ms = encoder(net.encoder).lookahead_ms
    numbers = sum(tensor.size for tensor in tensors_of_net(net).values())
    return (
        f"{ahead_ms + net.lookahead_ms:.0f} ms of sound after a picture's moment "
        f"({ahead_ms:.0f} encoder + {net.lookahead_ms:.0f} net), "
        f"{ms:.3f} ms a picture, {numbers * 2 / 1e6:.2f} MB"
    )
