"""`manycore map`, run as a user runs it, and killed as nobody would."""

from __future__ import annotations

import json
import os
import pty
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from command import TARGETS, is_alive, run
from eventually import eventually

PATIENCE = 30.0  # seconds


def start(*arguments: str, cwd: Path = TARGETS, **options: Any) -> subprocess.Popen[str]:
    """Starts the command."""
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
    options = streams | {"stderr": subprocess.PIPE} | options
    command = [sys.executable, "-m", "manycore", "map", *arguments]
    return subprocess.Popen(command, cwd=cwd, text=True, **options)


def numbers(path: Path, count: int) -> str:
    """Writes a file of numbers; gives its path."""
    path.write_text("".join(f"{n}\n" for n in range(count)))
    return str(path)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def squares(count: int) -> list[dict[str, Any]]:
    return [{"line": n + 1, "item": str(n), "result": n * n} for n in range(count)]


def test_a_line_of_json_for_each_line(tmp_path: Path) -> None:
    """In order, in a file, and nothing is left to say but how far it is."""
    items, output = numbers(tmp_path / "items", 3000), tmp_path / "out"
    done = run("map", "mapped:square", "--input", items, "--output", str(output), "-w", "2")
    assert done.returncode == 0
    assert done.stdout == ""
    assert done.stderr.startswith("manycore: mapped:square: 3,000 of 3,000 (100%), ")
    assert read(output) == squares(3000)


def test_standard_input_and_output() -> None:
    """Results come while the input is open; its length is not known, and need not be."""
    command = start("mapped:square", "-q", stdin=subprocess.PIPE)
    assert command.stdin is not None
    assert command.stdout is not None
    for n in range(5):
        command.stdin.write(f"{n}\n")
        command.stdin.flush()
        assert json.loads(command.stdout.readline())["result"] == n * n
    out, err = command.communicate(timeout=PATIENCE)
    assert (command.returncode, out, err) == (0, "", "")


def test_a_pattern_gives_paths(tmp_path: Path) -> None:
    """Each path is an item, in order of the names."""
    for name in ("b.txt", "a.txt", "c.log"):
        (tmp_path / name).write_text("")
    done = run("map", "mapped:same", "-q", "--input", str(tmp_path / "*.txt"))
    found = [json.loads(line)["result"] for line in done.stdout.splitlines()]
    assert found == [str(tmp_path / "a.txt"), str(tmp_path / "b.txt")]


def test_lines_of_json(tmp_path: Path) -> None:
    """With --items json the function gets values; a line that is none fails alone."""
    (tmp_path / "in").write_text('{"a": [1]}\nnonsense\n"x"\n')
    done = run("map", "mapped:same", "-q", "--items", "json", "-i", str(tmp_path / "in"))
    first, second, third = map(json.loads, done.stdout.splitlines())
    assert first == {"line": 1, "item": {"a": [1]}, "result": {"a": [1]}}
    assert second["item"] == "nonsense"
    assert second["error"].startswith("JSONDecodeError: ")
    assert third["result"] == "x"
    assert done.returncode == 1


def test_unordered_results_do_not_wait(tmp_path: Path) -> None:
    """The slow first one comes last; all are there."""
    items, output = numbers(tmp_path / "items", 50), tmp_path / "out"
    done = run("map", "mapped:late_first", "--unordered", "-i", items, "-o", str(output), "-w2")
    assert done.returncode == 0
    found = [row["line"] for row in read(output)]
    assert sorted(found) == list(range(1, 51))
    assert found[-1] == 1


def test_failures_are_collected(tmp_path: Path) -> None:
    """Whatever happens to an item happens to it alone; all are told at the end, with code 1."""
    items, output = tmp_path / "items", tmp_path / "out"
    items.write_text("fine\nraise\ndie\nhang\nobject\nalso fine\n")
    done = run(
        "map", "mapped:troubles", "-i", str(items), "-o", str(output), "-q", "--timeout", "0.5"
    )
    assert done.returncode == 1
    rows = read(output)
    assert [row["item"] for row in rows] == items.read_text().splitlines()
    assert [rows[0]["result"], rows[5]["result"]] == ["fine", "also fine"]
    errors = [row["error"].partition(":")[0] for row in rows[1:5]]
    assert errors == ["ValueError", "TaskLost", "TaskTimeout", "TypeError"]
    assert 'raise ValueError("no\\nand no")' in rows[1]["traceback"]
    first, *others = done.stderr.splitlines()
    assert first == "manycore: 4 of 6 items failed"
    assert len(others) == 4
    assert "manycore: line 2: ValueError: no and no" in others


