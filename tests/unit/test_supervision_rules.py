"""The supervision rules, one by one."""

from __future__ import annotations

import pytest

from manycore.errors import ExitCode
from manycore.supervise.rules import (
    STOP_MARGIN,
    UNKILLABLE_AFTER,
    Abandon,
    Action,
    Announce,
    Begin,
    Booted,
    BootFailed,
    Exited,
    Failure,
    Finish,
    Interrupted,
    Pause,
    Policy,
    Rules,
    Spawn,
    Stage,
    StopAsked,
    StopBegins,
    Tell,
    TimePassed,
    Urgency,
)

GRACE = 30.0
BOOT = 60.0
KILLED = "was killed by SIGKILL"
NO_MODULE = Failure(ExitCode.TARGET_FAILED, "there is no module 'ehco'", where="ehco:handle")
NO_MEMORY = Failure(ExitCode.BOOT_FAILED, "MemoryError: ")


def booting(workers: int = 1) -> Rules:
    """Begun at 0."""
    rules = Rules(Policy(workers=workers, graceful_timeout=GRACE, boot_timeout=BOOT))
    assert rules.handle(Begin(), 0.0) == [Spawn(number) for number in range(1, workers + 1)]
    return rules


def serving(workers: int = 1) -> Rules:
    """Begun at 0, ready and announced at 0."""
    rules = booting(workers)
    for number in range(1, workers + 1):
        rules.handle(Booted(number), 0.0)
    assert rules.announced
    return rules


def fail_boot(rules: Rules, number: int, now: float, failure: Failure | None) -> list[Action]:
    if failure is not None:
        assert rules.handle(BootFailed(number, failure), now) == []
    return rules.handle(Exited(number, KILLED), now)


class TestBoot:
    def test_nothing_is_started_before_the_driver_is_ready(self) -> None:
        """Rules that have not begun have no deadline and all numbers wait."""
        rules = Rules(Policy(workers=2))
        assert rules.deadline() is None
        assert rules.handle(TimePassed(), 1e9) == []
        assert rules.stages() == {1: Stage.WAITING, 2: Stage.WAITING}

    def test_begin_starts_every_worker(self) -> None:
        """Workers are numbered from 1 and start in order, all at once."""
        assert booting(3).stages() == dict.fromkeys((1, 2, 3), Stage.BOOTING)

    def test_beginning_twice_starts_nobody_twice(self) -> None:
        """A number has one worker at a time, even when the driver stutters."""
        rules = booting(2)
        assert rules.handle(Begin(), 1.0) == []

    def test_the_last_one_ready_is_announced(self) -> None:
        """Every worker ready for the first time is news, and it is news once."""
        rules = booting(2)
        assert rules.handle(Booted(2), 1.0) == []
        assert rules.handle(Booted(1), 2.0) == [Announce()]
        assert rules.handle(Exited(1, KILLED), 10.0) == [Spawn(1)]
        assert rules.handle(Booted(1), 11.0) == []

    def test_nobody_is_announced_while_one_is_being_replaced(self) -> None:
        """That each worker was ready once is not enough: all are, at one time."""
        rules = booting(2)
        rules.handle(Booted(1), 1.0)
        assert rules.handle(Exited(1, KILLED), 9.0) == [Spawn(1)]
        assert rules.handle(Booted(2), 9.1) == []
        assert rules.handle(Booted(1), 9.2) == [Announce()]

    def test_a_boot_that_takes_too_long_is_killed(self) -> None:
        """At the boot's deadline the worker is killed, and once it is gone another one starts."""
        rules = booting()
        assert rules.deadline() == BOOT
        assert rules.handle(TimePassed(), BOOT - 0.001) == []
        assert rules.handle(TimePassed(), BOOT) == [Tell(1, Urgency.NOW)]
        assert rules.handle(Exited(1, KILLED), BOOT + 0.1) == [Spawn(1)]
        assert rules.deadline() == BOOT + 0.1 + BOOT

    def test_a_ready_worker_has_no_deadline(self) -> None:
        """Whoever serves may do so for ever, and nothing wakes the driver up."""
        rules = serving()
        assert rules.deadline() is None
        assert rules.handle(TimePassed(), 1e9) == []

    def test_a_worker_that_reports_while_it_is_killed_is_not_ready(self) -> None:
        """Its death is the failed boot that it was killed for."""
        rules = booting()
        rules.handle(TimePassed(), BOOT)
        assert rules.handle(Booted(1), BOOT + 0.1) == []
        assert rules.stages() == {1: Stage.BOOTING}

    def test_boots_that_take_too_long_are_the_failure(self) -> None:
        """After the last try the failure says how long was waited."""
        rules = booting()
        now, actions = 0.0, list[Action]()
        for _ in range(3):
            if rules.stages()[1] is Stage.WAITING:
                rules.handle(TimePassed(), now := rules.deadline() or 0.0)
            now += BOOT
            assert rules.handle(TimePassed(), now) == [Tell(1, Urgency.NOW)]
            actions = rules.handle(Exited(1, KILLED), now)
        problem = "worker 1 took more than 60 s to boot"
        assert actions == [StopBegins(), Finish(Failure(ExitCode.BOOT_FAILED, problem))]

    def test_a_boot_that_cannot_be_killed_is_given_up_but_watched(self) -> None:
        """The number stays taken, so nobody else starts under it until the kernel lets go."""
        rules = booting()
        rules.handle(TimePassed(), BOOT)
        assert rules.deadline() == BOOT + UNKILLABLE_AFTER
        assert rules.handle(TimePassed(), BOOT + UNKILLABLE_AFTER) == [Abandon(1)]
        assert rules.deadline() is None
        assert rules.handle(Exited(1, KILLED), 1000.0) == [Spawn(1)]


