"""What a launch file asks for, in order: frozen values that evaluate.py makes and launch.py carries out."""

from dataclasses import dataclass

from splatface.cli.launcher.scope import Place
from splatface.cli.launcher.tree import Entity, Mark

__all__ = ["Item", "LogMessage", "ProcessSpec", "Shutdown", "Timer"]


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process, everything decided."""

    mark: Mark
    name: str  # with its number, "renderer-2"
    command: tuple[str, ...]
    environment: dict[str, str]
    cwd: str | None = None
    shell: bool = False
    output: str = "log"  # a key of console.DESTINATIONS
    respawn: bool = False
    respawn_delay_s: float = 0.0
    respawn_max_retries: int = -1  # below 0: for ever
    sigterm_timeout_s: float = 5.0  # from SIGINT to SIGTERM
    sigkill_timeout_s: float = 5.0  # from SIGTERM to SIGKILL
    required: bool = False  # its end ends the launch


@dataclass(frozen=True, slots=True)
class LogMessage:
    """A line for the user."""

    message: str
    level: str = "INFO"
    logger: str = "launch.user"


@dataclass(frozen=True, slots=True)
class Timer:
    """Actions that are evaluated after a time."""

    period_s: float
    entities: tuple[Entity, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The end of the launch."""

    reason: str


Item = ProcessSpec | LogMessage | Timer | Shutdown