def test_a_journal_does_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second run does nothing again, the third only what was added; the output is whole."""
    log, output, journal = (str(tmp_path / name) for name in ("log", "out", "journal"))
    monkeypatch.setenv("COUNTED", log)
    items = numbers(tmp_path / "items", 100)
    command = ["map", "mapped:counted", "-i", items, "-o", output, "--journal", journal, "-q"]
    for _ in range(2):
        done = run(*command)
        assert (done.returncode, done.stderr) == (0, "")
        assert read(Path(output)) == squares(100)
        assert len(Path(log).read_text().splitlines()) == 100
    numbers(tmp_path / "items", 130)
    assert run(*command, "--unordered").returncode == 0
    assert sorted(read(Path(output)), key=lambda row: row["line"]) == squares(130)
    assert len(Path(log).read_text().splitlines()) == 130


def test_failures_are_tried_again_by_the_next_run(tmp_path: Path) -> None:
    """They are what is missing."""
    items, journal = tmp_path / "items", str(tmp_path / "journal")
    items.write_text("fine\nraise\n")
    for _ in range(2):
        done = run("map", "mapped:troubles", "-i", str(items), "--journal", journal, "-q")
        assert done.returncode == 1
        assert [("error" in json.loads(line)) for line in done.stdout.splitlines()] == [False, True]
    assert len(Path(journal).read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["mapped:same", "-i", "items", "--journal", "journal"], 2, "function 'mapped:square'"),
        (["mapped:square", "-i", "other", "--journal", "journal"], 2, "journal of input"),
        (["mapped:square", "-i", "changed", "--journal", "moved"], 2, "line 2 of the input"),
        (["mapped:square", "-i", "items", "--journal", "items"], 2, "it is --input and --journal"),
        (["mapped:square", "-i", "items", "-o", "./items"], 2, "it is --input and --output"),
        (["mapped:square", "-i", "items", "--journal", "other"], 2, "not a journal"),
        (["mapped:square", "-i", "missing"], 2, "no such file"),
        (["mapped:square", "-i", "missing*"], 2, "no path fits"),
        (["mapped:square", "-i", "."], 2, "is a directory"),
        (["mapped:square", "-i", "items", "-o", "no/out"], 1, "no such file"),
        (["mapped:square", "--timeout", "-1"], 2, "--timeout: '-1' is not a number of seconds"),
        (["mapped:square", "--workers", "0"], 2, "--workers: 0 is below 1"),
        (["mapped:nothing", "-i", "items"], 4, "has no 'nothing'"),
        (["mapped:no_function", "-i", "items"], 4, "it is a int, which cannot be called"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, arguments: list[str], code: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line says what and why, before anything is written."""
    monkeypatch.setenv("PYTHONPATH", str(TARGETS))
    items = numbers(tmp_path / "items", 3)
    (tmp_path / "other").write_text("0\n1\n2\n")
    (tmp_path / "out").write_text("precious\n")
    journal = tmp_path / "journal"
    assert run("map", "mapped:square", "-i", items, "--journal", str(journal)).returncode == 0
    (tmp_path / "changed").write_text("0\n8\n2\n")
    moved = journal.read_text().replace(items, str(tmp_path / "changed"))
    (tmp_path / "moved").write_text(moved)
    if "-o" not in arguments:
        arguments = [*arguments, "-o", "out"]
    before = {path: path.read_text() for path in tmp_path.iterdir()}
    done = run("map", *arguments, cwd=tmp_path)
    assert done.returncode == code
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert {path: path.read_text() for path in tmp_path.iterdir()} == before


