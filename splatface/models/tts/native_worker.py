# SPDX-License-Identifier: Apache-2.0
"""A process that holds a native speech library: a request per line on stdin, an answer on stdout.

Run by its path with the name of the library, espeak (espeak-ng, GPL-3.0) or flite, and with the standard
library alone; never imported, so that no other program of ours is linked with that library and a crash of it
ends only this process. A request is a line of JSON; the answer is a line of JSON, followed by `samples`
16-bit integers of sound.

    espeak  {"text", "voice", "words_per_minute", "pitch"}
            -> {"rate", "samples", "phonemes": [[ipa, start_s]], "words": [[begin, length, start_s]]}
            {"list": true} -> {"voices": [[language, name, gender]]}
    flite   {"text", "voice", "stretch"}
            -> {"rate", "samples", "segments": [[name, start_s, end_s]], "words": [[token, start_s, end_s]]}
            {"list": [names]} -> {"voices": [those of the names that can be loaded]}

Any request may be answered by {"error": reason}.
"""

import ctypes
import json
import signal
import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

_SYNCHRONOUS, _PHONEME_EVENTS, _IPA_EVENTS, _DONT_EXIT = 2, 1, 2, 0x8000
_END_OF_LIST, _WORD, _PHONEME = 0, 1, 7
_UTF8 = 1
_WPM, _PITCH = 1, 3


class _EspeakId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _EspeakEvent(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # ms
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EspeakId),
    )


class _EspeakVoice(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),  # a byte of priority, then the language's code
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("xx1", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


_EspeakCallback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_EspeakEvent)
)


@cache
def espeak_library() -> tuple[ctypes.CDLL, int]:
    """Return the library, initialized, and its sample rate."""
    espeak = ctypes.CDLL("libespeak-ng.so.1")
    espeak.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_EspeakVoice))
    options = _PHONEME_EVENTS | _IPA_EVENTS | _DONT_EXIT
    rate = espeak.espeak_Initialize(_SYNCHRONOUS, 0, None, options)
    if rate <= 0:
        raise OSError("espeak-ng finds no data: apt-get install espeak-ng-data")
    return espeak, rate


def espeak_speech(request: dict[str, str | int]) -> tuple[dict[str, object], bytes]:
    """Synthesize a sentence."""
    espeak, rate = espeak_library()
    blocks: list[bytes] = []
    phonemes: list[tuple[str, float]] = []
    words: list[tuple[int, int, float]] = []

    def receive(
        wave: "ctypes._Pointer[ctypes.c_short]", count: int, events: "ctypes._Pointer[_EspeakEvent]"
    ) -> int:
        if count > 0:
            blocks.append(ctypes.string_at(wave, 2 * count))
        i = 0
        while events[i].type != _END_OF_LIST:
            event = events[i]
            if event.type == _PHONEME:
                phonemes.append((event.id.string.decode("utf-8", "ignore"), event.audio_position / 1000))
            elif event.type == _WORD:
                words.append((event.text_position - 1, event.length, event.audio_position / 1000))
            i += 1
        return 0

    callback = _EspeakCallback(receive)
    espeak.espeak_SetSynthCallback(callback)
    language, plus, variant = str(request["voice"]).partition("+")
    name = voice_files().get(language, language) + plus + variant
    if espeak.espeak_SetVoiceByName(name.encode()):
        raise ValueError(f"espeak-ng has no voice {request['voice']}")
    espeak.espeak_SetParameter(_WPM, int(request["words_per_minute"]), 0)
    espeak.espeak_SetParameter(_PITCH, int(request["pitch"]), 0)
    data = str(request["text"]).encode() + b"\0"
    espeak.espeak_Synth(data, len(data), 0, 1, 0, _UTF8, None, None)
    sound = b"".join(blocks)
    return {"rate": rate, "samples": len(sound) // 2, "phonemes": phonemes, "words": words}, sound


def _espeak_installed() -> Iterator[_EspeakVoice]:
    """Yield the voices of the library's own data: one for each language."""
    espeak, _ = espeak_library()
    voices, i = espeak.espeak_ListVoices(None), 0
    while voices[i]:
        if not voices[i].contents.identifier.startswith(b"mb/"):  # these need data of another program
            yield voices[i].contents
        i += 1


def _espeak_language(voice: _EspeakVoice) -> str:
    return ctypes.string_at(voice.languages + 1).decode()


@cache
def voice_files() -> dict[str, str]:
    """Return the voice file of each language (fr-fr is the file roa/fr)."""
    return {_espeak_language(voice): voice.identifier.decode() for voice in _espeak_installed()}


def espeak_voices(_: bool) -> dict[str, object]:
    """Return language, name and gender of each voice."""
    return {"voices": [(_espeak_language(v), v.name.decode(), int(v.gender)) for v in _espeak_installed()]}


Item = ctypes.c_void_p
Entry = tuple[str, float, float]


class _FliteWave(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_char_p),
        ("rate", ctypes.c_int),
        ("samples", ctypes.c_int),
        ("channels", ctypes.c_int),
        ("data", ctypes.POINTER(ctypes.c_short)),
    )


class _FliteVoice(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("features", ctypes.c_void_p))


