"""Settings: where each comes from, how it is read, and what is said when it is wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from manycore.base.addresses import InheritedSocket, TcpAddress, UnixAddress
from manycore.errors import ExitCode, SettingsError
from manycore.settings import ServeSettings, find_file, gather, key, table, variable


def put_together(
    directory: Path,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    toml: str | None = None,
) -> tuple[ServeSettings, frozenset[str]]:
    """Gathers in a directory with, perhaps, a manycore.toml."""
    if toml is not None:
        (directory / "manycore.toml").write_text(toml, encoding="utf-8")
    return gather(flags or {}, environ or {}, directory=directory)


class TestPrecedence:
    def test_nothing_set_is_the_defaults(self, tmp_path: Path) -> None:
        """Without flags, variables and a file everything is as documented, and nobody set it."""
        settings, chosen = put_together(tmp_path)
        assert chosen == frozenset()
        assert settings == ServeSettings()
        assert settings.bind == (TcpAddress("127.0.0.1", 8000),)
        assert (settings.backlog, settings.threads) == (1024, 1000)
        assert (settings.boot_timeout, settings.graceful_timeout) == (60.0, 30.0)
        assert (settings.log_level, settings.log_format) == ("info", "text")

    def test_a_file_overrides_the_default(self, tmp_path: Path) -> None:
        """A key in the file is the value."""
        settings, chosen = put_together(tmp_path, toml="threads = 1\n")
        assert settings.threads == 1
        assert chosen == {"threads"}

    def test_a_variable_overrides_the_file(self, tmp_path: Path) -> None:
        """What this process was given is nearer than what lies in the directory."""
        settings, _ = put_together(tmp_path, {}, {"MANYCORE_THREADS": "2"}, "threads = 1\n")
        assert settings.threads == 2

    def test_a_flag_overrides_all(self, tmp_path: Path) -> None:
        """What was typed is the last word, also when it is the default."""
        environ, toml = {"MANYCORE_THREADS": "2"}, "threads = 1\n"
        settings, chosen = put_together(tmp_path, {"threads": "1000"}, environ, toml)
        assert settings.threads == 1000
        assert chosen == {"threads"}

    def test_each_setting_goes_its_own_way(self, tmp_path: Path) -> None:
        """A source that says something of one setting says nothing of another."""
        settings, chosen = put_together(
            tmp_path,
            {"threads": "3", "backlog": None, "bind": ()},
            {"MANYCORE_BACKLOG": "4", "MANYCORE_LOG_LEVEL": ""},
            'log-level = "debug"\nworkers = 5\nbacklog = 6\n',
        )
        assert (settings.threads, settings.backlog, settings.workers) == (3, 4, 5)
        assert settings.log_level == "debug"
        assert chosen == {"threads", "backlog", "workers", "log_level"}

    def test_what_is_overridden_may_be_wrong(self, tmp_path: Path) -> None:
        """A value that nobody uses hurts nobody."""
        settings, _ = put_together(tmp_path, {"threads": "3"}, {"MANYCORE_THREADS": "x"})
        assert settings.threads == 3

    def test_the_environment_is_this_processs(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Unless another one is given."""
        monkeypatch.setenv("MANYCORE_THREADS", "7")
        assert gather({}, directory=tmp_path)[0].threads == 7


NO_SECONDS = "is not a number of seconds; give a number of seconds from 0"
NO_NUMBER = "is not a whole number; give a whole number from 1"

LEVELS = ("debug", "info", "warning", "error", "critical")

MISTAKES = [
    ("backlog", "x", f"'x' {NO_NUMBER}"),
    ("backlog", "1.5", f"'1.5' {NO_NUMBER}"),
    ("backlog", "0", "0 is below 1; give a whole number from 1"),
    ("threads", "-1", "-1 is below 1; give a whole number from 1"),
    ("workers", "many", "'many' is not a whole number; give a whole number from 1, or auto"),
    ("workers", "0", "0 is below 1; give a whole number from 1, or auto"),
    ("boot_timeout", "soon", "'soon' is not a number of seconds; give a number of seconds above 0"),
    ("boot_timeout", "0", "'0' leaves no time; give a number of seconds above 0"),
    ("graceful_timeout", "inf", f"'inf' {NO_SECONDS}"),
    ("graceful_timeout", "nan", f"'nan' {NO_SECONDS}"),
    ("graceful_timeout", "30s", f"'30s' {NO_SECONDS}"),
    (
        "log_level",
        "loud",
        f"'loud' is none of {', '.join(LEVELS)}; give debug, info, warning, error or critical",
    ),
    ("log_format", "xml", "'xml' is none of text, json; give text or json"),
    (
        "bind",
        "8000",
        "'8000' is no address; write host:port, [ipv6]:port, unix:path or fd://N",
    ),
]


