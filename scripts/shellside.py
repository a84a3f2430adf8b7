"""What a host is told to do, in POSIX sh: receive a script, run it, leave nothing behind.

The command line is ours alone and constant but for a random word. Everything of a person's (script, variables, words) comes by
standard input: first lines of sh with each value in single quotes, ended by the random word; then the script's bytes, or a
tar.gz of its folder, to the end. So nothing shows in a list of processes that was not meant to be a word of the command line.
"""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scripts.content import Content, shebang
from scripts.parameters import Handed

# $1 the run's random word, $2 f: a file comes, d: a folder comes, $3 another word, of this host alone, $4 how many bytes it has: half a
# script, of a connection that broke off, is not run (half an archive is none). `set -C`: only a file that is not there yet is written.
_BOOT = (
    'd="${TMPDIR:-/tmp}/mist-$3";h=;'
    'while IFS= read -r l;do [ "$l" = "$1" ]&&break;h="$h$l\n";done;'
    'trap "rm -rf \\"\\$d\\"" EXIT;trap "exit 129" HUP;trap "exit 143" TERM;trap "exit 130" INT;'
    'if [ "$2" = d ];then (umask 077;mkdir "$d"&&cd "$d"&&tar xzf -)||exit 125;'
    'else (umask 077;set -C;exec cat >"$d")&&[ "$(($(wc -c <"$d")))" = "$4" ]||exit 125;fi;'
    'echo "$1 $$ $PPID $d";eval "$h"'
)
# $1 signal, $2 sudo or not, $3 our sh, $4 its parent, $5 what it left
_END = 'for p in "-$3" $([ "$2" = sudo ]&&echo "-$4") "$3";do kill -s "$1" -- "$p" 2>/dev/null;done;[ "$1" = KILL ]&&rm -rf "$5";exit 0'
CHECKS = {  # of those that read a script and run nothing of it: perl -c does run some
    **dict.fromkeys(("sh", "bash", "dash", "ash", "ksh", "zsh", "mksh"), ("-n",)),
    "ruby": ("-c",),
    **dict.fromkeys(("python", "python3"), ("-c", "import ast,sys;ast.parse(open(sys.argv[1]).read(),sys.argv[1]);print('syntax OK')")),
}


@dataclass(frozen=True, kw_only=True)
class Order:
    """What one run sends to every host: the same bytes."""

    token: str
    stdin: bytes
    size: int  # of the script, or its folder's archive, at the end of `stdin`
    is_folder: bool

    def command(self, *, sudo: bool) -> str:
        """The command line."""
        words = ["sh", "-c", _BOOT, "mist", self.token, "d" if self.is_folder else "f", secrets.token_hex(16), str(self.size)]
        return "exec " + shlex.join([*(("sudo", "-n", "--") if sudo else ()), *words])

    def ending(self, signal: str, *, sudo: bool, pid: str, parent: str, left: str) -> str:
        """The command line that ends it, from another channel."""
        words = ["sh", "-c", _END, "mist", signal, "sudo" if sudo else "-", pid, parent, left]
        return shlex.join([*(("sudo", "-n", "--") if sudo else ()), *words])


def order(content: Content, handed: Handed, *, dry: bool) -> Order:
    """What to send for this script with these values. `dry`: it is parsed there, and not run."""
    token = secrets.token_hex(16)
    is_folder = content.is_bundle
    lines = exports(handed.environment)
    path = f'"$d/"{shlex.quote(content.entrypoint)}' if is_folder else '"$d"'
    if is_folder:
        lines.append('cd "$d" || exit 125')
    words = shebang(content.files[content.entrypoint].data)
    lines.append(_checking(words, path) if dry else _running(words, path, handed.words))
    stored = content.stored()
    return Order(token=token, stdin="\n".join([*lines, token, ""]).encode() + stored, size=len(stored), is_folder=is_folder)


def exports(environment: Mapping[str, str]) -> list[str]:
    return [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]


def _running(words: Sequence[str], path: str, arguments: Sequence[str]) -> str:
    """Its interpreter by name, so that a /tmp nothing may be executed in will do."""
    return f"{shlex.join(words)} {path} {shlex.join(arguments)} </dev/null"


def _checking(words: Sequence[str], path: str) -> str:
    name = (words[1].split()[-1] if words[0].endswith("/env") and len(words) > 1 else words[0]).rsplit("/", 1)[-1]
    known = CHECKS.get(name.rstrip("0123456789.") if name not in CHECKS else name)
    if known is not None:
        return f"{shlex.join(words[:2] if words[0].endswith('/env') else words[:1])} {shlex.join(known)} {path} </dev/null"
    program = shlex.quote(words[0])
    return f'command -v {program} >/dev/null && echo "{program} is there; it cannot check without running"'
