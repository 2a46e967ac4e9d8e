"""What the command refuses before it asks a server."""

from __future__ import annotations

from typer.testing import CliRunner

from server.command.cli import app


def test_a_bayes_factor_and_its_label_are_not_given_together() -> None:
    for factor in ("--bayes-factor", "--log-bayes-factor"):
        found = CliRunner().invoke(app, ["sbc", "necessity", factor, "12", "--severity", "strong"])
        assert found.exit_code == 2
        assert "but not both" in " ".join(found.output.replace("│", " ").split())
