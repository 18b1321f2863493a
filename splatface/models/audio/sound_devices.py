"""The devices that listen and play, as PortAudio sees them: the only door to sounddevice."""

from dataclasses import dataclass
from types import ModuleType

from splatface.models.errors import AudioError

__all__ = [
    "INPUT",
    "OUTPUT",
    "DeviceDirection",
    "DeviceInfo",
    "choose_device",
    "find_device",
    "portaudio",
    "refresh_devices",
]


@dataclass(frozen=True, slots=True)
class DeviceDirection:
    """Sound that comes in, or goes out."""

    device: str  # what a user calls such a device
    does: str
    channels: str  # where PortAudio says how many it has
    place: int  # among PortAudio's pair of default devices


INPUT = DeviceDirection("microphone", "listens", "max_input_channels", 0)
OUTPUT = DeviceDirection("loudspeaker", "plays", "max_output_channels", 1)


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A device to open."""

    index: int
    name: str
    rate_hz: int
    channels: int  # 1 or 2


def portaudio(side: DeviceDirection) -> ModuleType:
    """The module sounddevice; AudioError when PortAudio is not installed."""
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise AudioError(
            f"{side.device}: expected PortAudio, found none ({error}): apt-get install libportaudio2"
        ) from None
    module: ModuleType = sounddevice
    return module


def find_device(side: DeviceDirection, wanted: str) -> DeviceInfo:
    """The device that `wanted` names, see `choose_device`, as PortAudio sees it now.

    Raises AudioError when PortAudio or the device is missing.
    """
    sound = portaudio(side)
    known = enumerate(sound.query_devices())
    devices = {index: str(device["name"]) for index, device in known if device[side.channels] > 0}
    index = choose_device(side, devices, wanted, int(sound.default.device[side.place]))
    info = sound.query_devices(index)
    channels = min(2, int(info[side.channels]))
    return DeviceInfo(index, str(info["name"]), round(info["default_samplerate"]), channels)


def choose_device(side: DeviceDirection, devices: dict[int, str], wanted: str, default: int) -> int:
    """The device named by a number or by a part of its name (case does not matter); `""` is the default.

    Raises AudioError, listing what there is, when none or several fit.
    """
    name = wanted.strip().lower()
    if not name:
        chosen = default if default in devices else min(devices, default=-1)
        if chosen < 0:
            raise AudioError(f"{side.device}: expected a device that {side.does}, found none: plug one in")
        return chosen
    if name.isdigit():
        fits = [int(name)] if int(name) in devices else []
    else:
        fits = [index for index, known in devices.items() if name in known.lower()]
        fits = [index for index in fits if devices[index].lower() == name] or fits
    if len(fits) == 1:
        return fits[0]
    problem = "several fit" if fits else "no such device"
    listed = "; ".join(f"{index}: {known}" for index, known in devices.items()) or "none at all"
    raise AudioError(f"{side.device} '{wanted}': {problem}: choose by number or name from: {listed}")


def refresh_devices(side: DeviceDirection) -> None:
    """Let PortAudio look again: it lists the devices of its start for ever. No stream may be open."""
    sound = portaudio(side)
    sound._terminate()
    sound._initialize()
