"""The supervision rules, one by one."""

from __future__ import annotations

import pytest

from manycore.errors import ExitCode
from manycore.supervise.events import (
    Abandon,
    Action,
    Announce,
    Begin,
    Booted,
    BootFailed,
    BootFails,
    Event,
    Exited,
    Failure,
    Finish,
    Interrupted,
    LetGo,
    Pause,
    Policy,
    ReloadAsked,
    ReloadEnds,
    ScaleAsked,
    Spawn,
    Spent,
    StopAsked,
    StopBegins,
    Tell,
    TimePassed,
    Urgency,
    WorkEnds,
)
from manycore.supervise.roster import STOP_MARGIN, UNKILLABLE_AFTER, Stage
from manycore.supervise.rules import Rules

GRACE = 30.0
BOOT = 60.0
KILLED = "was killed by SIGKILL"
NO_MODULE = Failure(ExitCode.TARGET_FAILED, "there is no module 'ehco'", where="ehco:handle")
NO_MEMORY = Failure(ExitCode.BOOT_FAILED, "MemoryError: ")


def booting(workers: int = 1, overlap: int = 1) -> Rules:
    """Begun at 0; worker n has place n."""
    policy = Policy(workers=workers, graceful_timeout=GRACE, boot_timeout=BOOT, overlap=overlap)
    rules = Rules(policy)
    assert rules.handle(Begin(), 0.0) == [Spawn(name, name, 0) for name in range(1, workers + 1)]
    return rules


def serving(workers: int = 1, overlap: int = 1) -> Rules:
    """Begun at 0, ready and announced at 0."""
    rules = booting(workers, overlap)
    for name in range(1, workers + 1):
        rules.handle(Booted(name), 0.0)
    assert rules.announced
    return rules


def handle_all(rules: Rules, now: float, *events: Event) -> list[Action]:
    """Handles one after the other at one time."""
    return [action for event in events for action in rules.handle(event, now)]


def fail_boot(rules: Rules, name: int, now: float, failure: Failure | None) -> list[Action]:
    if failure is not None:
        assert rules.handle(BootFailed(name, failure), now) == []
    return rules.handle(Exited(name, KILLED), now)


def wait(rules: Rules) -> tuple[float, list[Action]]:
    """Lets time pass until the deadline, and gives it."""
    deadline = rules.deadline()
    assert deadline is not None
    return deadline, rules.handle(TimePassed(), deadline)


class TestBoot:
    def test_nothing_is_started_before_the_driver_is_ready(self) -> None:
        """Rules that have not begun have no deadline and no worker, whatever they are asked."""
        rules = Rules(Policy(workers=2))
        assert rules.deadline() is None
        assert rules.handle(TimePassed(), 1e9) == []
        assert rules.handle(ReloadAsked(), 1e9) == []
        assert rules.handle(ScaleAsked(3), 1e9) == []
        assert rules.stages() == {}

    def test_a_number_that_was_asked_for_before_the_beginning_is_begun_with(self) -> None:
        """Whoever asks before the driver is ready gets what was asked for once it is."""
        rules = Rules(Policy(workers=1))
        rules.handle(ScaleAsked(2), 0.0)
        assert rules.handle(Begin(), 1.0) == [Spawn(1, 1, 0), Spawn(2, 2, 0)]

    def test_begin_starts_every_worker(self) -> None:
        """Places are numbered from 1 and are filled in order, all at once."""
        assert booting(3).stages() == dict.fromkeys((1, 2, 3), Stage.BOOTING)

    def test_beginning_twice_starts_nobody_twice(self) -> None:
        """A place has one worker at a time, even when the driver stutters."""
        rules = booting(2)
        assert rules.handle(Begin(), 1.0) == []

    def test_a_name_is_never_used_again(self) -> None:
        """Whoever comes after another in a place is called something else."""
        rules = serving(2)
        assert rules.handle(Exited(1, KILLED), 10.0) == [Spawn(3, 1, 0)]
        rules.handle(Booted(3), 10.0)
        assert rules.handle(Exited(2, KILLED), 20.0) == [Spawn(4, 2, 0)]

    def test_what_is_heard_of_the_dead_changes_nothing(self) -> None:
        """A report that was read late is about nobody; least of all about the next worker."""
        rules = serving()
        rules.handle(Exited(1, KILLED), 10.0)
        late = (Booted(1), BootFailed(1, NO_MODULE), LetGo(1), Exited(1, KILLED))
        assert handle_all(rules, 11.0, *late) == []
        assert rules.stages() == {2: Stage.BOOTING}

    def test_the_last_one_ready_is_announced(self) -> None:
        """Every worker ready for the first time is news, and it is news once."""
        rules = booting(2)
        assert rules.handle(Booted(2), 1.0) == []
        assert rules.handle(Booted(1), 2.0) == [Announce()]
        assert rules.handle(Exited(1, KILLED), 10.0) == [Spawn(3, 1, 0)]
        assert rules.handle(Booted(3), 11.0) == []

    def test_nobody_is_announced_while_one_is_being_replaced(self) -> None:
        """That each place's worker was ready once is not enough: all are, at one time."""
        rules = booting(2)
        rules.handle(Booted(1), 1.0)
        assert rules.handle(Exited(1, KILLED), 9.0) == [Spawn(3, 1, 0)]
        assert rules.handle(Booted(2), 9.1) == []
        assert rules.handle(Booted(3), 9.2) == [Announce()]

    def test_a_boot_that_takes_too_long_is_killed(self) -> None:
        """At the boot's deadline the worker is killed, and once it is gone another one starts."""
        rules = booting()
        assert rules.deadline() == BOOT
        assert rules.handle(TimePassed(), BOOT - 0.001) == []
        assert rules.handle(TimePassed(), BOOT) == [Tell(1, Urgency.NOW)]
        assert rules.handle(Exited(1, KILLED), BOOT + 0.1) == [Spawn(2, 1, 0)]
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
        assert rules.stages() == {1: Stage.STOPPING}

    def test_boots_that_take_too_long_are_the_failure(self) -> None:
        """After the last try the failure says how long was waited."""
        rules = booting()
        now, actions = 0.0, list[Action]()
        for name in (1, 2, 3):
            if name not in rules.stages():
                now, actions = wait(rules)
                assert actions == [Spawn(name, 1, 0)]
            now, actions = wait(rules)
            assert actions == [Tell(name, Urgency.NOW)]
            actions = rules.handle(Exited(name, KILLED), now)
        problem = "worker 1 took more than 60 s to boot"
        assert actions == [StopBegins(), Finish(Failure(ExitCode.BOOT_FAILED, problem))]

    def test_a_boot_that_cannot_be_killed_is_given_up_and_replaced(self) -> None:
        """The place does not wait for the kernel, and what it lets go of later is no news."""
        rules = booting()
        rules.handle(TimePassed(), BOOT)
        given_up = BOOT + UNKILLABLE_AFTER
        assert rules.deadline() == given_up
        assert rules.handle(TimePassed(), given_up) == [Abandon(1), Spawn(2, 1, 0)]
        assert rules.deadline() == given_up + BOOT
        assert rules.handle(Exited(1, KILLED), 70.0) == []
        assert rules.stages() == {2: Stage.BOOTING}


