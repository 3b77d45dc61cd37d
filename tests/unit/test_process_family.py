"""Who descends from whom."""

from __future__ import annotations

from manycore.base.family import Kin, members, parse_stat


def people(*rows: tuple[int, int, int, int]) -> dict[int, Kin]:
    return {pid: Kin(pid, parent, group, started, "S") for pid, parent, group, started in rows}


class TestMembers:
    def test_children_and_groups_to_any_depth(self) -> None:
        """What descends, and what is in a group that one of them leads, belongs to the family."""
        world = people(
            (1, 0, 1, 0), (10, 1, 10, 5), (11, 10, 10, 6), (12, 11, 12, 7), (13, 12, 12, 8),
            (14, 1, 10, 9),  # orphaned, and still in the group
            (20, 1, 20, 5),
        )  # fmt: skip
        assert {kin.pid for kin in members(world, [world[10]])} >= {11, 12, 13, 14}
        assert {kin.pid for kin in members(world, [world[10]])} <= {10, 11, 12, 13, 14}

    def test_a_group_without_its_leader(self) -> None:
        """The leader may have ended: the group keeps its id from being another's."""
        leader = Kin(10, 1, 10, 5, "S")
        world = people((1, 0, 1, 0), (14, 1, 10, 9))
        assert {kin.pid for kin in members(world, [leader])} == {14}

    def test_an_id_that_became_anothers(self) -> None:
        """A process that took over the id later is a stranger, and so is its family."""
        before = Kin(10, 1, 10, 5, "S")
        world = people((1, 0, 1, 0), (10, 1, 10, 99), (11, 10, 10, 100))
        assert members(world, [before]) == set()


def test_names_may_hold_anything() -> None:
    """A process may be called ') R 1 1 1': the line is still read right."""
    rest = b" S 4 5 5 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 77 0"
    assert parse_stat(b"3 () R 1 1 1 (x) )" + rest) == Kin(3, 4, 5, 77, "S")