# what each function of the flite_library takes and gives
_FLITE_FUNCTIONS = {
    "flite_synth_text": ([ctypes.c_char_p, ctypes.POINTER(_FliteVoice)], ctypes.c_void_p),
    "flite_feat_set_float": ([ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float], None),
    "utt_wave": ([ctypes.c_void_p], ctypes.POINTER(_FliteWave)),
    "utt_relation": ([ctypes.c_void_p, ctypes.c_char_p], ctypes.c_void_p),
    "relation_head": ([ctypes.c_void_p], Item),
    "item_next": ([Item], Item),
    "item_prev": ([Item], Item),
    "item_parent": ([Item], Item),
    "item_daughter": ([Item], Item),
    "item_last_daughter": ([Item], Item),
    "item_as": ([Item, ctypes.c_char_p], Item),
    "item_feat_string": ([Item, ctypes.c_char_p], ctypes.c_char_p),
    "item_feat_float": ([Item, ctypes.c_char_p], ctypes.c_float),
    "delete_utterance": ([ctypes.c_void_p], None),
}


@cache
def flite_library() -> ctypes.CDLL:
    """Return the library, initialized."""
    flite = ctypes.CDLL("libflite.so.1", mode=ctypes.RTLD_GLOBAL)
    for name, (argument_types, result_type) in _FLITE_FUNCTIONS.items():
        function = getattr(flite, name)
        function.argtypes, function.restype = argument_types, result_type
    # The voices need these but load them in no particular order.
    for name in ("libflite_cmulex.so.1", "libflite_usenglish.so.1"):
        ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
    flite.flite_init()
    return flite


@cache
def flite_voice(name: str) -> "ctypes._Pointer[_FliteVoice]":
    """Return a voice of the library, such as slt."""
    flite_library()
    register = getattr(ctypes.CDLL(f"libflite_cmu_us_{name}.so.1"), f"register_cmu_us_{name}")
    register.argtypes, register.restype = [ctypes.c_char_p], ctypes.POINTER(_FliteVoice)
    voice: ctypes._Pointer[_FliteVoice] = register(None)
    return voice


def _items(utterance: int, relation: bytes) -> list[int]:
    flite, out = flite_library(), []
    item = flite.relation_head(flite.utt_relation(utterance, relation))
    while item:
        out.append(item)
        item = flite.item_next(item)
    return out


def _segments(utterance: int) -> list[Entry]:
    flite, out, start = flite_library(), [], 0.0
    for item in _items(utterance, b"Segment"):
        end = float(flite.item_feat_float(item, b"end"))
        out.append((flite.item_feat_string(item, b"name").decode(), start, end))
        start = end
    return out


def _words(utterance: int) -> list[Entry]:
    """Return each token of the text with the time of all words it is read as ("25" is two)."""
    flite = flite_library()
    tokens: dict[int, Entry] = {}
    for word in _items(utterance, b"Word"):
        token = flite.item_parent(flite.item_as(word, b"Token"))
        syllables = flite.item_as(word, b"SylStructure")
        first = flite.item_daughter(flite.item_daughter(syllables))
        last = flite.item_last_daughter(flite.item_last_daughter(syllables))
        if not (token and first and last):
            continue
        before = flite.item_prev(flite.item_as(first, b"Segment"))
        start = float(flite.item_feat_float(before, b"end")) if before else 0.0
        end = float(flite.item_feat_float(flite.item_as(last, b"Segment"), b"end"))
        name = flite.item_feat_string(token, b"name").decode("utf-8", "replace")
        tokens[token] = (name, tokens[token][1] if token in tokens else start, end)
    return list(tokens.values())


def flite_voices(names: list[str]) -> dict[str, object]:
    """Return those of the names whose voices can be loaded."""
    flite_library()
    available = []
    for name in names:
        try:
            flite_voice(name)
        except OSError:
            continue
        available.append(name)
    return {"voices": available}


def flite_speech(request: dict[str, str | float]) -> tuple[dict[str, object], bytes]:
    """Synthesize a sentence."""
    flite = flite_library()
    voice = flite_voice(str(request["voice"]))
    flite.flite_feat_set_float(
        voice.contents.features, b"duration_stretch", ctypes.c_float(float(request["stretch"]))
    )
    utterance = flite.flite_synth_text(str(request["text"]).encode(), voice)
    try:
        wave = flite.utt_wave(utterance).contents
        head = {
            "rate": wave.rate,
            "samples": wave.samples,
            "segments": _segments(utterance),
            "words": _words(utterance),
        }
        return head, ctypes.string_at(wave.data, 2 * wave.samples)
    finally:
        flite.delete_utterance(utterance)


Head = dict[str, object]
ENGINES: dict[str, tuple[Callable[[Any], Head], Callable[[Any], tuple[Head, bytes]]]] = {
    "espeak": (espeak_voices, espeak_speech),
    "flite": (flite_voices, flite_speech),
}


def main(engine: str) -> None:
    """Answer until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent; it closes the pipe
    list_voices, speak = ENGINES[engine]
    for line in sys.stdin.buffer:
        try:
            request = json.loads(line)
            head, sound = (list_voices(request["list"]), b"") if "list" in request else speak(request)
        except (OSError, AttributeError, ValueError) as error:
            head, sound = {"error": str(error)}, b""
        sys.stdout.buffer.write(json.dumps(head).encode() + b"\n" + sound)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(sys.argv[1])