class TestDeath:
    def test_the_first_young_death_restarts_at_once(self) -> None:
        """One death says nothing yet."""
        rules = serving()
        assert rules.handle(Exited(1, KILLED), 0.5) == [Spawn(2, 1, 0)]

    def test_the_second_young_death_in_a_row_pauses(self) -> None:
        """Two in a row cost a tenth of a second, and then the next one starts."""
        rules = serving()
        rules.handle(Exited(1, KILLED), 0.5)
        rules.handle(Booted(2), 1.0)
        assert rules.handle(Exited(2, KILLED), 1.5) == [Pause(1, 0.1)]
        assert rules.stages() == {}
        assert rules.deadline() == 1.6
        assert rules.handle(TimePassed(), 1.59) == []
        assert rules.handle(TimePassed(), 1.6) == [Spawn(3, 1, 0)]
        assert rules.deadline() == 1.6 + BOOT

    def test_an_old_workers_death_restarts_at_once(self) -> None:
        """Whoever was ready for a second forgives all deaths before."""
        rules = serving()
        for name, now in ((1, 0.1), (2, 0.2), (3, 0.3)):
            rules.handle(Exited(name, KILLED), now)
            rules.handle(TimePassed(), now + 1.0)
            rules.handle(Booted(name + 1), now)
        assert rules.handle(Exited(4, KILLED), 1.3) == [Spawn(5, 1, 0)]
        rules.handle(Booted(5), 1.3)
        assert rules.handle(Exited(5, KILLED), 1.4) == [Spawn(6, 1, 0)]

    def test_age_counts_from_ready(self) -> None:
        """A worker that took long to boot and died at once died young."""
        rules = booting()
        rules.handle(Booted(1), 50.0)
        rules.handle(Exited(1, KILLED), 50.5)
        rules.handle(Booted(2), 100.0)
        assert rules.handle(Exited(2, KILLED), 100.5) == [Pause(1, 0.1)]

    def test_a_clock_that_went_back_means_young(self) -> None:
        """A lifetime below zero is no long life."""
        rules = booting()
        rules.handle(Booted(1), 100.0)
        rules.handle(Exited(1, KILLED), 50.0)
        rules.handle(Booted(2), 40.0)
        assert rules.handle(Exited(2, KILLED), 20.0) == [Pause(1, 0.1)]

    def test_places_pause_for_themselves(self) -> None:
        """A place whose workers crash makes no other one wait."""
        rules = serving(2)
        rules.handle(Exited(1, KILLED), 0.1)
        rules.handle(Booted(3), 0.2)
        assert rules.handle(Exited(3, KILLED), 0.3) == [Pause(1, 0.1)]
        assert rules.handle(Exited(2, KILLED), 0.3) == [Spawn(4, 2, 0)]

    def test_failed_boots_pause_too(self) -> None:
        """A boot that fails is a young death, and they make a row with the others."""
        rules = serving(2)
        assert fail_boot(rules, 1, 0.1, None) == [Spawn(3, 1, 0)]
        assert fail_boot(rules, 3, 0.2, None) == [Pause(1, 0.1)]
        rules.handle(TimePassed(), 0.35)
        assert fail_boot(rules, 4, 0.4, None) == [Pause(1, 0.2)]


