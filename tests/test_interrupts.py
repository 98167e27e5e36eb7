"""Interrupts are raised once, and only where they are allowed."""

import os
import signal
import threading

import pytest

from toolkit._internal.interrupts import DeferredInterrupts


def interrupt(times=1):
    for _ in range(times):
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_one_is_raised_where_it_is_allowed_and_no_later_one(times):
    steps = []

    def work():
        with DeferredInterrupts() as interrupts:
            try:
                with interrupts.allowed():
                    interrupt(times)
                    steps.append("never")
            finally:
                interrupt(times)
                with interrupts.allowed():
                    interrupt(times)
                steps.append("finished")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert steps == ["finished"]
    with pytest.raises(KeyboardInterrupt):  # the handler is the one before
        interrupt()


@pytest.mark.parametrize("times", [1, 3])
def test_one_that_comes_before_is_raised_by_the_next_allowance(times):
    steps = []

    def work():
        with DeferredInterrupts() as interrupts:
            interrupt(times)
            steps.append("goes on")
            with interrupts.allowed():
                steps.append("never")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert steps == ["goes on"]


def test_one_that_is_never_allowed_is_raised_at_the_end():
    steps = []

    def work():
        with DeferredInterrupts():
            interrupt(2)
            steps.append("goes on")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert steps == ["goes on"]


def test_an_error_is_not_replaced_by_an_interrupt():
    def work():
        with DeferredInterrupts():
            interrupt()
            raise ValueError("the cause")

    with pytest.raises(ValueError, match="the cause"):
        work()


def test_within_what_is_allowed_a_part_may_forbid_it():
    steps = []

    def work():
        with DeferredInterrupts() as interrupts, interrupts.allowed():
            with interrupts.forbidden():
                interrupt()
                steps.append("goes on")
            steps.append("never")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert steps == ["goes on"]


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_a_signal_without_a_handler_of_python_is_left_alone(handler):
    before = signal.signal(signal.SIGINT, handler)
    try:
        with DeferredInterrupts() as interrupts, interrupts.allowed():
            assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_handler_of_the_program_is_called_once():
    calls = []
    before = signal.signal(signal.SIGINT, lambda *_: calls.append("called"))
    try:
        with DeferredInterrupts() as interrupts, interrupts.allowed():
            interrupt(3)
    finally:
        signal.signal(signal.SIGINT, before)
    assert calls == ["called"]


def test_another_thread_is_not_concerned():
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work():
        with DeferredInterrupts() as interrupts, interrupts.allowed():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