class TestDeath:
    def test_the_first_young_death_restarts_at_once(self) -> None:
        """One death says nothing yet."""
        rules = serving()
        assert rules.handle(Exited(1, KILLED), 0.5) == [Spawn(1)]

    def test_the_second_young_death_in_a_row_pauses(self) -> None:
        """Two in a row cost a tenth of a second, and then the next one starts."""
        rules = serving()
        rules.handle(Exited(1, KILLED), 0.5)
        rules.handle(Booted(1), 1.0)
        assert rules.handle(Exited(1, KILLED), 1.5) == [Pause(1, 0.1)]
        assert rules.stages() == {1: Stage.WAITING}
        assert rules.deadline() == 1.6
        assert rules.handle(TimePassed(), 1.59) == []
        assert rules.handle(TimePassed(), 1.6) == [Spawn(1)]
        assert rules.deadline() == 1.6 + BOOT

    def test_an_old_workers_death_restarts_at_once(self) -> None:
        """Whoever was ready for a second forgives all deaths before."""
        rules = serving()
        for now in (0.1, 0.2, 0.3):
            rules.handle(Exited(1, KILLED), now)
            rules.handle(TimePassed(), now + 1.0)
            rules.handle(Booted(1), now)
        assert rules.handle(Exited(1, KILLED), 1.3) == [Spawn(1)]
        rules.handle(Booted(1), 1.3)
        assert rules.handle(Exited(1, KILLED), 1.4) == [Spawn(1)]

    def test_age_counts_from_ready(self) -> None:
        """A worker that took long to boot and died at once died young."""
        rules = booting()
        rules.handle(Booted(1), 50.0)
        rules.handle(Exited(1, KILLED), 50.5)
        rules.handle(Booted(1), 100.0)
        assert rules.handle(Exited(1, KILLED), 100.5) == [Pause(1, 0.1)]

    def test_a_clock_that_went_back_means_young(self) -> None:
        """A lifetime below zero is no long life."""
        rules = booting()
        rules.handle(Booted(1), 100.0)
        rules.handle(Exited(1, KILLED), 50.0)
        rules.handle(Booted(1), 40.0)
        assert rules.handle(Exited(1, KILLED), 20.0) == [Pause(1, 0.1)]

    def test_numbers_pause_for_themselves(self) -> None:
        """A number that crashes makes no other one wait."""
        rules = serving(2)
        rules.handle(Exited(1, KILLED), 0.1)
        rules.handle(Booted(1), 0.2)
        assert rules.handle(Exited(1, KILLED), 0.3) == [Pause(1, 0.1)]
        assert rules.handle(Exited(2, KILLED), 0.3) == [Spawn(2)]

    def test_failed_boots_pause_too(self) -> None:
        """A boot that fails is a young death; a worker ready in between ends no row of them."""
        rules = serving(2)
        assert fail_boot(rules, 1, 0.1, None) == [Spawn(1)]
        assert fail_boot(rules, 1, 0.2, None) == [Pause(1, 0.1)]
        rules.handle(TimePassed(), 0.35)
        assert fail_boot(rules, 1, 0.4, None) == [Pause(1, 0.2)]


