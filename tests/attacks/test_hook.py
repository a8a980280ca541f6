"""The audit hook sees each thing that it is there to forbid, and nothing that reading needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FORBIDDEN = {
    "importing a foreign module": "import foreign",
    "running a foreign file": "import runpy; runpy.run_path(FOREIGN)",
    "executing text": "exec('a = 1')",
    "evaluating text": "eval('1 + 1')",
    "compiling text": "compile('a = 1', 'a', 'exec')",
    "a pickle": "import pickle; pickle.loads(PICKLE)",
    "marshalled code": "import marshal; marshal.loads(marshal.dumps(0))",
    "a shell": "os.system('true')",
    "a process": "import subprocess; subprocess.run(['true'])",
    "a fork": "os.fork()",
    "another program": "os.execv('/bin/true', ['true'])",
    "a spawned process": "os.posix_spawn('/bin/true', ['true'], {})",
    "a connection": "import socket; socket.socket().connect(('127.0.0.1', 9))",
    "a server": "import socket; socket.socket().bind(('127.0.0.1', 0))",
    "a name": "import socket; socket.getaddrinfo('localhost', 9)",
    "a foreign library": "import ctypes; ctypes.CDLL(OUTSIDE + '/a.so')",
    "writing outside": "open(OUTSIDE + '/a', 'w')",
    "appending outside": "open(OUTSIDE + '/here', 'ab')",
    "opening for both outside": "os.open(OUTSIDE + '/here', os.O_RDWR)",
    "making a file outside": "os.open(OUTSIDE + '/b', os.O_CREAT | os.O_RDONLY)",
    "writing through a link": "open(INSIDE + '/link', 'w')",
    "removing outside": "os.remove(OUTSIDE + '/here')",
    "renaming outside": "os.rename(INSIDE + '/a', OUTSIDE + '/c')",
    "a folder outside": "os.mkdir(OUTSIDE + '/d')",
    "a mode outside": "os.chmod(OUTSIDE + '/here', 0o777)",
    "a database outside": "import sqlite3; sqlite3.connect(OUTSIDE + '/e')",
    "swallowed": "exec_swallowed()",
}
ALLOWED = {
    "a module of the standard library": "import wave, colorsys",
    "an installed module": "import click",
    "parsing": "import ast; ast.parse('import os')",
    "a dataclass": "import dataclasses; dataclasses.make_dataclass('A', ['b'])",
    "writing inside": "open(INSIDE + '/a', 'w').close()",
    "reading outside": "open(OUTSIDE + '/here').close()",
    "renaming inside": "os.rename(INSIDE + '/a', INSIDE + '/b')",
    "an allowed program": "import subprocess; subprocess.run(['cc', '--version'], "
    "stdout=subprocess.DEVNULL)",
    "a library of the system": "import ctypes; ctypes.CDLL(None)",
    "a database inside": "import sqlite3; sqlite3.connect(INSIDE + '/c').close()",
}
PROGRAM = """
import json, os, pickle, sys
sys.path.insert(0, sys.argv[1])
from support.audit import ForbiddenError, seen, watch
INSIDE, OUTSIDE = sys.argv[2:4]
FOREIGN = OUTSIDE + "/foreign.py"
sys.path.append(OUTSIDE)
class Bad:
    def __reduce__(self):
        return os.getcwd, ()
PICKLE = pickle.dumps(Bad())
cases = {name: compile(text, "<case>", "exec") for name, text in json.load(sys.stdin).items()}
def exec_swallowed():
    try:
        eval("1")
    except BaseException:
        pass
def run(code):
    # a program of its own, so that what is forbidden is the text's doing and not ours
    import types
    types.FunctionType(code, globals())()
watch([INSIDE], programs=["cc"])
told = {}
for name, code in cases.items():
    before = len(seen)
    try:
        run(code)
    except ForbiddenError:
        pass
    except Exception as error:
        print(name, repr(error), file=sys.stderr)
    told[name] = len(seen) - before
print(json.dumps(told))
"""


def told(cases: dict[str, str], tmp_path: Path) -> dict[str, int]:
    """How often the hook of a process spoke about each of these."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "here").write_text("")
    (outside / "foreign.py").write_text("x = 1\n")
    (inside / "link").symlink_to(outside / "made")
    tests = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-B", "-c", PROGRAM, tests, inside, outside],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert sorted(path.name for path in outside.iterdir()) == ["foreign.py", "here"]
    found: dict[str, int] = json.loads(done.stdout)
    return found


def test_what_is_forbidden_is_seen(tmp_path: Path) -> None:
    counts = told(FORBIDDEN, tmp_path)
    assert [name for name, count in counts.items() if not count] == []


def test_what_reading_needs_is_not(tmp_path: Path) -> None:
    counts = told(ALLOWED, tmp_path)
    assert [name for name, count in counts.items() if count] == []


def test_a_second_look(tmp_path: Path) -> None:
    """The cases are told apart: none is forbidden only because another one was."""
    for name in ("a pickle", "writing outside"):
        folder = tmp_path / name
        folder.mkdir()
        assert told({name: FORBIDDEN[name]}, folder) == {name: pytest.approx(1)}
