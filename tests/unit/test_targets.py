"""From a target's text to what it names, and what is said when there is no such thing."""

from __future__ import annotations

import contextlib
import importlib
import json
import os.path
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from manycore.base.targets import HOW_TO_WRITE, load
from manycore.errors import ExitCode, TargetError


class Project:
    """The working directory of somebody who wrote a target."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, name: str, text: str) -> Path:
        file = self.directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text), encoding="utf-8")
        importlib.invalidate_caches()
        return file


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """Lets a test import what it likes, and forgets all of it."""
    path, modules = list(sys.path), dict(sys.modules)
    with contextlib.chdir(tmp_path):
        yield Project(tmp_path)
    sys.path[:] = path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
    sys.modules.update(modules)


def refused(target: str) -> TargetError:
    """Loads what cannot be loaded, and sees to it that the error is one line."""
    with pytest.raises(TargetError) as caught:
        load(target)
    error = caught.value
    assert "\n" not in str(error)
    assert str(error) == f"{target}: {error.problem}; {error.remedy}"
    assert error.exit_code is ExitCode.TARGET_FAILED
    return error


class TestFound:
    def test_a_module_of_the_library(self) -> None:
        """A module that Python finds, and a dotted attribute in it."""
        assert load("json:dumps") is json.dumps
        assert load("os:path.join") is os.path.join
        assert load("os.path:join") is os.path.join

    def test_a_module_of_the_working_directory(self, project: Project) -> None:
        """Where the command is called, modules and packages are found."""
        project.write("echo_target.py", "def handle(conn): return 'module'\n")
        project.write("shop_target/__init__.py", "")
        project.write("shop_target/till.py", "def handle(conn): return 'package'\n")
        assert load("echo_target:handle")(None) == "module"
        assert load("shop_target.till:handle")(None) == "package"

    @pytest.mark.parametrize("form", ["echo.py", "./echo.py", "{directory}/echo.py"])
    def test_a_file(self, project: Project, form: str) -> None:
        """A path from here, or from the root."""
        project.write("echo.py", "def handle(conn): return __file__\n")
        place = form.format(directory=project.directory)
        assert load(f"{place}:handle")(None) == str(project.directory / "echo.py")

    def test_a_file_whose_path_has_a_colon(self, project: Project) -> None:
        """Only the last colon separates."""
        project.write("a:b/echo.py", "handle = 3\n")
        assert load("a:b/echo.py:handle") == 3

    def test_a_file_whose_name_is_no_identifier(self, project: Project) -> None:
        """A script is called what its author likes."""
        project.write("my-echo server.py", "handle = 4\n")
        assert load("my-echo server.py:handle") == 4

    def test_a_dotted_attribute(self, project: Project) -> None:
        """A method of an object of a file."""
        project.write("app_target.py", "class App:\n    def handle(self): return 5\napp = App()\n")
        assert load("app_target.py:app.handle")() == 5

    def test_a_files_siblings_are_found(self, project: Project) -> None:
        """A file imports its neighbours, as a script does, wherever it is called from."""
        project.write("deep/down/app_target.py", "from neighbour_of_app import handle\n")
        project.write("deep/down/neighbour_of_app.py", "def handle(): return 6\n")
        assert load("deep/down/app_target.py:handle")() == 6

    def test_what_a_file_defines_can_be_pickled(self, project: Project) -> None:
        """A file's module is known by its name while it is imported, and after."""
        project.write(
            "data_target.py",
            """
            import pickle
            from dataclasses import dataclass
            @dataclass
            class Item:
                price: int
            assert pickle.loads(pickle.dumps(Item(3))) == Item(3)
            """,
        )
        item = load("data_target.py:Item")
        assert sys.modules[item.__module__].Item is item

    @pytest.mark.parametrize("name", ["json", "pytest"])
    def test_a_file_replaces_no_other_module(self, project: Project, name: str) -> None:
        """A file that is named like a module that is there leaves that one alone."""
        before = sys.modules[name]
        project.write(f"{name}.py", "def handle(): return __name__\n")
        handle = load(f"{name}.py:handle")
        assert handle() != name
        assert sys.modules[name] is before
        assert sys.modules[handle.__module__].handle is handle

    def test_a_file_named_like_the_librarys_is_no_member_of_it(self, project: Project) -> None:
        """A module of the standard library that nobody has imported yet keeps its name."""
        assert "this" not in sys.modules
        project.write("this.py", "def handle(): return __name__\n")
        assert load("this.py:handle")() != "this"
        assert "this" not in sys.modules

    def test_the_path_does_not_grow(self, project: Project) -> None:
        """A directory is searched once, however often something is loaded from it."""
        project.write("again_target.py", "handle = 1\n")
        for _ in range(3):
            load("again_target:handle")
            load("again_target.py:handle")
        assert sys.path.count(str(project.directory)) == 1

    def test_two_files_of_one_name_are_two_modules(self, project: Project) -> None:
        """The second does not replace the first."""
        project.write("one/app_of_two.py", "def handle(): return 1\n")
        project.write("two/app_of_two.py", "def handle(): return 2\n")
        first, second = load("one/app_of_two.py:handle"), load("two/app_of_two.py:handle")
        assert (first(), second()) == (1, 2)
        assert first.__module__ != second.__module__


