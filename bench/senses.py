"""Who talks to a face, hears it and sees it, all from outside."""

from dataclasses import dataclass

from bench.monitor import Monitor
from bench.sound_server import MONITOR
from bench.viewer import Viewer
from splatface.nodes.partner import ConversationClient

__all__ = ["BenchClients"]

MOUTH_PX = 48  # pictures are kept as small as this allows: a mouth is to be seen


@dataclass(frozen=True)
class BenchClients:
    """Who talks to the face, hears and sees it."""

    partner: ConversationClient
    monitor: Monitor
    viewer: Viewer

    @classmethod
    def of(cls, namespace: str, server: str, port: int, size: str) -> "BenchClients":
        """Begin to listen and to look.

        Args:
            namespace: the face's.
            server: PULSE_SERVER of the null sink.
            port: the page's.
            size: of the pictures, such as 512x512.
        """
        side = min(int(part) for part in size.split("x"))
        shrink = next((factor for factor in (8, 4, 2) if side // factor >= MOUTH_PX), 1)
        return cls(ConversationClient(namespace), Monitor(server, MONITOR), Viewer(port, shrink))

    def forget(self) -> None:
        """Begin anew."""
        self.partner.chunks.clear()
        self.monitor.forget()
        self.viewer.forget()

    def close(self) -> None:
        """End."""
        self.viewer.close()
        self.monitor.close()
        self.partner.close()
