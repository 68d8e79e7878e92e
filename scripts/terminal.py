"""Shows on a terminal what came from a node, where anyone could have put anything into it: control characters are
written as escapes, so that nothing can move the cursor, hide text or give the terminal orders.

    terminal.py text                 shows standard input
    terminal.py events STATE [raw]   shows log events, the output of `aws logs filter-log-events`, one line each;
                                     bootstrap's JSON lines readable, unless raw. STATE is a file: its first line is
                                     the time to ask from next, and the others are what was shown since that time and
                                     is left out when it comes again.
"""

import json
import os
import sys
import unicodedata

# What reorders text has the same category as what is harmless, so it is named (CVE-2021-42574).
REORDERING = set("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

# CloudWatch Logs may deliver an event this much later than a younger one, in milliseconds.
LATE = 5 * 60 * 1000


def safe(text: str, harmless: str = "\t") -> str:
    """The text with everything escaped that a terminal would act on."""
    return "".join(
        char.encode("unicode_escape").decode()
        if char not in harmless and (unicodedata.category(char) in ("Cc", "Cs") or char in REORDERING)
        else char
        for char in text
    )


def readable(line: str) -> str:
    """One of bootstrap's JSON lines for people; any other line as it is."""
    try:
        entry = json.loads(line)
        time, level, message = entry["time"], entry["level"], entry["message"]
        phase = entry.get("phase") or "bootstrap"
        return f"{time:<24}  {level.upper():<5}  {phase:<16}  {message}"
    except (ValueError, TypeError, KeyError, AttributeError):
        return line


def show(text: str) -> None:
    sys.stdout.buffer.write(text.encode(errors="backslashreplace"))


def events(state: str, raw: bool) -> None:
    try:
        with open(state, encoding="utf-8") as file:
            start, *lines = file.read().splitlines()
    except FileNotFoundError:
        start, lines = "0", []
    shown = dict(line.split("\t") for line in lines)
    found = json.load(sys.stdin.buffer)["events"]
    # Sorting keeps the order of those that have the same time.
    for event in sorted(found, key=lambda event: event["timestamp"]):
        if event["eventId"] not in shown:
            shown[event["eventId"]] = str(event["timestamp"])
            message = event["message"].rstrip("\n")
            show(safe(message if raw else readable(message)) + "\n")
    sys.stdout.buffer.flush()
    if shown:
        start = str(max(map(int, shown.values())) - LATE)
    with open(state, "w", encoding="utf-8") as file:
        file.write(start + "\n")
        file.writelines(f"{event}\t{time}\n" for event, time in shown.items() if int(time) >= int(start))


def main() -> None:
    action, *rest = sys.argv[1:]
    if action == "events":
        events(rest[0], raw=rest[1:] == ["raw"])
    else:
        show(safe(sys.stdin.buffer.read().decode(errors="backslashreplace"), harmless="\t\n"))
        sys.stdout.buffer.flush()


try:
    main()
except BrokenPipeError:
    # Whoever read this has seen enough; without this, Python would complain at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