class TestHopeless:
    def test_a_target_that_fails_before_all_were_ready_ends_all(self) -> None:
        """It would fail for each in the same way: one try is enough, and the code is 4."""
        rules = booting(2)
        rules.handle(Booted(2), 0.1)
        assert fail_boot(rules, 1, 0.2, NO_MODULE) == [StopBegins(), Tell(2, Urgency.QUICK)]
        assert rules.handle(Exited(2, "exited with code 0"), 0.3) == [Finish(NO_MODULE)]
        assert NO_MODULE.code == 4

    def test_so_does_a_setting_that_is_wrong(self) -> None:
        """Files that were sound when the command looked may not be when the workers do."""
        wrong = Failure(ExitCode.USAGE, "it does not fit", "key")
        assert fail_boot(booting(), 1, 0.2, wrong) == [StopBegins(), Finish(wrong)]

    def test_the_third_failed_boot_in_a_row_ends_all(self) -> None:
        """Three tries, the last reason is told, and the code is 3."""
        rules = booting()
        assert fail_boot(rules, 1, 0.1, None) == [Spawn(2, 1, 0)]
        assert fail_boot(rules, 2, 0.2, None) == [Pause(1, 0.1)]
        rules.handle(TimePassed(), 0.35)
        assert fail_boot(rules, 3, 0.4, NO_MEMORY) == [StopBegins(), Finish(NO_MEMORY)]
        assert NO_MEMORY.code == 3

    def test_a_death_without_a_word_is_told_in_words(self) -> None:
        """A worker that said nothing before it died: the failure says how it died."""
        rules = booting()
        fail_boot(rules, 1, 0.1, NO_MEMORY)
        fail_boot(rules, 2, 0.2, NO_MEMORY)
        rules.handle(TimePassed(), 0.35)
        problem = "worker 1 was killed by SIGKILL before it was ready"
        finish = Finish(Failure(ExitCode.BOOT_FAILED, problem))
        assert fail_boot(rules, 3, 0.4, None) == [StopBegins(), finish]

    def test_siblings_that_serve_keep_all_alive_after_the_announcement(self) -> None:
        """One that cannot boot any more takes nothing from those that serve; each try is told."""
        rules = serving(2)
        now = 10.0
        assert rules.handle(Exited(1, KILLED), now) == [Spawn(3, 1, 0)]
        name = 3
        for _ in range(10):
            told, *actions = fail_boot(rules, name, now, NO_MODULE)
            assert told == BootFails(1, NO_MODULE)
            if isinstance(actions[0], Pause):
                now, actions = wait(rules)
            name += 1
            assert actions == [Spawn(name, 1, 0)]
        assert rules.urgency is Urgency.NONE
        assert rules.stages()[2] is Stage.READY

    def test_siblings_that_serve_do_not_help_before_the_announcement(self) -> None:
        """A service that never was whole is none: whoever deploys it must hear of it."""
        rules = booting(2)
        rules.handle(Booted(2), 0.1)
        fail_boot(rules, 1, 0.1, None)
        fail_boot(rules, 3, 0.2, None)
        rules.handle(TimePassed(), 0.35)
        assert fail_boot(rules, 4, 0.4, None) == [StopBegins(), Tell(2, Urgency.QUICK)]

    def test_the_last_one_that_cannot_boot_ends_all_after_the_announcement(self) -> None:
        """Nobody serves and nobody can: three tries end it, whatever the reason."""
        rules = serving()
        assert rules.handle(Exited(1, KILLED), 10.0) == [Spawn(2, 1, 0)]
        told = BootFails(1, NO_MODULE)
        assert fail_boot(rules, 2, 10.1, NO_MODULE) == [told, Spawn(3, 1, 0)]
        assert fail_boot(rules, 3, 10.2, NO_MODULE) == [told, Pause(1, 0.1)]
        rules.handle(TimePassed(), 10.35)
        assert fail_boot(rules, 4, 10.4, NO_MODULE) == [StopBegins(), Finish(NO_MODULE)]

    def test_a_boot_that_succeeds_makes_the_count_start_again(self) -> None:
        """Only failures in a row are hopeless."""
        rules = booting()
        fail_boot(rules, 1, 0.1, None)
        fail_boot(rules, 2, 0.2, None)
        rules.handle(TimePassed(), 0.35)
        rules.handle(Booted(3), 0.4)
        assert rules.handle(Exited(3, KILLED), 10.0) == [Spawn(4, 1, 0)]
        assert fail_boot(rules, 4, 10.1, None) == [Spawn(5, 1, 0)]

    def test_what_an_earlier_boot_said_is_not_said_of_a_later_one(self) -> None:
        """Each boot has its own reason."""
        rules = booting(2)
        fail_boot(rules, 1, 0.1, NO_MEMORY)
        fail_boot(rules, 3, 0.2, None)
        rules.handle(TimePassed(), 0.35)
        fail_boot(rules, 4, 0.4, None)
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
        assert rules.stages() == {}
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
        asked: list[Event] = [ReloadAsked(), ScaleAsked(9), Interrupted(), StopAsked(Urgency.NOW)]
        for event in [Begin(), TimePassed(), *asked]:
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

    def test_a_place_that_waits_has_nobody_to_wait_for(self) -> None:
        """A place that pauses gets no worker any more."""
        rules = serving()
        rules.handle(Exited(1, KILLED), 0.1)
        assert handle_all(rules, 0.2, Booted(2), Exited(2, KILLED)) == [Pause(1, 0.1)]
        assert rules.handle(StopAsked(Urgency.GRACEFUL), 0.25) == [StopBegins(), Finish(None)]

    def test_a_beginning_during_a_stop_starts_nobody(self) -> None:
        """However late the driver is: after the stop no worker is started."""
        rules = serving(2)
        rules.handle(Exited(1, KILLED), 0.1)
        assert handle_all(rules, 0.2, Booted(3), Exited(3, KILLED)) == [Pause(1, 0.1)]
        rules.handle(StopAsked(Urgency.GRACEFUL), 0.25)
        assert rules.handle(Begin(), 0.3) == []
        assert rules.handle(TimePassed(), 0.35) == []
        assert rules.handle(Exited(2, KILLED), 0.4) == [Finish(None)]

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
        given_up = BOOT + UNKILLABLE_AFTER
        assert rules.handle(TimePassed(), given_up) == [Abandon(1), Spawn(2, 1, 0)]
        actions = rules.handle(StopAsked(Urgency.GRACEFUL), 100.0)
        assert actions == [StopBegins(), Tell(2, Urgency.GRACEFUL)]
        assert rules.handle(Exited(2, KILLED), 101.0) == [Finish(None)]

    def test_asking_for_no_stop_stops_nothing(self) -> None:
        """`Urgency.NONE` is no stop."""
        rules = serving()
        assert rules.handle(StopAsked(Urgency.NONE), 1.0) == []
        assert rules.stages() == {1: Stage.READY}


