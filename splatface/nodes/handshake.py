"""Knowing that who listens really hears: DDS matches the two sides of a topic apart, by seconds at worst."""

from lifecycle_msgs.srv import GetState
from rclpy.client import Client
from rclpy.node import Node
from rclpy.task import Future

__all__ = ["SubscriberReadiness"]

# A listener without this service (a tool such as `ros2 topic echo`) is not waited for longer.
PATIENCE_S = 2.0


class SubscriberReadiness:
    """Asks every lifecycle node that listens to some topics for its state: an answer proves both ways."""

    def __init__(self, node: Node, topics: list[str]) -> None:
        self._node = node
        self._topics = topics
        self._clients: dict[str, Client] = {}
        self._answers: dict[str, Future] = {}
        self._began: float | None = None

    def done(self, now: float) -> bool:
        """Whether every topic has a listener and every listener has answered; `now` in s, of any clock."""
        names = [self._listeners(topic) for topic in self._topics]
        if not all(names):
            return False
        if self._began is None:
            self._began = now
        waiting = [name for name in set().union(*names) if not self._answered(name)]
        return not waiting or now - self._began > PATIENCE_S

    def close(self) -> None:
        """Give the clients back."""
        for client in self._clients.values():
            self._node.destroy_client(client)
        self._clients.clear()

    def _listeners(self, topic: str) -> set[str]:
        found = self._node.get_subscriptions_info_by_topic(self._node.resolve_topic_name(topic))
        return {f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in found}

    def _answered(self, name: str) -> bool:
        if name not in self._clients:
            self._clients[name] = self._node.create_client(GetState, f"{name}/get_state")
        client = self._clients[name]
        if name not in self._answers and client.service_is_ready():
            self._answers[name] = client.call_async(GetState.Request())
        return name in self._answers and self._answers[name].done()