class TestMistakes:
    @pytest.mark.parametrize(("name", "value", "says"), MISTAKES)
    def test_a_flag_is_named(self, tmp_path: Path, name: str, value: str, says: str) -> None:
        """A wrong flag: its long form, what is wrong, and what to write."""
        with pytest.raises(SettingsError) as caught:
            put_together(tmp_path, {name: (value,) if name == "bind" else value})
        flag = "--" + name.replace("_", "-")
        assert caught.value.where == flag
        assert str(caught.value) == f"{flag}: {says}"
        assert caught.value.exit_code is ExitCode.USAGE

    @pytest.mark.parametrize(("name", "value", "says"), MISTAKES)
    def test_a_variable_is_named(self, tmp_path: Path, name: str, value: str, says: str) -> None:
        """A wrong variable is named as it is set."""
        with pytest.raises(SettingsError) as caught:
            put_together(tmp_path, {}, {f"MANYCORE_{name.upper()}": value})
        assert str(caught.value) == f"MANYCORE_{name.upper()}: {says}"

    @pytest.mark.parametrize(("name", "value", "says"), MISTAKES)
    def test_a_file_and_its_key_are_named(
        self, tmp_path: Path, name: str, value: str, says: str
    ) -> None:
        """A wrong value in a file is named by the file's path and the key."""
        written = name.replace("_", "-")
        with pytest.raises(SettingsError) as caught:
            put_together(tmp_path, toml=f'{written} = "{value}"\n')
        assert str(caught.value) == f"{tmp_path / 'manycore.toml'}: {written}: {says}"

    @pytest.mark.parametrize(("name", "value", "says"), MISTAKES)
    def test_an_argument_is_named(self, name: str, value: str, says: str) -> None:
        """A wrong argument of `serve` is named as Python writes it."""
        with pytest.raises(SettingsError) as caught:
            ServeSettings(**{name: value})  # type: ignore[arg-type]
        assert str(caught.value) == f"{name}: {says}"

    @pytest.mark.parametrize(
        ("line", "says"),
        [
            ("workers = true", "workers: True is not a whole number"),
            ("workers = 2.0", "workers: 2.0 is not a whole number"),
            ("backlog = [1]", "backlog: [1] is not a whole number"),
            ("threads = {a = 1}", "threads: {'a': 1} is not a whole number"),
            ("boot-timeout = true", "boot-timeout: True is not a number of seconds"),
            ("boot-timeout = [1]", "boot-timeout: [1] is not a number of seconds"),
            ("boot-timeout = inf", "boot-timeout: inf is not a number of seconds"),
            ("graceful-timeout = nan", "graceful-timeout: nan is not a number of seconds"),
            ('log-level = ["info"]', "log-level: ['info'] is none of debug,"),
            ("log-level = 10", "log-level: 10 is none of debug,"),
            ("log-format = true", "log-format: True is none of text, json"),
            ("bind = 8000", "bind: 8000 is no address"),
            ("bind = []", "bind: [] is no address"),
            ("bind = [8000]", "bind: 8000 is no address"),
            ('bind = ["localhost:80", ""]', "bind: '' is no address"),
            ("bind = true", "bind: True is no address"),
            ("workers = 1979-05-27", "workers: datetime.date(1979, 5, 27) is not a whole number"),
        ],
    )
    def test_a_wrong_type_in_a_file_is_a_wrong_value(
        self, tmp_path: Path, line: str, says: str
    ) -> None:
        """TOML's types are not bent: true is no 1, and 2.0 is no count."""
        with pytest.raises(SettingsError) as caught:
            put_together(tmp_path, toml=line)
        assert str(caught.value).startswith(f"{tmp_path / 'manycore.toml'}: {says}")
        assert "\n" not in str(caught.value)

    def test_more_seconds_than_a_float_can_hold_are_a_wrong_value(self) -> None:
        """A number larger than a machine's is an error like any other."""
        with pytest.raises(SettingsError, match="is not a number of seconds"):
            ServeSettings(graceful_timeout=10**400)

    def test_the_first_mistake_is_told(self) -> None:
        """One at a time, in the order of the help."""
        with pytest.raises(SettingsError, match=r"^bind: "):
            ServeSettings(log_level="x", bind="x")  # type: ignore[arg-type]