class TestTheEndOfWork:
    def test_when_the_last_has_let_go(self) -> None:
        """It is told once, by whoever lets go last; who ends afterwards does not tell it again."""
        rules = serving(2)
        rules.handle(StopAsked(Urgency.GRACEFUL), 10.0)
        assert rules.handle(LetGo(1), 10.1) == []
        assert rules.handle(LetGo(2), 10.2) == [WorkEnds()]
        assert rules.handle(Exited(1, "exited with code 0"), 11.0) == []
        assert rules.handle(Exited(2, "exited with code 0"), 12.0) == [Finish(None)]

    def test_when_the_last_that_takes_some_is_killed(self) -> None:
        """The dead take no work."""
        rules = serving(2)
        handle_all(rules, 10.0, StopAsked(Urgency.GRACEFUL), LetGo(1))
        assert rules.handle(Exited(2, KILLED), 10.2) == [WorkEnds()]

    def test_not_by_a_reload(self) -> None:
        """Whoever lets go then is followed by another."""
        rules = serving()
        assert WorkEnds() not in handle_all(rules, 10.0, ReloadAsked(), Booted(2), LetGo(1))


class TestReload:
    def test_one_place_after_the_other(self) -> None:
        """The next successor starts when the last predecessor is gone; then it has ended."""
        rules = serving(2)
        assert rules.handle(ReloadAsked(), 10.0) == [Spawn(3, 1, 1)]
        assert rules.stages() == {1: Stage.READY, 2: Stage.READY, 3: Stage.BOOTING}
        assert rules.handle(Booted(3), 11.0) == [Tell(1, Urgency.GRACEFUL)]
        assert rules.stages() == {1: Stage.STOPPING, 2: Stage.READY, 3: Stage.READY}
        assert rules.handle(LetGo(1), 11.1) == []
        assert rules.handle(Exited(1, "exited with code 0"), 12.0) == [Spawn(4, 2, 1)]
        assert rules.handle(Booted(4), 13.0) == [Tell(2, Urgency.GRACEFUL)]
        assert rules.reloading
        assert rules.handle(LetGo(2), 13.1) == [ReloadEnds(1, None)]
        assert not rules.reloading
        assert rules.handle(Exited(2, "exited with code 0"), 14.0) == []
        assert rules.stages() == {3: Stage.READY, 4: Stage.READY}
        assert rules.deadline() is None

    def test_as_many_at_a_time_as_may_overlap(self) -> None:
        """With room for two, two successors boot at a time."""
        rules = serving(3, overlap=2)
        assert rules.handle(ReloadAsked(), 10.0) == [Spawn(4, 1, 1), Spawn(5, 2, 1)]
        assert handle_all(rules, 11.0, Booted(4), Booted(5)) == [
            Tell(1, Urgency.GRACEFUL),
            Tell(2, Urgency.GRACEFUL),
        ]
        assert rules.handle(Exited(2, "exited with code 0"), 12.0) == [Spawn(6, 3, 1)]
        assert handle_all(rules, 13.0, Exited(1, "exited with code 0"), Booted(6)) == [
            Tell(3, Urgency.GRACEFUL)
        ]
        assert rules.handle(LetGo(3), 14.0) == [ReloadEnds(1, None)]

    def test_it_ends_when_nobody_with_the_old_code_takes_work(self) -> None:
        """Whoever drains may go on for long; that it takes no new work is enough."""
        rules = serving()
        rules.handle(ReloadAsked(), 10.0)
        assert rules.handle(Booted(2), 11.0) == [Tell(1, Urgency.GRACEFUL)]
        assert rules.reloading
        assert rules.handle(LetGo(1), 11.1) == [ReloadEnds(1, None)]
        assert rules.stages() == {1: Stage.STOPPING, 2: Stage.READY}

    def test_a_predecessor_that_exits_without_a_word_takes_no_work_either(self) -> None:
        """Dead or drained: it has let go."""
        rules = serving()
        handle_all(rules, 10.0, ReloadAsked(), Booted(2))
        assert rules.handle(Exited(1, KILLED), 11.0) == [ReloadEnds(1, None)]

    def test_a_predecessor_that_does_not_end_is_killed(self) -> None:
        """It has the grace period and its margin, as in a stop; the reload goes on then."""
        rules = serving(2)
        handle_all(rules, 10.0, ReloadAsked(), Booted(3))
        overdue = 10.0 + GRACE + STOP_MARGIN
        assert rules.deadline() == overdue
        assert rules.handle(TimePassed(), overdue - 0.001) == []
        assert rules.handle(TimePassed(), overdue) == [Tell(1, Urgency.NOW)]
        assert rules.handle(Exited(1, KILLED), overdue) == [Spawn(4, 2, 1)]

    def test_asked_before_the_announcement_it_waits_for_it(self) -> None:
        """A service becomes whole before it is renewed."""
        rules = booting(2)
        assert rules.handle(ReloadAsked(), 0.1) == []
        assert rules.reloading
        assert rules.generation == 0
        assert rules.handle(Booted(1), 0.2) == []
        assert rules.handle(Booted(2), 0.3) == [Announce(), Spawn(3, 1, 1)]

    def test_a_worker_that_dies_leaves_its_place_to_its_successor(self) -> None:
        """No third one is started, and the successor is nobody's any more: it just boots."""
        rules = serving(2)
        assert rules.handle(ReloadAsked(), 10.0) == [Spawn(3, 1, 1)]
        # the place has one process again, so there is room for the next successor
        assert rules.handle(Exited(1, KILLED), 11.0) == [Spawn(4, 2, 1)]
        assert rules.handle(Booted(3), 12.0) == []
        assert rules.handle(Booted(4), 13.0) == [Tell(2, Urgency.GRACEFUL)]
        assert rules.handle(LetGo(2), 13.1) == [ReloadEnds(1, None)]

    def test_a_worker_that_dies_before_its_turn_is_renewed_by_that(self) -> None:
        """What takes its place has the new code, and is not renewed once more."""
        rules = serving(2)
        rules.handle(ReloadAsked(), 10.0)
        assert rules.handle(Exited(2, KILLED), 11.0) == [Spawn(4, 2, 1)]
        assert handle_all(rules, 12.0, Booted(4), Booted(3)) == [Tell(1, Urgency.GRACEFUL)]
        assert rules.handle(Exited(1, "exited with code 0"), 13.0) == [ReloadEnds(1, None)]
        assert rules.stages() == {3: Stage.READY, 4: Stage.READY}

    def test_a_worker_that_boots_is_renewed_when_it_is_ready(self) -> None:
        """One that replaces a dead one when the reload is asked for may have the old code."""
        rules = serving()
        assert rules.handle(Exited(1, KILLED), 10.0) == [Spawn(2, 1, 0)]
        assert rules.handle(ReloadAsked(), 10.1) == []
        assert rules.handle(Booted(2), 10.2) == [Spawn(3, 1, 1)]

    def test_a_successor_that_fails_ends_it_and_touches_nobody(self) -> None:
        """The old worker serves on, untold; a place counts no failure."""
        rules = serving()
        assert rules.handle(ReloadAsked(), 10.0) == [Spawn(2, 1, 1)]
        assert fail_boot(rules, 2, 10.1, NO_MODULE) == [ReloadEnds(1, NO_MODULE)]
        assert rules.stages() == {1: Stage.READY}
        assert rules.deadline() is None
        assert not rules.reloading

    def test_failing_again_and_again_is_never_hopeless(self) -> None:
        """Whoever serves goes on, however often the new code is tried."""
        rules = serving()
        for name in range(2, 12):
            assert rules.handle(ReloadAsked(), 10.0) == [Spawn(name, 1, name - 1)]
            assert fail_boot(rules, name, 10.0, NO_MODULE) == [ReloadEnds(name - 1, NO_MODULE)]
        assert rules.handle(Exited(1, KILLED), 20.0) == [Spawn(12, 1, 10)]

    def test_a_successor_that_takes_too_long_has_failed(self) -> None:
        """It is killed like any other boot, and once it is gone the reload has ended."""
        rules = serving()
        rules.handle(ReloadAsked(), 10.0)
        assert rules.handle(TimePassed(), 10.0 + BOOT) == [Tell(2, Urgency.NOW)]
        failure = Failure(ExitCode.BOOT_FAILED, "worker 1 took more than 60 s to boot")
        assert rules.handle(Exited(2, KILLED), 71.0) == [ReloadEnds(1, failure)]

    def test_a_successor_that_cannot_be_killed_has_failed(self) -> None:
        """Nobody waits for the kernel."""
        rules = serving()
        rules.handle(ReloadAsked(), 10.0)
        rules.handle(TimePassed(), 10.0 + BOOT)
        failure = Failure(ExitCode.BOOT_FAILED, "worker 1 took more than 60 s to boot")
        _, actions = wait(rules)
        assert actions == [Abandon(2), ReloadEnds(1, failure)]

    def test_failing_at_the_first_place_leaves_the_others_alone(self) -> None:
        """What failed once is not tried in the next place."""
        rules = serving(2)
        assert rules.handle(ReloadAsked(), 10.0) == [Spawn(3, 1, 1)]
        assert fail_boot(rules, 3, 10.1, NO_MODULE) == [ReloadEnds(1, NO_MODULE)]
        assert rules.handle(TimePassed(), 11.0) == []
        assert rules.stages() == {1: Stage.READY, 2: Stage.READY}

    def test_failing_at_the_second_place_leaves_the_first_one_renewed(self) -> None:
        """What was renewed stays so, what was not stays too; the next reload renews both."""
        rules = serving(2)
        handle_all(rules, 10.0, ReloadAsked(), Booted(3))
        assert rules.handle(Exited(1, "exited with code 0"), 11.0) == [Spawn(4, 2, 1)]
        assert fail_boot(rules, 4, 12.0, NO_MEMORY) == [ReloadEnds(1, NO_MEMORY)]
        assert rules.stages() == {2: Stage.READY, 3: Stage.READY}
        assert rules.handle(ReloadAsked(), 13.0) == [Spawn(5, 1, 2)]
        assert rules.handle(Booted(5), 14.0) == [Tell(3, Urgency.GRACEFUL)]
        assert rules.handle(Exited(3, "exited with code 0"), 15.0) == [Spawn(6, 2, 2)]
        assert rules.handle(Booted(6), 16.0) == [Tell(2, Urgency.GRACEFUL)]
        assert rules.handle(LetGo(2), 17.0) == [ReloadEnds(2, None)]

    def test_of_two_successors_that_fail_the_first_ends_it(self) -> None:
        """A reload ends once, whatever becomes of those that it had started."""
        rules = serving(2, overlap=2)
        assert rules.handle(ReloadAsked(), 10.0) == [Spawn(3, 1, 1), Spawn(4, 2, 1)]
        assert fail_boot(rules, 3, 10.1, NO_MODULE) == [ReloadEnds(1, NO_MODULE)]
        assert fail_boot(rules, 4, 10.2, NO_MODULE) == []
        assert rules.stages() == {1: Stage.READY, 2: Stage.READY}

    def test_a_successor_of_a_reload_that_failed_gets_no_second_one_beside_it(self) -> None:
        """The next reload waits for it where it still boots."""
        rules = serving(2, overlap=3)
        assert rules.handle(ReloadAsked(), 10.0) == [Spawn(3, 1, 1), Spawn(4, 2, 1)]
        fail_boot(rules, 3, 10.1, NO_MODULE)
        assert rules.handle(ReloadAsked(), 10.2) == [Spawn(5, 1, 2)]
        actions = rules.handle(Booted(4), 10.3)
        assert actions == [Tell(2, Urgency.GRACEFUL), Spawn(6, 2, 2)]

    def test_what_is_left_of_a_reload_that_failed_does_not_end_the_next(self) -> None:
        """Each reload goes by its own successors."""
        rules = serving(2, overlap=3)
        rules.handle(ReloadAsked(), 10.0)
        fail_boot(rules, 3, 10.1, NO_MODULE)
        rules.handle(ReloadAsked(), 10.2)
        assert fail_boot(rules, 4, 10.3, NO_MODULE) == [Spawn(6, 2, 2)]
        assert rules.reloading

    def test_what_is_left_of_a_reload_that_failed_comes_first(self) -> None:
        """Nobody else is renewed while it boots, and nobody is forgotten when it fails as well."""
        rules = serving(2, overlap=2)
        rules.handle(ReloadAsked(), 0.1)
        fail_boot(rules, 3, 0.2, NO_MODULE)
        assert handle_all(rules, 0.3, Exited(1, KILLED), Exited(5, KILLED)) == [
            Spawn(5, 1, 1),
            Pause(1, 0.1),
        ]
        assert rules.handle(Spent(2), 0.4) == []
        assert fail_boot(rules, 4, 0.5, None) == [Spawn(6, 2, 1)]

    def test_while_a_place_is_empty_still_one_at_a_time_is_renewed(self) -> None:
        """Though there are no more processes than there are places."""
        rules = serving(3)
        assert handle_all(rules, 0.1, Exited(3, KILLED), Exited(4, KILLED)) == [
            Spawn(4, 3, 0),
            Pause(3, 0.1),
        ]
        assert handle_all(rules, 0.1, Spent(1), Spent(2)) == [Spawn(5, 1, 0)]
        assert rules.handle(Booted(5), 0.1) == [Tell(1, Urgency.GRACEFUL)]
        assert rules.handle(Exited(1, "exited with code 0"), 0.1) == [Spawn(6, 2, 0)]

    def test_two_asked_for_during_one_are_one_more(self) -> None:
        """What was asked for while one is under way begins when that has ended."""
        rules = serving()
        assert rules.handle(ReloadAsked(), 10.0) == [Spawn(2, 1, 1)]
        assert handle_all(rules, 10.1, ReloadAsked(), ReloadAsked()) == []
        assert rules.handle(Booted(2), 11.0) == [Tell(1, Urgency.GRACEFUL)]
        assert rules.handle(Exited(1, "exited with code 0"), 12.0) == [
            ReloadEnds(1, None),
            Spawn(3, 1, 2),
        ]
        assert rules.handle(Booted(3), 13.0) == [Tell(2, Urgency.GRACEFUL)]
        assert rules.handle(Exited(2, "exited with code 0"), 14.0) == [ReloadEnds(2, None)]
        assert not rules.reloading

    def test_one_asked_for_during_one_that_fails_begins_too(self) -> None:
        """It may be the very correction."""
        rules = serving()
        handle_all(rules, 10.0, ReloadAsked(), ReloadAsked())
        actions = fail_boot(rules, 2, 11.0, NO_MODULE)
        assert actions == [ReloadEnds(1, NO_MODULE), Spawn(3, 1, 2)]

    def test_a_drained_worker_that_cannot_be_killed_does_not_block_the_next(self) -> None:
        """What is given up counts no longer: neither as a process nor as old code."""
        rules = serving()
        handle_all(rules, 10.0, ReloadAsked(), Booted(2))
        _, actions = wait(rules)
        assert actions == [Tell(1, Urgency.NOW)]
        now, actions = wait(rules)
        assert actions == [Abandon(1), ReloadEnds(1, None)]
        assert rules.handle(ReloadAsked(), now) == [Spawn(3, 1, 2)]
        assert rules.handle(Booted(3), now) == [Tell(2, Urgency.GRACEFUL)]
        assert rules.handle(LetGo(2), now) == [ReloadEnds(2, None)]
        assert rules.handle(Exited(1, KILLED), now) == []

    def test_a_stop_ends_it(self) -> None:
        """Whoever waits for it hears of that; all three are told to stop, and none is started."""
        rules = serving(2)
        handle_all(rules, 10.0, ReloadAsked(), ReloadAsked())
        begins, ends, *tells = rules.handle(StopAsked(Urgency.GRACEFUL), 11.0)
        assert begins == StopBegins()
        assert isinstance(ends, ReloadEnds)
        assert ends.generation == 1
        assert ends.failure is not None
        assert tells == [Tell(name, Urgency.GRACEFUL) for name in (1, 2, 3)]
        assert not rules.reloading
        exits = (Booted(3), Exited(1, KILLED), Exited(3, KILLED), Exited(2, KILLED))
        assert handle_all(rules, 12.0, *exits) == [Finish(None)]

    def test_a_stop_does_not_tell_the_drained_the_same_again(self) -> None:
        """Who drains already keeps its time; a quicker stop is told to it as to all."""
        rules = serving()
        handle_all(rules, 10.0, ReloadAsked(), Booted(2), LetGo(1))
        graceful = rules.handle(StopAsked(Urgency.GRACEFUL), 20.0)
        assert graceful == [StopBegins(), Tell(2, Urgency.GRACEFUL)]
        assert rules.deadline() == 10.0 + GRACE + STOP_MARGIN
        assert rules.handle(Interrupted(), 21.0) == [Tell(1, Urgency.QUICK), Tell(2, Urgency.QUICK)]

    def test_none_begins_during_a_stop(self) -> None:
        """It is not even remembered."""
        rules = serving()
        rules.handle(StopAsked(Urgency.GRACEFUL), 10.0)
        assert rules.handle(ReloadAsked(), 10.1) == []
        assert not rules.reloading
        assert rules.handle(Interrupted(), 10.2) == [Tell(1, Urgency.QUICK)]


