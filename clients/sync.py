"""Write the synchronous client and its tests from the asynchronous ones, which alone are edited."""

from __future__ import annotations

import io
import itertools
import keyword
import re
import subprocess
import sys
import tokenize
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
RUFF = str(Path(sys.executable).with_name("ruff"))
TARGETS = {
    "clients/python/src/liftos/bayes/aio.py": "clients/python/src/liftos/bayes/client.py",
    "tests/clients/python/test_aio.py": "tests/clients/python/test_client.py",
}
"""What is written from which source."""

NAMES = {"__aenter__": "__enter__", "__aexit__": "__exit__", "aclose": "close"}
"""Names that differ otherwise than by an `Async` at the front of the asynchronous one."""
TEXTS = {
    "The asyncio client: the namespaces and methods of the synchronous one, awaited.": (
        "The synchronous client: one namespace for each service, messages of the contract as answers."
    ),
    "The asyncio client against": "The synchronous client against",
    "for the event loop that it is made in.": "safe to share between threads.",
}
"""What docstrings and comments say of one of the two only."""
# What nobody would write without `async`: loops that only yield or copy, nested `with`, what is imported or remarked
# without use.
FIXES = "C416,F401,I001,RUF100,SIM117,UP028"

_ASYNC = re.compile(r"\b(_?)Async(?=[A-Z])")
_BEGINS, _ENDS = (
    {getattr(tokenize, kind + end) for kind in ("FSTRING_", "TSTRING_") if hasattr(tokenize, kind + end)}
    for end in ("START", "END")
)


class Token(NamedTuple):
    """A token and where it stands in the source."""

    kind: int
    text: str
    start: int
    end: int


def tokens(source: str) -> list[Token]:
    """The tokens of a source; an f-string is one STRING in every version of Python, as it is in 3.11."""
    lines = list(itertools.accumulate(map(len, io.StringIO(source)), initial=0))
    stream: list[Token] = []
    depth = begun = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        start, end = (lines[row - 1] + column for row, column in (token.start, token.end))
        if token.type in _BEGINS:
            begun = begun if depth else start
            depth += 1
        elif token.type in _ENDS:
            depth -= 1
            if depth == 0:
                stream.append(Token(tokenize.STRING, source[begun:end], begun, end))
        elif depth == 0:
            stream.append(Token(token.type, token.string, start, end))
    return stream


def synchronous(source: str) -> str:
    """The source without `async` and `await` and with the names of the synchronous client, not formatted.

    What docstrings, strings and comments say stays, but for the names and for `TEXTS`.
    """
    stream = tokens(source)
    instead: dict[int, str] = {}
    for index, (kind, text, _, _) in enumerate(stream):
        if kind in {tokenize.STRING, tokenize.COMMENT}:
            instead[index] = _retold(text)
        elif kind == tokenize.NAME and text in {"async", "await"}:
            instead[index] = ""
            instead |= dict.fromkeys(_parentheses(stream, index), "")
        elif text == "aio" and [token.text for token in stream[index - 2 : index]] == ["grpc", "."]:
            instead |= {index - 1: "", index: ""}
        elif kind == tokenize.NAME:
            instead[index] = NAMES.get(text) or _ASYNC.sub(r"\1", text)
    written, end = [], 0
    for index, token in enumerate(stream):
        gap = source[end : token.start]
        struck = index > 0 and stream[index - 1].text in {"async", "await"}
        written += [gap.lstrip(" ") if struck else gap, instead.get(index, token.text)]
        end = token.end
    return "".join(written)


def _retold(text: str) -> str:
    for old, new in TEXTS.items():
        text = text.replace(old, new)
    return _ASYNC.sub(r"\1", text)


def _parentheses(stream: list[Token], index: int) -> list[int]:
    """The parentheses that only the `await` at `index` needs, as in `(await self.get(name)).etag`."""
    opening = index - 1
    if stream[opening].text != "(" or _ends_operand(stream[opening - 1]):
        return []
    depth = 1
    for closing in range(index + 1, len(stream)):
        kind, text = stream[closing].kind, stream[closing].text
        if depth == 1 and not (text in {".", "(", "[", ")"} or (kind == tokenize.NAME and not keyword.iskeyword(text))):
            return []
        depth += (text in {"(", "[", "{"}) - (text in {")", "]", "}"})
        if depth == 0:
            return [opening, closing]
    return []


def _ends_operand(token: Token) -> bool:
    """Whether a parenthesis after this token is that of a call."""
    return token.text in {")", "]"} or (token.kind == tokenize.NAME and not keyword.iskeyword(token.text))


def generated(source: Path) -> str:
    """The text of the file that is written from `source`, formatted."""
    header = f"# Generated from {source.name} by clients/sync.py; edit the source.\n\n"
    text = header + synchronous(source.read_text(encoding="utf-8"))
    target = str(ROOT / TARGETS[source.relative_to(ROOT).as_posix()])
    for command in (
        ["check", "--quiet", "--fix-only", "--unsafe-fixes", "--fixable", FIXES],
        ["format", "--quiet"],
    ):
        ruff = [RUFF, *command, "--stdin-filename", target, "-"]
        done = subprocess.run(ruff, input=text, cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8", check=True)
        text = done.stdout
    return text


def stale() -> list[str]:
    """The files that are not what their sources give."""
    return [
        target
        for source, target in TARGETS.items()
        if not (ROOT / target).exists() or (ROOT / target).read_text(encoding="utf-8") != generated(ROOT / source)
    ]


def main() -> None:
    """Write every file."""
    for source, target in TARGETS.items():
        (ROOT / target).write_text(generated(ROOT / source), encoding="utf-8")


if __name__ == "__main__":
    main()
