"""A process that holds the library espeak-ng (GPL-3.0): a request per line on stdin, an answer on stdout.

Run by its path, with the standard library alone, and never imported, so that no other program of ours is
linked with that library. A request is a line of JSON, {"text", "voice", "words_per_minute", "pitch"} or
{"list": true}. An answer is a line of JSON, {"rate", "samples", "phonemes": [[ipa, start_s]], "words":
[[begin, length, start_s]]} (characters of the text) and the samples as 16-bit integers; {"voices":
[[language, name, gender]]}; or {"error": why}.
"""

import ctypes
import json
import signal
import sys
from collections.abc import Iterator
from functools import cache

_SYNCHRONOUS, _PHONEME_EVENTS, _IPA_EVENTS, _DONT_EXIT = 2, 1, 2, 0x8000
_END_OF_LIST, _WORD, _PHONEME = 0, 1, 7
_UTF8 = 1
_WPM, _PITCH = 1, 3


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # ms
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )


class _Listed(ctypes.Structure):
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


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@cache
def library() -> tuple[ctypes.CDLL, int]:
    """The library, started, and its sample rate."""
    espeak = ctypes.CDLL("libespeak-ng.so.1")
    espeak.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Listed))
    options = _PHONEME_EVENTS | _IPA_EVENTS | _DONT_EXIT
    rate = espeak.espeak_Initialize(_SYNCHRONOUS, 0, None, options)
    if rate <= 0:
        raise OSError("espeak-ng finds no data: apt-get install espeak-ng-data")
    return espeak, rate


def speak(request: dict[str, str | int]) -> tuple[dict[str, object], bytes]:
    """Speak one sentence."""
    espeak, rate = library()
    pieces: list[bytes] = []
    phonemes: list[tuple[str, float]] = []
    words: list[tuple[int, int, float]] = []

    def receive(
        wave: "ctypes._Pointer[ctypes.c_short]", count: int, events: "ctypes._Pointer[_Event]"
    ) -> int:
        if count > 0:
            pieces.append(ctypes.string_at(wave, 2 * count))
        i = 0
        while events[i].type != _END_OF_LIST:
            event = events[i]
            if event.type == _PHONEME:
                phonemes.append((event.id.string.decode("utf-8", "ignore"), event.audio_position / 1000))
            elif event.type == _WORD:
                words.append((event.text_position - 1, event.length, event.audio_position / 1000))
            i += 1
        return 0

    callback = _Callback(receive)
    espeak.espeak_SetSynthCallback(callback)
    language, plus, variant = str(request["voice"]).partition("+")
    name = identifiers().get(language, language) + plus + variant
    if espeak.espeak_SetVoiceByName(name.encode()):
        raise ValueError(f"espeak-ng has no voice {request['voice']}")
    espeak.espeak_SetParameter(_WPM, int(request["words_per_minute"]), 0)
    espeak.espeak_SetParameter(_PITCH, int(request["pitch"]), 0)
    data = str(request["text"]).encode() + b"\0"
    espeak.espeak_Synth(data, len(data), 0, 1, 0, _UTF8, None, None)
    sound = b"".join(pieces)
    return {"rate": rate, "samples": len(sound) // 2, "phonemes": phonemes, "words": words}, sound


def _installed() -> Iterator[_Listed]:
    """The voices of the library's own data: one for each language."""
    espeak, _ = library()
    voices, i = espeak.espeak_ListVoices(None), 0
    while voices[i]:
        if not voices[i].contents.identifier.startswith(b"mb/"):  # these need data of another program
            yield voices[i].contents
        i += 1


def _language(voice: _Listed) -> str:
    return ctypes.string_at(voice.languages + 1).decode()


@cache
def identifiers() -> dict[str, str]:
    """Language to the voice's file, by which it is always found (fr-fr is the file roa/fr)."""
    return {_language(voice): voice.identifier.decode() for voice in _installed()}


def listed() -> dict[str, object]:
    """Language, name and gender of each voice."""
    return {"voices": [(_language(v), v.name.decode(), int(v.gender)) for v in _installed()]}


def main() -> None:
    """Answer until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair; it closes the pipe
    for line in sys.stdin.buffer:
        try:
            request = json.loads(line)
            head, sound = (listed(), b"") if "list" in request else speak(request)
        except (OSError, AttributeError, ValueError) as error:
            head, sound = {"error": str(error)}, b""
        sys.stdout.buffer.write(json.dumps(head).encode() + b"\n" + sound)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