class TestValues:
    @pytest.mark.parametrize(
        ("name", "given", "value"),
        [
            ("backlog", "2048", 2048),
            ("backlog", 1, 1),
            ("threads", " 8 ", 8),
            ("workers", "3", 3),
            ("workers", 4, 4),
            ("boot_timeout", "0.1", 0.1),
            ("boot_timeout", 5, 5.0),
            ("graceful_timeout", "1.5", 1.5),
            ("graceful_timeout", 2.5, 2.5),
            ("log_level", "WARNING", "warning"),
            ("log_level", "critical", "critical"),
            ("log_format", "JSON", "json"),
        ],
    )
    def test_text_and_ready_values_are_read(self, name: str, given: Any, value: Any) -> None:
        """A value may be the text of a flag or what TOML and Python say."""
        found = getattr(ServeSettings(**{name: given}), name)
        assert found == value
        assert type(found) is type(value)

    def test_auto_is_a_worker_for_each_cpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """By default and as a word, as many as the CPUs that are ours."""
        monkeypatch.setenv("MANYCORE_CPUS", "5")
        assert ServeSettings().workers == 5
        assert ServeSettings(workers="auto").workers == 5  # type: ignore[arg-type]
        assert ServeSettings(workers=2).workers == 2

    def test_a_wrong_number_of_cpus_is_named_by_its_variable(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is not the workers that are wrong, and whoever gives their number is not bothered."""
        monkeypatch.setenv("MANYCORE_CPUS", "all")
        with pytest.raises(SettingsError) as caught:
            put_together(tmp_path, {"workers": "auto"})
        assert caught.value.where == "MANYCORE_CPUS"
        with pytest.raises(SettingsError, match=r"^MANYCORE_CPUS: "):
            put_together(tmp_path)
        assert put_together(tmp_path, {"workers": "2"})[0].workers == 2

    @pytest.mark.parametrize(
        "bind",
        [
            "127.0.0.1:80,[::1]:81,unix:/a.sock,fd://3",
            " 127.0.0.1:80 , [::1]:81 , unix:/a.sock , fd://3 ",
            ["127.0.0.1:80", "[::1]:81", "unix:/a.sock", "fd://3"],
            ("127.0.0.1:80", TcpAddress("::1", 81), UnixAddress("/a.sock"), InheritedSocket(3)),
        ],
    )
    def test_addresses_come_in_every_form(self, bind: Any) -> None:
        """One text with commas, a list of texts, or ready ones, in the order given."""
        assert ServeSettings(bind=bind).bind == (
            TcpAddress("127.0.0.1", 80),
            TcpAddress("::1", 81),
            UnixAddress("/a.sock"),
            InheritedSocket(3),
        )

    @pytest.mark.parametrize("address", [TcpAddress("::1", 80), UnixAddress("/a")], ids=str)
    def test_one_ready_address_needs_no_list(self, address: Any) -> None:
        """One address or several: a ready one alone is as good as its text."""
        assert ServeSettings(bind=address).bind == (address,)

    def test_addresses_come_from_every_source(self, tmp_path: Path) -> None:
        """Flags come as a tuple, a variable as text, TOML as a list or text."""
        both = (TcpAddress("a", 1), TcpAddress("b", 2))
        assert put_together(tmp_path, {"bind": ("a:1", "b:2")})[0].bind == both
        assert put_together(tmp_path, {}, {"MANYCORE_BIND": "a:1,b:2"})[0].bind == both
        assert put_together(tmp_path, toml='bind = ["a:1", "b:2"]')[0].bind == both
        assert put_together(tmp_path, toml='bind = "a:1,b:2"')[0].bind == both

    def test_settings_of_settings_are_the_same(self) -> None:
        """What was read can be given again: a copy, or one with another value."""
        settings = ServeSettings(
            bind="a:1,unix:/b,fd://3",  # type: ignore[arg-type]
            workers="2",  # type: ignore[arg-type]
            boot_timeout="1.5",  # type: ignore[arg-type]
            log_level="DEBUG",
            log_format="JSON",
        )
        values = {name: getattr(settings, name) for name in table()}
        assert ServeSettings(**values) == settings
        assert dataclasses.replace(settings) == settings
        assert dataclasses.replace(settings, threads=3).bind == settings.bind

    def test_settings_do_not_change(self) -> None:
        """They are shared by everything that runs by them."""
        with pytest.raises(dataclasses.FrozenInstanceError):
            ServeSettings().threads = 3  # type: ignore[misc]


class TestTable:
    def test_each_setting_has_every_name(self) -> None:
        """One row gives the flag, the variable and the key, and they agree."""
        assert table().keys() == {field.name for field in dataclasses.fields(ServeSettings)}
        for name, setting in table().items():
            assert setting.flags[-1] == f"--{key(name)}"
            assert variable(name) == f"MANYCORE_{name.upper()}"
            assert setting.text.endswith(".")
            assert setting.remedy
            assert bool(setting.metavar) is not setting.switch

    def test_every_default_is_a_value(self) -> None:
        """What the help shows as the default could be given."""
        for name, setting in table().items():
            assert setting.parse(str(setting.default)) == getattr(ServeSettings(), name)


class TestFiles:
    def test_pyprojects_table_is_read(self, tmp_path: Path) -> None:
        """[tool.manycore], and nothing else of it."""
        text = '[project]\nname = "x"\n[tool.other]\nthreads = 9\n[tool.manycore]\nthreads = 4\n'
        (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
        assert put_together(tmp_path)[0].threads == 4

    def test_our_own_file_comes_before_pyproject(self, tmp_path: Path) -> None:
        """manycore.toml is used alone when both are there."""
        text = "[tool.manycore]\nthreads = 4\nbacklog = 5\n"
        (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
        settings, chosen = put_together(tmp_path, toml="threads = 6\n")
        assert settings.threads == 6
        assert chosen == {"threads"}

    @pytest.mark.parametrize("text", ["", '[project]\nname = "x"\n', "[tool.other]\nx = 1\n"])
    def test_a_pyproject_without_us_is_nobodys(self, tmp_path: Path, text: str) -> None:
        """Somebody else's file is not ours to read."""
        (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
        assert find_file(tmp_path) is None
        assert put_together(tmp_path)[1] == frozenset()

    @pytest.mark.parametrize("text", ["tool = 3\n", "tool = []\n", 'tool = "x"\n'])
    def test_a_pyproject_with_another_kind_of_tool_is_nobodys(
        self, tmp_path: Path, text: str
    ) -> None:
        """Whatever `tool` is there, it has no settings of ours."""
        (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
        assert put_together(tmp_path)[1] == frozenset()

    def test_a_file_may_be_named(self, tmp_path: Path) -> None:
        """A named file is read in place of those of the directory, with settings at its top."""
        file = tmp_path / "other.toml"
        file.write_text("threads = 7\n", encoding="utf-8")
        (tmp_path / "manycore.toml").write_text("threads = 6\n", encoding="utf-8")
        assert gather({}, {}, file=file, directory=tmp_path)[0].threads == 7

    def test_a_named_pyproject_is_read_as_one(self, tmp_path: Path) -> None:
        """Its settings are in the table, wherever it lies; having none is no mistake."""
        file = tmp_path / "pyproject.toml"
        file.write_text("[tool.manycore]\nthreads = 8\n", encoding="utf-8")
        assert gather({}, {}, file=file)[0].threads == 8
        file.write_text('[project]\nname = "x"\n', encoding="utf-8")
        assert gather({}, {}, file=file)[1] == frozenset()

    def test_a_table_that_is_none_is_named(self, tmp_path: Path) -> None:
        """`manycore = 3` under [tool] is a mistake that somebody made for us."""
        file = tmp_path / "pyproject.toml"
        file.write_text("[tool]\nmanycore = 3\n", encoding="utf-8")
        with pytest.raises(SettingsError) as caught:
            put_together(tmp_path)
        assert str(caught.value) == f"{file}: tool.manycore: it is no table; write [tool.manycore]"

    @pytest.mark.parametrize(
        ("written", "remedy"),
        [
            ("worker", "did you mean workers?"),
            ("log-levle", "did you mean log-level?"),
            ("gracefull_timeout", "did you mean graceful-timeout?"),
            ("colour", "the settings are " + ", ".join(key(name) for name in table())),
        ],
    )
    @pytest.mark.parametrize("name", ["manycore.toml", "pyproject.toml"])
    def test_an_unknown_key_is_named(
        self, tmp_path: Path, name: str, written: str, remedy: str
    ) -> None:
        """With the one that was probably meant, or with all."""
        file = tmp_path / name
        head = "[tool.manycore]\n" if name == "pyproject.toml" else ""
        file.write_text(f"{head}{written} = 1\n", encoding="utf-8")
        with pytest.raises(SettingsError) as caught:
            put_together(tmp_path)
        assert str(caught.value) == f"{file}: {written}: there is no such setting; {remedy}"

    def test_keys_may_have_underscores(self, tmp_path: Path) -> None:
        """Python's spelling is understood too."""
        assert put_together(tmp_path, toml="boot_timeout = 3\n")[0].boot_timeout == 3.0

    @pytest.mark.parametrize("name", ["manycore.toml", "pyproject.toml"])
    def test_what_is_not_toml_says_where(self, tmp_path: Path, name: str) -> None:
        """The file, the line and the column, on one line."""
        file = tmp_path / name
        file.write_text("[tool.manycore]\nthreads = \n", encoding="utf-8")
        with pytest.raises(SettingsError) as caught:
            put_together(tmp_path)
        assert caught.value.where == str(file)
        assert caught.value.problem.startswith("it is not TOML (")
        assert "line 2" in caught.value.problem
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "content",
        [
            pytest.param(b'log-level = "\xff"\n', id="bytes"),
            pytest.param(b"threads = 1" + b"0" * 5000, id="digits"),
            pytest.param(b"a = " + b"[" * 10**5, id="brackets"),
        ],
    )
    def test_what_no_parser_takes_is_not_toml(self, tmp_path: Path, content: bytes) -> None:
        """Bytes that are not UTF-8, a number of thousands of digits, a tower of brackets."""
        (tmp_path / "manycore.toml").write_bytes(content)
        with pytest.raises(SettingsError, match="it is not TOML"):
            put_together(tmp_path)

    def test_a_file_that_is_missing_is_named(self, tmp_path: Path) -> None:
        """Only when it was asked for: a directory needs none."""
        file = tmp_path / "none.toml"
        with pytest.raises(SettingsError) as caught:
            gather({}, {}, file=file)
        remedy = "name a file that can be read"
        assert str(caught.value) == f"{file}: no such file or directory; {remedy}"

    def test_a_directory_is_no_file(self, tmp_path: Path) -> None:
        """What the operating system says is passed on."""
        with pytest.raises(SettingsError, match="is a directory; name a file that can be read"):
            gather({}, {}, file=tmp_path)
        (tmp_path / "manycore.toml").mkdir()
        assert find_file(tmp_path) is None

    def test_the_working_directory_is_looked_into(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without another one, the file lies where the command was called."""
        (tmp_path / "manycore.toml").write_text("threads = 9\n", encoding="utf-8")
        with monkeypatch.context() as context:
            context.chdir(tmp_path)
            assert gather({}, {})[0].threads == 9


def test_each_is_written_once() -> None:
    """No two subjects have a setting of the same name, and the help begins with the first."""
    subjects = ServeSettings.__bases__
    names = [name for subject in reversed(subjects) for name in table(subject)]
    assert names == list(table())
    assert names[0] == "bind"
