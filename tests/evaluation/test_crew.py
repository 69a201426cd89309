"""What a crew of workers does with a worker that is gone: its episodes move, three times, and then one fails."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import pytest

from icvos.benchmark import Episode
from icvos.errors import ModelError
from icvos.evaluation.crew import Group, Listener, Worker, run_groups
from icvos.evaluation.episode import EpisodeResult, failure


class Scripted(Worker):
    """A worker that says what its crew's script has for it, and then runs whatever it is given."""

    def __init__(self, script: list[str]) -> None:
        super().__init__()
        self.script, self.said = script, deque[tuple[str, Any]]()
        self.say("ready", False)

    def say(self, kind: str, value: Any) -> None:
        """Say it, unless the script has another end for it."""
        if self.script and self.script[0].partition(" ")[2] == kind:
            self.said.append((self.script.pop(0).partition(" ")[0], "as the script has it"))
        else:
            self.said.append((kind, value))

    def send(self, group: Group) -> None:
        for episode in self.left:
            self.say("result", EpisodeResult({"id": episode.id}))
            if self.said[-1][0] != "result":
                return
        self.said.append(("done", {}))

    def receive(self) -> tuple[str, Any]:
        return self.said.popleft()

    def kill(self) -> None:
        self.said.clear()


class Scene:
    """A crew of one worker, which is replaced; all live by one script."""

    def __init__(self, script: Sequence[str]) -> None:
        self.workers: list[Worker] = []
        self.script, self.made = list(script), 0

    def grow(self, waiting: int) -> None:
        if not self.workers:
            self.workers.append(self.start())

    def start(self) -> Worker:
        self.made += 1
        return Scripted(self.script)

    def replace(self, worker: Worker) -> None:
        worker.kill()
        self.workers[self.workers.index(worker)] = self.start()

    def wait(self, busy: Sequence[Any], seconds: float) -> list[Worker]:
        return [worker for worker in busy if worker.said]


def ended(script: Sequence[str], *, whole: bool = False) -> tuple[list[tuple[str, str]], int]:
    """Id and error of each episode of a group of three, as they end, and how many workers there were."""
    episodes = [Episode(f"e{number}", "v", 1, "person", number, ()) for number in range(3)]
    crew = Scene(script)
    results = run_groups(
        crew,
        [Group(episodes, frozenset(episode.id for episode in episodes), whole=whole)],
        Listener(lambda episode, why: EpisodeResult(failure(episode, why))),
        timeout=None,
    )
    return [(result.record["id"], result.record.get("error", "")) for result in results], crew.made


GOOD = [("e0", ""), ("e1", ""), ("e2", "")]
WHY = "as the script has it"


@pytest.mark.parametrize(
    ("script", "expected", "workers"),
    [
        ([], GOOD, 1),
        (["gone result"], GOOD, 2),
        (["gone result"] * 3, GOOD, 4),  # three times more
        (["gone result"] * 4, [("e0", WHY), ("e1", ""), ("e2", "")], 5),
        (["died result"], [("e0", WHY), ("e1", ""), ("e2", "")], 2),  # the method's own doing
        (["gone ready"] * 3, GOOD, 4),
        (["gone ready", "gone result"] * 3, GOOD, 7),  # a start that worked is no start that failed
    ],
)
def test_what_a_worker_costs_that_is_gone(script, expected, workers):
    assert ended(script) == (expected, workers)


def test_objects_of_one_pass_fail_together():
    assert ended(["gone result"] * 4, whole=True)[0] == [("e0", WHY), ("e1", WHY), ("e2", WHY)]
    assert ended(["gone result"] * 3, whole=True)[0] == GOOD


def test_workers_that_never_start_end_the_run():
    with pytest.raises(ModelError, match=f"the model cannot be built: {WHY}"):
        ended(["gone ready"] * 4)