def test_killed_at_any_moment_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill -9, many times: in the end every item is done, once in the output, and exactly."""
    log, output, journal = (str(tmp_path / name) for name in ("log", "out", "journal"))
    monkeypatch.setenv("COUNTED", log)
    count = 1500
    items = numbers(tmp_path / "items", count)
    command = ["mapped:counted", "-i", items, "-o", output, "--journal", journal, "-q", "-w", "2"]
    chance = random.Random(4)  # a seed, so that a failure can be seen again
    kills = 0
    known: set[str] = set()
    for turn in range(12):
        process = start(*command, stdout=subprocess.DEVNULL)
        if turn == 0:  # on a busy machine no other may get so far
            eventually(lambda: os.path.exists(log), within=PATIENCE)
        time.sleep(chance.uniform(0.1, 0.7))  # the moment of death: chance
        process.kill()
        _, said = process.communicate(timeout=PATIENCE)
        kills += process.returncode == -signal.SIGKILL
        assert said == ""
        if os.path.exists(journal):
            whole = Path(journal).read_text().split("\n")[1:-1]
            assert known <= set(whole)  # nothing that was done is ever lost
            known = set(whole)
    assert kills >= 6
    before = len(Path(log).read_text().splitlines())
    done = run("map", *command)
    assert (done.returncode, done.stderr) == (0, "")
    assert read(Path(output)) == squares(count)
    missing = count - len(known)
    assert len(Path(log).read_text().splitlines()) - before == missing
    assert 0 < len(known) <= count


def test_two_runs_on_one_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second is refused at once, and harms nothing."""
    monkeypatch.setenv("COUNTED", str(tmp_path / "log"))
    monkeypatch.setenv("SECONDS_EACH", "0.05")
    items, output, journal = numbers(tmp_path / "items", 60), tmp_path / "out", tmp_path / "journal"
    command = ["mapped:counted", "-i", items, "-o", str(output), "--journal", str(journal), "-q"]
    first = start(*command)
    eventually(lambda: journal.exists() and journal.stat().st_size > 200, within=PATIENCE)
    second = run("map", *command)
    assert second.returncode == 1
    assert "another run is writing it" in second.stderr
    third = run("map", *command[:-3], "-q")  # no journal, the same output
    assert third.returncode == 1
    assert f"{output}: another run is writing it" in third.stderr
    assert first.wait(PATIENCE) == 0
    first.communicate()
    assert read(output) == squares(60)


