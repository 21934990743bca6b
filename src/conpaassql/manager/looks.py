"""What the last looks showed: answers come from here, never from an agent."""

import threading
from collections import deque
from dataclasses import dataclass
from datetime import datetime

from conpaassql.cluster.facts import Facts, Refusal
from conpaassql.protocol import Counters

WINDOW_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What a server did per second in the last seconds; ``response_time_s`` is the mean of a statement."""

    request_rate: float = 0.0
    error_rate: float = 0.0
    throughput_bytes: float = 0.0
    response_time_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Sample:
    at: datetime
    counters: Counters


class Looks:
    """The newest facts of each cluster, and a few seconds of counters of each node."""

    def __init__(self) -> None:
        self._facts: dict[int, Facts] = {}
        self._samples: dict[int, deque[_Sample]] = {}
        self._refusals: dict[int, Refusal] = {}
        self._lock = threading.Lock()
        self.generation = 0

    def put(self, facts: Facts) -> None:
        """Take a new look at one cluster."""
        with self._lock:
            self.generation += 1
            self._forget_leavers(facts)
            self._facts[facts.cluster.id] = facts
            for sight in facts.nodes:
                if sight.server:
                    self._sample(sight.id, _Sample(facts.at, sight.server.counters))
                else:
                    self._samples.pop(sight.id, None)  # a server that does not answer does nothing

    def get(self, cluster_id: int) -> Facts | None:
        """Return the newest look at a cluster; None before the first."""
        return self._facts.get(cluster_id)

    def drop(self, cluster_id: int) -> None:
        """Forget a cluster that is no more."""
        with self._lock:
            self._facts.pop(cluster_id, None)

    def refuse(self, node: int, refusal: Refusal | None) -> None:
        """Remember what the cloud says instead of doing something to a node's VM; None: it was asked with success."""
        with self._lock:
            if refusal:
                self._refusals[node] = refusal
            else:
                self._refusals.pop(node, None)

    def refusal(self, node: int) -> Refusal | None:
        """Return the cloud's last word on a node's VM."""
        return self._refusals.get(node)

    def rates(self, node: int) -> Rates:
        """Return a node's rates over the last seconds; zeros before the second look."""
        with self._lock:
            samples = list(self._samples.get(node, ()))
        return _rates(samples[0], samples[-1]) if len(samples) > 1 else Rates()

    def _forget_leavers(self, facts: Facts) -> None:
        last = self._facts.get(facts.cluster.id)
        for sight in last.nodes if last else ():
            if sight.id not in facts.by_id:
                self._samples.pop(sight.id, None)

    def _sample(self, node: int, new: _Sample) -> None:
        samples = self._samples.setdefault(node, deque(maxlen=1000))
        if samples and _began_anew(samples[-1].counters, new.counters):
            samples.clear()
        if samples and (new.at - samples[-1].at).total_seconds() < 0.5:
            return
        samples.append(new)
        while (new.at - samples[0].at).total_seconds() > WINDOW_S and len(samples) > 2:
            samples.popleft()


def _began_anew(old: Counters, new: Counters) -> bool:
    """Whether the server was started again between two looks, however long it has run since."""
    return new.uptime_s < old.uptime_s or new.statements < old.statements or new.bytes_in < old.bytes_in


def _rates(first: _Sample, last: _Sample) -> Rates:
    seconds = (last.at - first.at).total_seconds()
    old, new = first.counters, last.counters
    statements = new.statements - old.statements
    return Rates(
        request_rate=statements / seconds,
        error_rate=(new.errors - old.errors) / seconds,
        throughput_bytes=(new.bytes_in + new.bytes_out - old.bytes_in - old.bytes_out) / seconds,
        response_time_s=(new.busy_s - old.busy_s) / statements if statements else 0.0,
    )