class TestScale:
    def test_up_starts_workers_in_new_places(self) -> None:
        """All at once, at the end of the numbers; they are not announced again."""
        rules = serving()
        assert rules.handle(ScaleAsked(3), 10.0) == [Spawn(2, 2, 0), Spawn(3, 3, 0)]
        assert rules.workers == 3
        assert handle_all(rules, 11.0, Booted(2), Booted(3)) == []

    def test_down_drains_the_highest_places(self) -> None:
        """They have the grace period, and nobody comes after them."""
        rules = serving(3)
        tells = [Tell(3, Urgency.GRACEFUL), Tell(2, Urgency.GRACEFUL)]
        assert rules.handle(ScaleAsked(1), 10.0) == tells
        assert rules.workers == 1
        assert rules.deadline() == 10.0 + GRACE + STOP_MARGIN
        assert handle_all(rules, 11.0, Exited(2, KILLED), Exited(3, KILLED)) == []
        assert rules.stages() == {1: Stage.READY}

    def test_to_what_there_is_changes_nothing(self) -> None:
        """Asking twice is asking once."""
        rules = serving(2)
        assert rules.handle(ScaleAsked(2), 10.0) == []

    def test_down_forgets_a_place_that_pauses(self) -> None:
        """Nobody comes back there."""
        rules = serving(2)
        rules.handle(Exited(2, KILLED), 0.1)
        assert handle_all(rules, 0.2, Booted(3), Exited(3, KILLED)) == [Pause(2, 0.1)]
        assert rules.handle(ScaleAsked(1), 0.25) == []
        assert rules.deadline() is None

    def test_up_again_does_not_wait_for_those_that_drain(self) -> None:
        """A place that is new again has a new worker; the drained one is none of its business."""
        rules = serving(2)
        rules.handle(ScaleAsked(1), 10.0)
        assert rules.handle(ScaleAsked(2), 10.1) == [Spawn(3, 2, 0)]
        assert rules.handle(Exited(2, KILLED), 10.2) == []
        assert rules.stages() == {1: Stage.READY, 3: Stage.BOOTING}

    def test_down_before_the_announcement_announces_the_rest(self) -> None:
        """Every worker that there shall be is ready."""
        rules = booting(2)
        rules.handle(Booted(1), 0.1)
        assert rules.handle(ScaleAsked(1), 0.2) == [Tell(2, Urgency.GRACEFUL), Announce()]
        assert rules.handle(Booted(2), 0.3) == []

    def test_up_before_the_announcement_delays_it(self) -> None:
        """Whoever is new belongs to the whole."""
        rules = booting()
        rules.handle(ScaleAsked(2), 0.1)
        assert rules.handle(Booted(1), 0.2) == []
        assert rules.handle(Booted(2), 0.3) == [Announce()]

    def test_a_worker_that_is_being_killed_is_not_told_to_drain(self) -> None:
        """Its boot took too long; that its place goes makes it no slower."""
        rules = booting(2)
        rules.handle(Booted(1), 0.0)
        assert rules.handle(TimePassed(), BOOT) == [Tell(2, Urgency.NOW)]
        assert rules.handle(ScaleAsked(1), BOOT + 1.0) == [Announce()]
        assert rules.handle(TimePassed(), BOOT + UNKILLABLE_AFTER) == [Abandon(2)]

    def test_down_during_a_reload_takes_the_successor_too(self) -> None:
        """The place goes with both; the reload ends with the places that are left."""
        rules = serving(2)
        handle_all(rules, 10.0, ReloadAsked(), Booted(3))
        assert rules.handle(Exited(1, "exited with code 0"), 11.0) == [Spawn(4, 2, 1)]
        tells = [Tell(2, Urgency.GRACEFUL), Tell(4, Urgency.GRACEFUL)]
        assert rules.handle(ScaleAsked(1), 12.0) == tells
        assert handle_all(rules, 13.0, Booted(4), Exited(4, "exited with code 0")) == []
        assert rules.handle(LetGo(2), 14.0) == [ReloadEnds(1, None)]

    def test_to_one_during_a_reload_renews_the_one(self) -> None:
        """Those that are too many go untouched by it; it goes on in the place that is left."""
        rules = serving(3)
        assert rules.handle(ReloadAsked(), 10.0) == [Spawn(4, 1, 1)]
        tells = [Tell(3, Urgency.GRACEFUL), Tell(2, Urgency.GRACEFUL)]
        assert rules.handle(ScaleAsked(1), 11.0) == tells
        assert rules.handle(Booted(4), 12.0) == [Tell(1, Urgency.GRACEFUL)]
        assert handle_all(rules, 13.0, LetGo(1), LetGo(2)) == []
        assert rules.handle(Exited(3, "exited with code 0"), 14.0) == [ReloadEnds(1, None)]
        handle_all(rules, 15.0, Exited(1, KILLED), Exited(2, KILLED))
        assert rules.stages() == {4: Stage.READY}

    def test_a_reload_waits_until_those_that_are_too_many_have_gone(self) -> None:
        """They count among the processes beyond the places."""
        rules = serving(2)
        rules.handle(ScaleAsked(1), 10.0)
        assert rules.handle(ReloadAsked(), 11.0) == []
        assert rules.reloading
        assert rules.handle(Exited(2, "exited with code 0"), 12.0) == [Spawn(3, 1, 1)]

    def test_up_during_a_reload_starts_the_new_code(self) -> None:
        """A new place needs no renewal."""
        rules = serving()
        assert rules.handle(ReloadAsked(), 10.0) == [Spawn(2, 1, 1)]
        assert rules.handle(ScaleAsked(2), 11.0) == [Spawn(3, 2, 1)]
        assert handle_all(rules, 12.0, Booted(3), Booted(2)) == [Tell(1, Urgency.GRACEFUL)]
        assert rules.handle(LetGo(1), 13.0) == [ReloadEnds(1, None)]

    def test_nothing_is_scaled_during_a_stop(self) -> None:
        """Neither up nor down."""
        rules = serving(2)
        rules.handle(StopAsked(Urgency.GRACEFUL), 10.0)
        assert handle_all(rules, 11.0, ScaleAsked(3), ScaleAsked(1)) == []
        assert rules.workers == 2