def test_ctrl_c_ends_it_in_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, exit code 130, no workers, and a journal from which it goes on."""
    monkeypatch.setenv("COUNTED", str(tmp_path / "log"))
    monkeypatch.setenv("SECONDS_EACH", "0.05")
    items, output, journal = (
        numbers(tmp_path / "items", 400),
        tmp_path / "out",
        tmp_path / "journal",
    )
    command = ["mapped:counted", "-i", items, "-o", str(output), "--journal", str(journal), "-q"]
    process = start(*command, start_new_session=True)
    eventually(lambda: journal.exists() and journal.stat().st_size > 500, within=PATIENCE)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert time.monotonic() - began < 2
    assert process.returncode == 130
    assert said.startswith("manycore: interrupted: ")
    assert said.endswith(" of 400 items are done; the same command does the others\n")
    assert said.count("\n") == 1
    monkeypatch.setenv("SECONDS_EACH", "0")
    assert run("map", *command).returncode == 0
    assert read(output) == squares(400)


def test_ctrl_c_while_it_waits_for_input() -> None:
    """Nothing has to come for it to end."""
    process = start("mapped:square", "-q", stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("2\n")
    process.stdin.flush()
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 130
    _, said = process.communicate()
    assert said == "manycore: interrupted: 1 items are done\n"


def test_the_disk_is_full(tmp_path: Path) -> None:
    """One line says so; what is done is kept, and with room it goes on."""
    items, output, journal = (
        numbers(tmp_path / "items", 2000),
        tmp_path / "out",
        tmp_path / "journal",
    )
    command = ["mapped:big", "-i", items, "-o", str(output), "--journal", str(journal), "-q"]
    limited = 'ulimit -f 2000; exec "$@"'  # kilobytes
    arguments = ["bash", "-c", limited, "bash", sys.executable, "-m", "manycore", "map", *command]
    done = subprocess.run(
        arguments, cwd=TARGETS, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 1
    assert "file too large; what is done is kept" in done.stderr
    assert done.stderr.count("\n") == 1
    kept = len(journal.read_bytes().split(b"\n")) - 2
    assert 0 < kept < 2000
    assert run("map", *command).returncode == 0
    assert [row["result"] for row in read(output)] == [str(n) * 2000 for n in range(2000)]


def test_nobody_reads_the_output(tmp_path: Path) -> None:
    """As with other commands behind which stands `head`: it just ends."""
    items = numbers(tmp_path / "items", 50_000)
    command = start("mapped:square", "-q", "-i", items)
    assert command.stdout is not None
    command.stdout.readline()
    command.stdout.close()
    assert command.wait(PATIENCE) == 1
    assert command.stderr is not None
    assert command.stderr.read() == ""
    command.stderr.close()


def test_retries_and_lost_workers(tmp_path: Path) -> None:
    """An item whose worker dies each time is tried as often as was said."""
    items = tmp_path / "items"
    items.write_text("die\nfine\n")
    done = run("map", "mapped:troubles", "-i", str(items), "-q", "--retries", "2")
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["error"].startswith("TaskLost: ")
    assert second["result"] == "fine"


def test_settings_come_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table `map` of the file, and variables that begin with MANYCORE_MAP_."""
    monkeypatch.setenv("PYTHONPATH", str(TARGETS))
    (tmp_path / "manycore.toml").write_text('threads = 4\n[map]\nquiet = true\nitems = "json"\n')
    monkeypatch.setenv("MANYCORE_MAP_INPUT", numbers(tmp_path / "items", 2))
    done = run("map", "mapped:same", cwd=tmp_path)
    assert done.stderr == ""
    assert [json.loads(line)["result"] for line in done.stdout.splitlines()] == [0, 1]
    (tmp_path / "manycore.toml").write_text("[map]\nretrys = 1\n")
    done = run("map", "mapped:same", cwd=tmp_path)
    assert done.returncode == 2
    assert "map.retrys: there is no such setting; did you mean retries?" in done.stderr


def test_a_bar_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal sees a bar; with NO_COLOR it sees nothing."""
    items = numbers(tmp_path / "items", 30)
    assert "30/30" in on_a_terminal("mapped:square", "-i", items, "-o", str(tmp_path / "out"))
    monkeypatch.setenv("NO_COLOR", "1")
    assert on_a_terminal("mapped:square", "-i", items, "-o", str(tmp_path / "out")) == ""


def on_a_terminal(*arguments: str) -> str:
    ours, theirs = pty.openpty()
    process = start(*arguments, stderr=theirs, stdout=subprocess.DEVNULL)
    os.close(theirs)
    shown = b""
    while select.select([ours], (), (), PATIENCE)[0]:
        try:
            shown += os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
    os.close(ours)
    assert process.wait(PATIENCE) == 0
    return shown.decode()


def test_workers_have_nothing_of_the_command(tmp_path: Path) -> None:
    """Neither the command line nor what draws bars: they do the work and no more."""
    (tmp_path / "items").write_text("x\n")
    done = run("map", "mapped:modules", "-q", "-i", str(tmp_path / "items"))
    loaded = json.loads(done.stdout)["result"]
    assert "manycore.mapping.task" in loaded
    assert not {"click", "rich", "manycore.cli", "manycore.mapping.run"} & set(loaded)


def test_it_dies_with_all_its_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill -9 of the command leaves nobody."""
    pids = tmp_path / "pids"
    monkeypatch.setenv("COUNTED", str(tmp_path / "log"))
    monkeypatch.setenv("SECONDS_EACH", "0.01")
    process = start("mapped:counted", "-q", "-i", numbers(tmp_path / "items", 5000), "-w", "2")
    assert process.stdout is not None
    process.stdout.readline()
    found = descendants(process.pid)
    pids.write_text(" ".join(map(str, found)))
    assert len(found) >= 3  # a template and two workers
    process.kill()
    process.communicate(timeout=PATIENCE)
    eventually(lambda: not any(map(is_alive, found)), within=2)


def descendants(pid: int) -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process(pid).children(recursive=True)]
