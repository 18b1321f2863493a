# SPDX-License-Identifier: Apache-2.0
"""`splatface voices`: list the voices, speak with one, find the one most similar to a recording."""

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
    """Add one subcommand per verb; without a verb the voices are listed."""
    parser.set_defaults(verb="list", language="", json=False)
    verbs = parser.add_subparsers(dest="verb")
    listing = verbs.add_parser("list", help="list the voices, and how to install more")
    listing.add_argument("--language", default="", help="only voices of this language, e.g. de")
    listing.add_argument("--json", action="store_true", help="as JSON")
    say = verbs.add_parser("say", help="speak a text into a sound file")
    say.add_argument("text", help="what to say, or - to read it from stdin")
    say.add_argument("--voice", default="", help="e.g. flite/slt, espeak/de, kokoro/jf_alpha")
    say.add_argument(
        "--rate", type=float, default=1.0, help="speaking rate, 0.5 to 2.5; 1 is the voice's own"
    )
    say.add_argument("--out", type=Path, required=True, help="a .wav, .flac or .ogg file")
    match = verbs.add_parser("match", help="rank the voices by their similarity to a recording")
    match.add_argument("clip", type=Path, help="a recording of one person, 5 s or longer")
    match.add_argument("--head", default="", help="write the best voice into this head's head.yaml")
    match.add_argument("--all", action="store_true", help="include the robotic espeak voices")


def main(args: argparse.Namespace) -> int:
    """Run the verb; return the exit code."""
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
    espeak_languages = {voice.language for voice in found if voice.engine == "espeak"}
    if espeak_languages and not language:
        print(
            f"espeak/LANGUAGE+VARIANT: {len(espeak_languages)} languages, e.g. espeak/de+f2, see --language"
        )
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


def _match(clip: Path, head: str, include_espeak: bool) -> None:
    from splatface.models.audio.audio_file import read_sound
    from splatface.models.errors import SpeechError
    from splatface.models.tts.voice_matching import rank_voices

    found = voices()
    natural = [voice for voice in found if voice.engine != "espeak"]
    chosen = list(found) if include_espeak else natural or [v for v in found if v.language.startswith("en")]
    if not chosen:
        raise SpeechError(f"voices: expected an installed one, found none: {engine(ENGINES[0]).INSTALL}")
    ranked = rank_voices(read_sound(clip), chosen, _embedding)
    for match in ranked[:10]:
        print(f"{match.similarity:.3f}  {match.voice.name}")
    if head:
        _write_to_head(ranked, clip, head)


def _embedding(voice: Voice) -> "NDArray[np.float32]":
    """Return the speaker embedding of a voice, cached: speaking the sentences takes seconds."""
    import numpy as np

    from splatface.models.storage import cached
    from splatface.models.tts.voice_matching import SENTENCES, embed_voice

    def compute() -> bytes:
        out = io.BytesIO()
        np.save(out, embed_voice(voice), allow_pickle=False)
        return out.getvalue()

    key = hashlib.sha256(f"{voice}{SENTENCES}".encode()).hexdigest()[:16]
    loaded: NDArray[np.float32] = np.load(io.BytesIO(cached(f"voice-{key}.npy", compute)), allow_pickle=False)
    return loaded


def _write_to_head(ranked: "list[VoiceMatch]", clip: Path, name: str) -> None:
    import cv2

    from splatface.models.head.head_file import head_folder, load_head, save_head
    from splatface.models.tts.voice_matching import REPORT_KEY, voice_report

    folder = head_folder(name)
    head = load_head(folder)
    reports = {**head.info.reports, REPORT_KEY: voice_report(ranked, clip.name)}
    preview = cv2.imread(str(folder / "preview.png"))
    changed = dataclasses.replace(head, info=dataclasses.replace(head.info, reports=reports))
    save_head(changed, folder, None if preview is None else preview[..., ::-1])
    print(f"{folder}: voice {ranked[0].voice.name}")