class TestDeathsDuringAReload:
    def test_a_reload_waits_for_new_code_that_boots_in_a_dead_ones_place(self) -> None:
        """The old worker's death does not make the new code good."""
        rules = serving(1)
        assert rules.handle(ReloadAsked(), 1.0) == [Spawn(2, 1, 1)]
        assert rules.handle(Exited(1, KILLED), 2.0) == []
        assert rules.reloading
        assert rules.handle(Booted(2), 3.0) == [ReloadEnds(1, None)]

    def test_a_reload_fails_with_new_code_in_a_dead_ones_place(self) -> None:
        """It cannot boot: that is how the reload ends, and the place is tried again."""
        rules = serving(1)
        rules.handle(ReloadAsked(), 1.0)
        rules.handle(Exited(1, KILLED), 20.0)
        assert rules.handle(BootFailed(2, NO_MODULE), 21.0) == []
        ends, *rest = rules.handle(Exited(2, KILLED), 21.0)
        assert ends == ReloadEnds(1, NO_MODULE)
        assert rest == [Spawn(3, 1, 1)]
        assert not rules.reloading

    def test_no_third_generation(self) -> None:
        """A second reload starts nobody while one drains whom the first replaced."""
        rules = serving(1, overlap=3)
        rules.handle(ReloadAsked(), 1.0)
        assert rules.handle(Booted(2), 2.0) == [Tell(1, Urgency.GRACEFUL)]
        assert rules.handle(LetGo(1), 2.0) == [ReloadEnds(1, None)]
        assert rules.handle(ReloadAsked(), 3.0) == []
        assert rules.handle(Exited(1, "exited 0"), 4.0) == [Spawn(3, 1, 2)]