class TestHopeless:
    def test_a_target_that_fails_before_all_were_ready_ends_all(self) -> None:
        """It would fail for each in the same way: one try is enough, and the code is 4."""
        rules = booting(2)
        rules.handle(Booted(2), 0.1)
        assert fail_boot(rules, 1, 0.2, NO_MODULE) == [StopBegins(), Tell(2, Urgency.QUICK)]
        assert rules.handle(Exited(2, "exited with code 0"), 0.3) == [Finish(NO_MODULE)]
        assert NO_MODULE.code == 4

    def test_the_third_failed_boot_in_a_row_ends_all(self) -> None:
        """Three tries, the last reason is told, and the code is 3."""
        rules = booting()
        assert fail_boot(rules, 1, 0.1, None) == [Spawn(1)]
        assert fail_boot(rules, 1, 0.2, None) == [Pause(1, 0.1)]
        rules.handle(TimePassed(), 0.35)
        assert fail_boot(rules, 1, 0.4, NO_MEMORY) == [StopBegins(), Finish(NO_MEMORY)]
        assert NO_MEMORY.code == 3

    def test_a_death_without_a_word_is_told_in_words(self) -> None:
        """A worker that said nothing before it died: the failure says how it died."""
        rules = booting()
        for now in (0.1, 0.2):
            fail_boot(rules, 1, now, NO_MEMORY)
        rules.handle(TimePassed(), 0.35)
        problem = "worker 1 was killed by SIGKILL before it was ready"
        finish = Finish(Failure(ExitCode.BOOT_FAILED, problem))
        assert fail_boot(rules, 1, 0.4, None) == [StopBegins(), finish]

    def test_siblings_that_serve_keep_all_alive_after_the_announcement(self) -> None:
        """One that cannot boot any more takes nothing from those that serve."""
        rules = serving(2)
        now = 10.0
        rules.handle(Exited(1, KILLED), now)
        for _ in range(10):
            (action,) = fail_boot(rules, 1, now, NO_MODULE)
            assert action == Spawn(1) or isinstance(action, Pause)
            now = rules.deadline() or now
            rules.handle(TimePassed(), now)
        assert rules.urgency is Urgency.NONE
        assert rules.stages()[2] is Stage.READY

    def test_siblings_that_serve_do_not_help_before_the_announcement(self) -> None:
        """A service that never was whole is none: whoever deploys it must hear of it."""
        rules = booting(2)
        rules.handle(Booted(2), 0.1)
        fail_boot(rules, 1, 0.1, None)
        fail_boot(rules, 1, 0.2, None)
        rules.handle(TimePassed(), 0.35)
        assert fail_boot(rules, 1, 0.4, None) == [StopBegins(), Tell(2, Urgency.QUICK)]

    def test_the_last_one_that_cannot_boot_ends_all_after_the_announcement(self) -> None:
        """Nobody serves and nobody can: three tries end it, whatever the reason."""
        rules = serving()
        assert rules.handle(Exited(1, KILLED), 10.0) == [Spawn(1)]
        assert fail_boot(rules, 1, 10.1, NO_MODULE) == [Spawn(1)]
        assert fail_boot(rules, 1, 10.2, NO_MODULE) == [Pause(1, 0.1)]
        rules.handle(TimePassed(), 10.35)
        assert fail_boot(rules, 1, 10.4, NO_MODULE) == [StopBegins(), Finish(NO_MODULE)]

    def test_a_boot_that_succeeds_makes_the_count_start_again(self) -> None:
        """Only failures in a row are hopeless."""
        rules = booting()
        fail_boot(rules, 1, 0.1, None)
        fail_boot(rules, 1, 0.2, None)
        rules.handle(TimePassed(), 0.35)
        rules.handle(Booted(1), 0.4)
        assert rules.handle(Exited(1, KILLED), 10.0) == [Spawn(1)]
        assert fail_boot(rules, 1, 10.1, None) == [Spawn(1)]

    def test_what_an_earlier_boot_said_is_not_said_of_a_later_one(self) -> None:
        """Each boot has its own reason."""
        rules = booting(2)
        fail_boot(rules, 1, 0.1, NO_MEMORY)
        fail_boot(rules, 1, 0.2, None)
        rules.handle(TimePassed(), 0.35)
        fail_boot(rules, 1, 0.4, None)
        (finish,) = rules.handle(Exited(2, KILLED), 0.5)
        assert isinstance(finish, Finish)
        assert finish.failure is not None
        assert finish.failure != NO_MEMORY


