"""`splatface voices`: list the voices, hear one, find the one that sounds like a person."""

import argparse
import dataclasses
import hashlib
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

from splatface.models.tts.engine import Voice
from splatface.models.tts.speak import ENGINES, engine, speak, voices

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from splatface.models.tts.voice_matching import VoiceMatch

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One subcommand for each verb; without one the voices are listed."""
    parser.set_defaults(verb="list", language="", json=False)
    verbs = parser.add_subparsers(dest="verb")
    listing = verbs.add_parser("list", help="the voices, and how to install more")
    listing.add_argument("--language", default="", help="only voices of this language, e.g. de")
    listing.add_argument("--json", action="store_true", help="as JSON")
    say = verbs.add_parser("say", help="speak a text into a sound file")
    say.add_argument("text", help="what to say, or - to read it from stdin")
    say.add_argument("--voice", default="", help="e.g. flite/slt, espeak/de, kokoro/jf_alpha")
    say.add_argument("--rate", type=float, default=1.0, help="0.5 to 2.5, 1 is the voice's own pace")
    say.add_argument("--out", type=Path, required=True, help="a .wav, .flac or .ogg")
    match = verbs.add_parser("match", help="rank the voices by how much they sound like a recording")
    match.add_argument("clip", type=Path, help="a recording of one person, best 5 s or more")
    match.add_argument("--head", default="", help="write the best voice into this head's head.yaml")
    match.add_argument("--all", action="store_true", help="robotic voices too")


def main(args: argparse.Namespace) -> int:
    """Carry out the verb."""
    if args.verb == "say":
        _say(args.text, args.voice, args.rate, args.out)
    elif args.verb == "match":
        _match(args.clip, args.head, args.all)
    else:
        _list(args.language or "", args.json)
    return 0


def _list(language: str, as_json: bool) -> None:
    found = [v for v in voices() if not language or v.language.split("-")[0] == language.split("-")[0]]
    if as_json:
        missing = {name: engine(name).INSTALL for name in ENGINES if not engine(name).voices()}
        print(json.dumps({"voices": [dataclasses.asdict(v) for v in found], "not_installed": missing}))
        return
    print(f"{'voice':28} {'language':16} {'sex':8} license")
    for voice in found:
        if language or voice.engine != "espeak" or voice.language.startswith("en"):
            print(f"{voice.name:28} {voice.language:16} {voice.sex or '-':8} {voice.license}")
    robots = {voice.language for voice in found if voice.engine == "espeak"}
    if robots and not language:
        print(f"espeak/LANGUAGE+VARIANT: {len(robots)} languages, e.g. espeak/de+f2; see --language de")
    if any(voice.engine == "kokoro" for voice in found):
        print("kokoro/VOICE+VOICE@LANGUAGE: mixtures, and de es fr it pt, e.g. kokoro/jf_alpha+jm_kumo@fr")
    for name in ENGINES:
        if not engine(name).voices():
            print(f"{name}: not installed: {engine(name).INSTALL}")


def _say(text: str, voice: str, rate: float, out: Path) -> None:
    import sys

    import soundfile

    from splatface.models.errors import SpeechError
    from splatface.models.messages import SAMPLE_RATE

    # Sentence by sentence into the file, so that a book needs no more memory than a sentence.
    sentences = speak(sys.stdin.read() if text == "-" else text, voice, rate)
    if not out.absolute().parent.is_dir():
        raise SpeechError(f"{out}: expected a folder to write into, found none: make it first")
    try:
        count = 0
        with soundfile.SoundFile(out, "w", SAMPLE_RATE, 1) as file:
            for spoken in sentences:
                file.write(spoken.samples)
                count += len(spoken.samples)
        print(f"{out}: {count / SAMPLE_RATE:.1f} s")
    except (soundfile.LibsndfileError, TypeError, ValueError) as error:
        raise SpeechError(f"{out}: expected a .wav, .flac or .ogg to write, found: {error}") from None


def _match(clip: Path, head: str, with_robots: bool) -> None:
    from splatface.models.audio.audio_file import read_sound
    from splatface.models.errors import SpeechError
    from splatface.models.tts.voice_matching import rank_voices

    found = voices()
    natural = [voice for voice in found if voice.engine != "espeak"]
    chosen = list(found) if with_robots else natural or [v for v in found if v.language.startswith("en")]
    if not chosen:
        raise SpeechError(f"voices: expected an installed one, found none: {engine(ENGINES[0]).INSTALL}")
    ranked = rank_voices(read_sound(clip), chosen, _embedding)
    for match in ranked[:10]:
        print(f"{match.similarity:.3f}  {match.voice.name}")
    if head:
        _write(ranked, clip, head)


def _embedding(voice: Voice) -> "NDArray[np.float32]":
    """How a voice sounds, from the cache: speaking the sentences takes seconds."""
    import numpy as np

    from splatface.models.storage import cached
    from splatface.models.tts.voice_matching import SENTENCES, embed_voice

    def make() -> bytes:
        out = io.BytesIO()
        np.save(out, embed_voice(voice), allow_pickle=False)
        return out.getvalue()

    key = hashlib.sha256(f"{voice}{SENTENCES}".encode()).hexdigest()[:16]
    loaded: NDArray[np.float32] = np.load(io.BytesIO(cached(f"voice-{key}.npy", make)), allow_pickle=False)
    return loaded


def _write(ranked: "list[VoiceMatch]", clip: Path, name: str) -> None:
    import cv2

    from splatface.models.head.head_file import head_folder, load_head, save_head
    from splatface.models.tts.voice_matching import REPORT_KEY, voice_report

    folder = head_folder(name)
    head = load_head(folder)
    reports = {**head.info.reports, REPORT_KEY: voice_report(ranked, clip.name)}
    preview = cv2.imread(str(folder / "preview.png"))
    changed = dataclasses.replace(head, info=dataclasses.replace(head.info, reports=reports))
    save_head(changed, folder, None if preview is None else preview[..., ::-1])
    print(f"{folder}: speaks with {ranked[0].voice.name}")