class TestNotFound:
    @pytest.mark.parametrize("target", ["", "echo", ":", "echo:", ":handle", "echo.py"])
    def test_a_target_has_two_parts(self, target: str) -> None:
        """Without a place or an attribute there is nothing to look for."""
        error = refused(target)
        assert error.problem == "it names no function"
        assert error.remedy == HOW_TO_WRITE == "write module:function or path/to/file.py:function"

    @pytest.mark.parametrize("place", ["my-echo", "a b", ".app", "app.", "a..b", "3d", "a:b"])
    def test_what_is_no_modules_name(self, project: Project, place: str) -> None:
        """What Python could never import is said to be no name."""
        assert project.directory.exists()
        error = refused(f"{place}:handle")
        assert error.problem == f"{place!r} is no module's name"
        assert error.remedy == HOW_TO_WRITE

    @pytest.mark.parametrize(
        ("name", "missing"),
        [
            ("no_such_target", "no_such_target"),
            ("no_such.target", "no_such"),
            ("json.no_such", "json.no_such"),
            ("json.decoder.deeper", "json.decoder.deeper"),
        ],
    )
    def test_a_module_that_is_missing(self, project: Project, name: str, missing: str) -> None:
        """The first part that is not there is named, and where it was looked for."""
        error = refused(f"{name}:handle")
        assert error.problem == f"there is no module {missing!r}"
        where = f"it was looked for in {project.directory} and where Python looks"
        assert error.remedy == f"check the name; {where}"

    def test_a_file_that_is_missing(self, project: Project) -> None:
        """It says from where the path was followed."""
        error = refused("src/echo.py:handle")
        assert error.problem == "there is no such file"
        assert error.remedy == f"check the path; it starts from {project.directory}"

    def test_a_directory_is_no_file(self, project: Project) -> None:
        """A package is named with dots."""
        (project.directory / "app.py").mkdir()
        assert refused("app.py:handle").problem == "it is a directory"

    def test_a_file_that_is_not_python(self, project: Project) -> None:
        """A path whose end says nothing to Python."""
        project.write("bin/echo", "handle = 1\n")
        error = refused("bin/echo:handle")
        assert error.problem == "it is no Python file"
        assert error.remedy == "name a file that ends in .py"

    def test_a_misspelt_attribute_is_suggested(self, project: Project) -> None:
        """The public name that is nearest."""
        project.write("spelling_target.py", "def handle(conn): ...\ndef _handel(conn): ...\n")
        error = refused("spelling_target:handel")
        assert error.problem == "'spelling_target' has no 'handel'"
        assert error.remedy == "did you mean 'handle'?"
        assert refused("spelling_target.py:xyzzy").remedy == "check the name"

    def test_a_misspelt_part_names_its_holder(self, project: Project) -> None:
        """Of a dotted attribute, the part that is missing and what does not have it."""
        project.write(
            "parts_target.py", "class Shop:\n    till = 3\n    def sell(self): ...\nshop = Shop()\n"
        )
        assert refused("parts_target:Shop.sel").problem == "'Shop' has no 'sel'"
        assert refused("parts_target:Shop.sel").remedy == "did you mean 'sell'?"
        assert refused("parts_target:shop.bell").problem == "'Shop' has no 'bell'"
        assert refused("parts_target:shop.till.bell").problem == "'int' has no 'bell'"
        assert refused("parts_target:shop..sell").problem == "'Shop' has no ''"


