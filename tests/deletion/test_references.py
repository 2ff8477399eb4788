"""The trainings of a request: resumed, sent to other processes, short of memory."""

import pickle
import shutil
from pathlib import Path
from types import MappingProxyType

import pytest

from forget_lib.core.errors import ForgetError
from forget_lib.deletion import answer as answers
from forget_lib.deletion import recommend, references, report


def test_an_interrupted_answer_goes_on_where_it_was(mine, monkeypatch):
    shutil.rmtree(mine / "first")
    case = report.prepare(mine / "first.yaml")
    choice, measured, real = recommend.choose(case), [], references.measure

    def interrupted(scenario, model):
        measured.append(1)
        if len(measured) == 5:
            raise KeyboardInterrupt
        return real(scenario, model)

    monkeypatch.setattr(references, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        answers.respond(case, choice)
    answers.respond(case, choice)
    assert len(measured) == 5 + len(references.planned(case, 0.25)) - 4


def test_a_case_goes_to_other_processes_without_its_data(shared):
    case = shared[1].case
    case.scenario.data.__dict__["held_out"] = MappingProxyType(dict(case.scenario.data.held_out))
    sent = pickle.dumps(references.without_data(case))
    assert len(sent) < 10_000
    again = pickle.loads(sent)  # noqa: S301
    job = references.planned(case, 0.25)[0]
    assert references.key_of(again, job) == references.key_of(case, job)


def test_too_little_memory_or_disk_is_said_and_what_to_do(mine, monkeypatch):
    shutil.rmtree(mine / "first" / "references")
    case = report.prepare(mine / "first.yaml")
    jobs = references.planned(case, 0.25)[:3]

    def no_memory(*_arguments):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    with monkeypatch.context() as patch:
        patch.setattr(references, "train_nets", no_memory)
        with pytest.raises(ForgetError, match="too little memory"):
            references.train_references(case, jobs)

    def no_space(*_arguments, **_names):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", no_space)
        with pytest.raises(ForgetError, match="Free some space"):
            references.train_references(case, jobs)
