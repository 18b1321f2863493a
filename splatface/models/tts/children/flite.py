"""A process that holds the library flite: a request per line on stdin, an answer on stdout.

Run by its path, with the standard library alone, so that it starts in a few milliseconds. A request is a
line of JSON, {"text", "voice", "stretch"} or {"list": [names]}. An answer is a line of JSON, {"rate",
"samples", "segments": [[name, start_s, end_s]], "words": [[token, start_s, end_s]]} and the samples as
16-bit integers; {"voices": [those of the names that can be loaded]}; or {"error": why}.
"""

import ctypes
import json
import signal
import sys
from functools import cache

Item = ctypes.c_void_p
Entry = tuple[str, float, float]


class _Wave(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_char_p),
        ("rate", ctypes.c_int),
        ("samples", ctypes.c_int),
        ("channels", ctypes.c_int),
        ("data", ctypes.POINTER(ctypes.c_short)),
    )


class _Voice(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("features", ctypes.c_void_p))


# what each function of the library takes and gives
_TYPES = {
    "flite_synth_text": ([ctypes.c_char_p, ctypes.POINTER(_Voice)], ctypes.c_void_p),
    "flite_feat_set_float": ([ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float], None),
    "utt_wave": ([ctypes.c_void_p], ctypes.POINTER(_Wave)),
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
def library() -> ctypes.CDLL:
    """The library, started."""
    flite = ctypes.CDLL("libflite.so.1", mode=ctypes.RTLD_GLOBAL)
    for name, (takes, gives) in _TYPES.items():
        function = getattr(flite, name)
        function.argtypes, function.restype = takes, gives
    # The voices need these and name them in no particular order.
    for part in ("libflite_cmulex.so.1", "libflite_usenglish.so.1"):
        ctypes.CDLL(part, mode=ctypes.RTLD_GLOBAL)
    flite.flite_init()
    return flite


@cache
def voice_of(name: str) -> "ctypes._Pointer[_Voice]":
    """A voice of the library, such as slt."""
    library()
    register = getattr(ctypes.CDLL(f"libflite_cmu_us_{name}.so.1"), f"register_cmu_us_{name}")
    register.argtypes, register.restype = [ctypes.c_char_p], ctypes.POINTER(_Voice)
    voice: ctypes._Pointer[_Voice] = register(None)
    return voice


def _items(utterance: int, relation: bytes) -> list[int]:
    flite, out = library(), []
    item = flite.relation_head(flite.utt_relation(utterance, relation))
    while item:
        out.append(item)
        item = flite.item_next(item)
    return out


def _segments(utterance: int) -> list[Entry]:
    flite, out, start = library(), [], 0.0
    for item in _items(utterance, b"Segment"):
        end = float(flite.item_feat_float(item, b"end"))
        out.append((flite.item_feat_string(item, b"name").decode(), start, end))
        start = end
    return out


def _words(utterance: int) -> list[Entry]:
    """Each token of the text with the time of all words it is read as ("25" is two)."""
    flite = library()
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


def listed(names: list[str]) -> dict[str, object]:
    """Those of the names whose voices can be loaded."""
    library()
    found = []
    for name in names:
        try:
            voice_of(name)
        except OSError:
            continue
        found.append(name)
    return {"voices": found}


def speak(request: dict[str, str | float]) -> tuple[dict[str, object], bytes]:
    """Speak one sentence."""
    flite = library()
    voice = voice_of(str(request["voice"]))
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


def main() -> None:
    """Answer until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair; it closes the pipe
    for line in sys.stdin.buffer:
        try:
            request = json.loads(line)
            head, sound = (listed(request["list"]), b"") if "list" in request else speak(request)
        except (OSError, AttributeError, ValueError) as error:
            head, sound = {"error": str(error)}, b""
        sys.stdout.buffer.write(json.dumps(head).encode() + b"\n" + sound)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
