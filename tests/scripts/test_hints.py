"""Every command that the operators' programs print, read by a shell: whatever a node, a tag, a bucket or a stack is called,
it is made of the words that are meant. As `src/shell/hints.rs` does for bootstrap's own messages."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from operate import REPO
from theta_edge.terminal import word

SCRIPTS = REPO / "scripts"

# What stands in commands without having been quoted, and why nobody outside chooses it.
OURS = {
    "name": "a stack's name, which CloudFormation has taken",
    "wanted.name": "the same",
    "fleet": "the same",
    "fleet.name": "the same",
    "upgrade": "a command that is looked at where it is made",
    "','.join(nodes)": "names that the template's pattern has taken",
    "','.join(there)": "the same",
    "','.join(fleet.nodes)": "the same",
    "region": "a region, which AWS has answered from",
    "aws.region": "the same",
    "self.aws.region": "the same",
    "self.aws.account": "digits, from AWS",
    "self.aws.partition": "from the caller's ARN, by AWS",
    "instance": "an id, from EC2",
    "report.instance": "the same",
    "volume": "the same",
    "volume.id": "the same",
    "one": "a snapshot's id, from EC2",
    "execution": "an id, from Systems Manager",
    "group": "the group that CloudFormation has made from the stack's name",
    "bucket": "a bucket's name, whose characters S3 restricts",
    "key": "a digest or an ARN of AWS, in either place",
    "copy.address": "0x and 40 hex digits",
    "stack.address or 'ADDRESS'": "the same",
    "SERVICE_ROLE": "a constant",
    "GRANTED": "a constant",
    "NODE_TAG": "a constant",
    "node": "a stack's name, which CloudFormation has taken",
    "code": "a constant",
    "used + needed": "a number",
    "answer.code": "a number",
}
QUOTES = ("word", "shlex.quote", "shlex.join")

# What a tag, a file or an object may be called.
HOSTILE = [
    *("k;echo PWNED;true", "$(echo PWNED)", "`echo PWNED`", "a b", "it's", "'; echo PWNED; '", '"; echo PWNED; "'),
    *("a\necho PWNED\n", "&& echo PWNED", "| tee x", "> x", "*", "~root", "#x", "!!", "\\", "-rf", "{a,b}", "a\x1b[2J", "\u202eb"),
]

PROGRAM = "(?:scripts/[a-z-]+|aws|docker|bootstrap|sudo|systemctl|journalctl)"
# At the start of a line, of a quotation or behind a colon or two blanks; or with an option after it.
COMMAND = re.compile(
    rf"(?:(?<=['`])|(?<=: )|(?<=  )|^){PROGRAM} [^ ]|(?<![^ '`]){PROGRAM} (?=--)|^ *\0\d+\0 (?=--)", re.MULTILINE
)
# Where the sentence goes on.
END = re.compile(r"[`']|, |; |\. | \(|\n|$|: ")
HOLE = re.compile("\0(\\d+)\0")


def programs() -> list[Path]:
    return [*sorted((SCRIPTS / "theta_edge").glob("*.py")), *sorted(SCRIPTS.glob("*-on-node.py"))]


def messages(tree: ast.AST) -> Iterator[tuple[str, list[ast.expr]]]:
    """The strings of a program, with numbered holes for what is filled in; neither its documentation nor its help."""
    passed_over = set()
    for part in ast.walk(tree):
        if isinstance(part, ast.JoinedStr):
            passed_over |= {id(value) for value in part.values}
        elif isinstance(part, ast.Expr):
            passed_over.add(id(part.value))
        elif isinstance(part, ast.Assign) and ast.unparse(part.targets[0]).endswith("HELP"):
            passed_over |= {id(inner) for inner in ast.walk(part.value)}
    for part in ast.walk(tree):
        if id(part) in passed_over:
            continue
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value, []
        elif isinstance(part, ast.JoinedStr):
            text, holes = "", []
            for value in part.values:
                if isinstance(value, ast.FormattedValue):
                    text += f"\0{len(holes)}\0"
                    holes.append(value.value)
                else:
                    text += value.value
            yield text, holes


def commands(text: str) -> Iterator[str]:
    for begin in COMMAND.finditer(text):
        yield text[begin.start() : END.search(text, begin.end()).start()].rstrip(".")


def is_ours(hole: ast.expr) -> bool:
    is_quoted = isinstance(hole, ast.Call) and ast.unparse(hole.func) in QUOTES
    return is_quoted or ast.unparse(hole) in OURS


def words(lines: list[str]) -> list[int | None]:
    """How many words a shell makes of each line; nothing where it cannot read it, or would run more than one command."""
    script = """set -f
    while IFS= read -r -d '' line; do
        count=$(eval "set -- $line && echo \\$#" 2>/dev/null)
        [[ $count =~ ^[0-9]+$ ]] && echo "$count" || echo
    done"""
    # What would run if a name were not quoted is neither found nor able to write a file.
    jail = {"PATH": "/nonexistent"}
    ended = subprocess.run(
        ["/bin/bash", "--norc", "--noprofile", "-c", script],
        input="".join(line + "\0" for line in lines).encode(),
        capture_output=True,
        env=jail,
        cwd="/proc/self",
        check=True,
    )
    counts = ended.stdout.decode().splitlines()
    assert len(counts) == len(lines), ended
    return [int(count) if count else None for count in counts]


def test_a_shell_makes_of_each_command_in_a_message_the_words_that_are_meant(capsys):
    wrong, told, filled, seen = [], [], [], set()
    for file in programs():
        tree = ast.parse(file.read_text())
        for text, holes in messages(tree):
            for command in commands(text):
                numbers = [int(number) for number in HOLE.findall(command)]
                told.append((file.name, HOLE.sub("x", command)))
                wrong += [
                    f"{file.name}: {{{ast.unparse(holes[number])}}} is not quoted in: {HOLE.sub('…', command)}"
                    for number in numbers
                    if not is_ours(holes[number])
                ]
                seen |= {ast.unparse(holes[number]) for number in numbers}
                if numbers:
                    filled.append((file.name, command))
    meant = dict(zip(told, words([command for _, command in told])))
    wrong += [f"{name}: no shell can read: {command}" for (name, command), count in meant.items() if count is None]
    pastes = [(name, command, hostile) for name, command in filled for hostile in HOSTILE]
    pasted = [HOLE.sub(lambda _: word(hostile), command) for _, command, hostile in pastes]
    for (name, command, _), line, count in zip(pastes, pasted, words(pasted)):
        if count != meant[name, HOLE.sub("x", command)]:
            wrong.append(f"{name}: {line} is not {meant[name, HOLE.sub('x', command)]} words")
    with capsys.disabled():
        print(
            f"\nhints: {len(told)} commands of the operators' programs read by a shell, {len(filled)} of them filled in with "
            f"each of {len(HOSTILE)} hostile names ({len(pastes)} pastes), {len(wrong)} wrong"
        )
    assert wrong == []
    # So that the search itself is not lost.
    assert OURS.keys() - seen == set()
    assert (len(told) > 60, len(filled) > 40) == (True, True), (len(told), len(filled))


def test_a_name_is_one_word_whatever_is_in_it():
    assert words([f"look {word(hostile)} end" for hostile in HOSTILE]) == [3] * len(HOSTILE)
    assert word("theta-edge-node") == "theta-edge-node"