class TestBroken:
    @pytest.mark.parametrize("form", ["broken_target", "broken_target.py"])
    def test_a_syntax_error_has_its_place(self, project: Project, form: str) -> None:
        """The file and line of the mistake, not of the import."""
        file = project.write("broken_target.py", "x = 1\ndef handle(conn)\n    pass\n")
        error = refused(f"{form}:handle")
        assert error.problem == f"importing it raised SyntaxError: expected ':' ({file}:2)"
        assert error.remedy == "correct that, then start again"
        assert "SyntaxError" in error.details

    def test_a_syntax_error_of_a_sibling_has_its_place(self, project: Project) -> None:
        """The mistake is where it is, not in the file that imports it."""
        project.write("outer_target.py", "import inner_of_outer\n")
        file = project.write("inner_of_outer.py", "\n\n)\n")
        assert f"({file}:3)" in refused("outer_target:handle").problem

    @pytest.mark.parametrize("form", ["raising_target", "raising_target.py"])
    def test_what_its_code_raises_has_its_place(self, project: Project, form: str) -> None:
        """The deepest line of the author's, the message on one line, the traceback beside it."""
        file = project.write(
            "raising_target.py",
            """\
            def connect():
                raise ConnectionError("no database\\n  at all")
            connect()
            """,
        )
        error = refused(f"{form}:handle")
        said = f"ConnectionError: no database at all ({file}:2)"
        assert error.problem == f"importing it raised {said}"
        assert "line 3, in <module>" in error.details
        assert isinstance(error.__cause__, ConnectionError)

    def test_an_error_without_words(self, project: Project) -> None:
        """Its kind and place must do."""
        file = project.write("wordless_target.py", "assert 1 == 2\n")
        assert refused("wordless_target:x").problem == (
            f"importing it raised AssertionError ({file}:1)"
        )

    @pytest.mark.parametrize("form", ["missing_target", "missing_target.py"])
    def test_a_module_that_it_needs_is_no_missing_target(self, project: Project, form: str) -> None:
        """The target is there; what it imports is not."""
        file = project.write("missing_target.py", "\nimport no_such_dependency\n")
        assert refused(f"{form}:handle").problem == (
            "importing it raised ModuleNotFoundError: "
            f"No module named 'no_such_dependency' ({file}:2)"
        )

    def test_a_sibling_in_its_package_is_no_missing_target(self, project: Project) -> None:
        """A package that imports a part of its own that is not there."""
        file = project.write("pack_target/__init__.py", "from . import nothing_here\n")
        project.write("pack_target/app.py", "handle = 1\n")
        problem = refused("pack_target.app:handle").problem
        assert problem.startswith("importing it raised ImportError: ")
        assert f"({file}:1)" in problem

    @pytest.mark.parametrize("form", ["exiting_target", "exiting_target.py"])
    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("raise SystemExit", "SystemExit"),
            ("import sys; sys.exit(3)", "SystemExit: 3"),
            ("import sys; sys.exit('no config')", "SystemExit: no config"),
        ],
    )
    def test_an_exit_is_an_error(self, project: Project, form: str, line: str, said: str) -> None:
        """A script without a guard that ends itself ends no more than its import."""
        file = project.write("exiting_target.py", line + "\n")
        problem = refused(f"{form}:handle").problem
        assert problem == f"importing it raised {said} ({file}:1)"

    def test_ctrl_c_is_not_the_targets_error(self, project: Project) -> None:
        """Whoever interrupts a slow import means us."""
        project.write("slow_target.py", "raise KeyboardInterrupt\n")
        with pytest.raises(KeyboardInterrupt):
            load("slow_target.py:handle")
        assert "slow_target" not in sys.modules

    def test_a_file_that_failed_leaves_no_module(self, project: Project) -> None:
        """Half a module would be found by the next import."""
        project.write("half_target.py", "x = 1\nraise ValueError\n")
        refused("half_target.py:x")
        assert "half_target" not in sys.modules
        project.write("half_target.py", "x = 2  # corrected\n")
        assert load("half_target.py:x") == 2

    def test_a_file_that_is_not_text(self, project: Project) -> None:
        """Bytes that are no Python are an error of the file."""
        (project.directory / "bytes_target.py").write_bytes(b"x = 1\0\n")
        problem = refused("bytes_target.py:x").problem
        assert problem.startswith("importing it raised SyntaxError: ")
        assert "importlib" not in problem, "the place is none of the author's"
        assert "targets.py" not in problem, "the place is none of the author's"

    @pytest.mark.parametrize("form", ["lazy_target", "lazy_target.py"])
    def test_a_lazy_attribute_that_fails_is_the_targets_error(
        self, project: Project, form: str
    ) -> None:
        """A module may import on first use; that this fails is its author's business too."""
        project.write(
            "lazy_target.py",
            """
            def __getattr__(name):
                if name == "handle":
                    raise ImportError("pip install the-extra")
                raise AttributeError(name)
            """,
        )
        assert "pip install the-extra" in refused(f"{form}:handle").problem
