"""What the operators' commands make of a terminal, and of what is none."""

import io

import pytest

from theta_edge.terminal import heading, wrapped


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "80")


def test_only_a_terminal_gets_styles_and_only_where_they_are_wanted(monkeypatch):
    assert heading("Deleting \x1b[2J", Terminal()) == "\x1b[1m==> Deleting \\x1b[2J\x1b[0m"
    assert heading("Deleting", io.StringIO()) == "==> Deleting"
    monkeypatch.setenv("NO_COLOR", "1")
    assert heading("Deleting", Terminal()) == "==> Deleting"


def test_a_value_stays_in_its_column_on_a_terminal(monkeypatch):
    first, value = "  permanent     ", "the zone, the file system and the wallet password; the volume outlives its stack"
    assert wrapped(first, value, Terminal()).splitlines() == [
        "  permanent     the zone, the file system and the wallet password; the volume",
        "                outlives its stack",
    ]
    assert wrapped(first, value, io.StringIO()) == first + value
    # An id is not broken, whatever its length.
    monkeypatch.setenv("COLUMNS", "30")
    assert wrapped("  zone  ", "us-east-1-wl1-bos-wlz-1 or us-east-1a", Terminal()).splitlines() == [
        "  zone  us-east-1-wl1-bos-wlz-1",
        "        or us-east-1a",
    ]
    monkeypatch.setenv("COLUMNS", "400")
    assert max(len(line) for line in wrapped(first, f"{value}; {value}", Terminal()).splitlines()) <= 100