class TestStop:
    def test_graceful_then_kill_then_give_up(self) -> None:
        """Told, then killed when grace and its margin are over, then given up: and the end."""
        rules = serving()
        assert rules.handle(StopAsked(Urgency.GRACEFUL), 100.0) == [
            StopBegins(),
            Tell(1, Urgency.GRACEFUL),
        ]
        overdue = 100.0 + GRACE + STOP_MARGIN
        assert rules.deadline() == overdue
        assert rules.handle(TimePassed(), overdue - 0.001) == []
        assert rules.handle(TimePassed(), overdue) == [Tell(1, Urgency.NOW)]
        assert rules.deadline() == overdue + UNKILLABLE_AFTER
        assert rules.handle(TimePassed(), overdue + UNKILLABLE_AFTER) == [Abandon(1), Finish(None)]
        assert rules.stages() == {1: Stage.GONE}
        assert rules.deadline() is None

    def test_quick_leaves_the_margin_only(self) -> None:
        """A quick stop kills after the margin, not after the grace period."""
        rules = serving()
        rules.handle(StopAsked(Urgency.QUICK), 100.0)
        assert rules.handle(TimePassed(), 100.0 + STOP_MARGIN) == [Tell(1, Urgency.NOW)]

    def test_the_end_comes_with_the_last_worker(self) -> None:
        """Workers that do as they are told end it, without a failure."""
        rules = serving(2)
        rules.handle(StopAsked(Urgency.GRACEFUL), 1.0)
        assert rules.handle(Exited(2, "exited with code 0"), 2.0) == []
        assert rules.handle(Exited(1, KILLED), 3.0) == [Finish(None)]

    def test_nothing_comes_after_the_end(self) -> None:
        """Whatever is handled afterwards, nothing is done."""
        rules = serving()
        rules.handle(StopAsked(Urgency.NOW), 1.0)
        assert rules.handle(Exited(1, KILLED), 2.0) == [Finish(None)]
        for event in (Begin(), TimePassed(), Interrupted(), StopAsked(Urgency.NOW)):
            assert rules.handle(event, 3.0) == []

    def test_ctrl_c_twice_kills(self) -> None:
        """The first is quick, the second at once, and a third one adds nothing."""
        rules = serving()
        assert rules.handle(Interrupted(), 1.0) == [StopBegins(), Tell(1, Urgency.QUICK)]
        assert rules.handle(Interrupted(), 1.5) == [Tell(1, Urgency.NOW)]
        assert rules.handle(Interrupted(), 2.0) == []

    def test_ctrl_c_hurries_a_graceful_stop(self) -> None:
        """INT after TERM is quick, not yet the end of all patience."""
        rules = serving()
        rules.handle(StopAsked(Urgency.GRACEFUL), 1.0)
        assert rules.handle(Interrupted(), 2.0) == [Tell(1, Urgency.QUICK)]
        assert rules.deadline() == 2.0 + STOP_MARGIN

    @pytest.mark.parametrize("urgency", [Urgency.GRACEFUL, Urgency.QUICK])
    def test_a_later_stop_is_never_a_slower_one(self, urgency: Urgency) -> None:
        """TERM, or a second QUIT, after INT is ignored: nobody gets more time."""
        rules = serving()
        rules.handle(Interrupted(), 1.0)
        assert rules.handle(StopAsked(urgency), 2.0) == []
        assert rules.urgency is Urgency.QUICK
        assert rules.deadline() == 1.0 + STOP_MARGIN

    def test_whoever_waits_is_gone_at_once(self) -> None:
        """A number that pauses gets no worker any more."""
        rules = serving()
        for now in (0.1, 0.2):
            rules.handle(Booted(1), now)
            rules.handle(Exited(1, KILLED), now)
        assert rules.stages() == {1: Stage.WAITING}
        assert rules.handle(StopAsked(Urgency.GRACEFUL), 0.25) == [StopBegins(), Finish(None)]

    def test_a_stop_before_the_beginning_is_the_end(self) -> None:
        """A signal that was faster than the driver starts nobody."""
        rules = Rules(Policy(workers=2))
        assert rules.handle(StopAsked(Urgency.GRACEFUL), 0.0) == [StopBegins(), Finish(None)]
        assert rules.handle(Begin(), 0.1) == []

    def test_who_boots_is_told_too(self) -> None:
        """A worker is stopped where it stands; that it becomes ready changes nothing."""
        rules = booting()
        assert rules.handle(StopAsked(Urgency.QUICK), 1.0) == [StopBegins(), Tell(1, Urgency.QUICK)]
        assert rules.handle(Booted(1), 1.1) == []
        assert rules.stages() == {1: Stage.STOPPING}
        assert rules.handle(BootFailed(1, NO_MODULE), 1.2) == []
        assert rules.handle(Exited(1, KILLED), 1.3) == [Finish(None)]

    def test_a_worker_that_is_being_killed_is_not_told_again(self) -> None:
        """A boot that was too long is killed already when the stop comes, and given up in time."""
        rules = booting()
        rules.handle(TimePassed(), BOOT)
        assert rules.handle(StopAsked(Urgency.GRACEFUL), BOOT + 1.0) == [StopBegins()]
        given_up = BOOT + UNKILLABLE_AFTER
        assert rules.handle(TimePassed(), given_up) == [Abandon(1), Finish(None)]

    def test_a_worker_that_was_given_up_before_the_stop_holds_nothing_up(self) -> None:
        """What the kernel holds was waited for once; the stop does not wait for it again."""
        rules = booting()
        rules.handle(TimePassed(), BOOT)
        assert rules.handle(TimePassed(), BOOT + UNKILLABLE_AFTER) == [Abandon(1)]
        actions = rules.handle(StopAsked(Urgency.GRACEFUL), 100.0)
        assert actions == [StopBegins(), Finish(None)]

    def test_asking_for_no_stop_stops_nothing(self) -> None:
        """`Urgency.NONE` is no stop."""
        rules = serving()
        assert rules.handle(StopAsked(Urgency.NONE), 1.0) == []
        assert rules.stages() == {1: Stage.READY}
