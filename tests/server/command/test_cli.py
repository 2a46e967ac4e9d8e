"""What the command accepts and refuses before it asks a server."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from server.command import access
from server.command.cli import app

ROOT = Path(__file__).parents[3]
GROUPS = {"show": 7, "sbc": 11, "outcome": 3}
"""Groups of commands that are about a client's results, with their number of commands."""


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIFTOS_BAYES_CLIENT", raising=False)


def commands(group: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command below the group, with the words that lead to it."""
    for name in group.list_commands(None):
        found = group.get_command(None, name)
        if hasattr(found, "list_commands"):
            yield from commands(found, *path, name)
        else:
            yield (*path, name), found


def words(output: str) -> str:
    return " ".join(output.replace("│", " ").split())


def test_a_bayes_factor_and_its_label_are_not_given_together() -> None:
    for factor in ("--bayes-factor", "--log-bayes-factor"):
        given = ["sbc", "necessity", "--client", "c", factor, "12", "--severity", "strong"]
        found = CliRunner().invoke(app, given)
        assert found.exit_code == 2
        assert "but not both" in words(found.output)


def test_every_command_about_results_has_the_same_three_options_and_only_the_client_is_required() -> None:
    seen = dict.fromkeys(GROUPS, 0)
    for path, command in commands(get_command(app)):
        options = {option.name: option for option in command.params}
        if path[0] in seen:
            seen[path[0]] += 1
            given = [(option.opts, option.required) for option in command.params[-3:]]
            assert given == [(["--client"], True), (["--target"], False), (["--data-dir"], False)], path
            assert options["client"].envvar == "LIFTOS_BAYES_CLIENT"
        else:
            assert "client" not in options
    assert seen == GROUPS


def test_no_client_is_assumed() -> None:
    found = CliRunner().invoke(app, ["show", "report"])
    assert found.exit_code == 2
    assert "Missing option '--client' (env var: 'LIFTOS_BAYES_CLIENT')" in words(found.output)


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        (["show", "session", "s1", "--client", "acme"], {}, ("opened", "", "acme", "")),
        (["show", "session", "--client", "acme", "s1"], {"LIFTOS_BAYES_CLIENT": "x"}, ("opened", "", "acme", "")),
        (["show", "report"], {"LIFTOS_BAYES_CLIENT": "acme"}, ("opened", "", "acme", "")),
        (["outcome", "list", "--client", "c", "--target", "h:1"], {}, ("opened", "h:1", "c", "")),
        (["sbc", "policy", "list", "--data-dir", "d", "--client", "c"], {}, ("opened", "", "c", "d")),
        (["sbc", "watch", "r1", "--client", "c", "--data-dir", "d"], {}, ("connected", "", "c", "d")),
    ],
)
def test_the_options_say_where_a_command_connects_and_for_whom(
    monkeypatch: pytest.MonkeyPatch,
    given: list[str],
    environment: dict[str, str],
    expected: tuple[str, str, str, str],
) -> None:
    asked: list[tuple[str, str, str, str]] = []
    for name in ("opened", "connected"):

        def connect(settings: Any, target: str, client: str, name: str = name) -> Any:
            asked.append((name, target, client, str(settings.data_dir)))
            raise SystemExit(7)

        monkeypatch.setattr(access, name, connect)
    assert CliRunner().invoke(app, given, env=environment).exit_code == 7
    assert asked == [(*expected[:3], expected[3] or ".liftos-bayes")]


def test_the_options_of_a_command_can_be_said_again() -> None:
    assert access.Access("c").options == "--client c"
    assert access.Access("c", "h:1", Path("d")).options == "--client c --target h:1"
    assert access.Access("c", data_dir=Path("d")).options == "--client c --data-dir d"


def test_a_wrong_command_of_a_group_is_told_the_right_one() -> None:
    found = CliRunner().invoke(app, ["show", "sesion", "s1"])
    assert found.exit_code == 2
    assert "Did you mean 'session'?" in words(found.output)


def test_help_does_not_load_what_only_some_commands_need() -> None:
    code = (
        "import sys\nfrom server.command.cli import main\nsys.argv = ['liftos-bayes', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'numpy', 'sqlalchemy.ext.asyncio', 'server.rpc.app', 'alembic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "outcome" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_variable_that_nobody_reads_ends_the_command_with_a_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "server.command.cli", "config"],
        env={"LIFTOS_BAYES_WORKRES": "4"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    expected = "UnknownVariable: LIFTOS_BAYES_WORKRES is not a setting; did you mean LIFTOS_BAYES_WORKERS?\n"
    assert done.stderr == expected


def documented(page: Path) -> Iterator[tuple[list[str], dict[str, str]]]:
    """The commands about results that a page shows, with the environment that it exports before them."""
    for block, inline in re.findall(
        r"```sh\n(.*?)```|`(liftos-bayes (?:show|sbc|outcome) [^`]* [^`]*)`", page.read_text(), re.S
    ):
        environment: dict[str, str] = {}
        for line in (block or inline).splitlines():
            for command in line.split(";"):
                given = shlex.split(command, comments=True)
                if given[:1] == ["export"]:
                    environment |= dict([given[1].split("=")])
                elif given[:1] == ["liftos-bayes"]:
                    yield given[1:], environment


def test_the_commands_of_the_documentation_are_complete(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def connect(*_: Any) -> Any:
        raise SystemExit(7)

    monkeypatch.setattr(access, "opened", connect)
    monkeypatch.setattr(access, "connected", connect)
    found = [command for page in sorted((ROOT / "docs").glob("*.md")) for command in documented(page)]
    assert {given[0] for given, _ in found} == set(GROUPS)
    monkeypatch.chdir(tmp_path)
    for given, environment in found:
        shown = CliRunner().invoke(app, given, env=environment)
        assert shown.exit_code == 7, f"{shlex.join(given)}: {shown.output}"
