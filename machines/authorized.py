"""A user's authorized_keys on a machine: lines put in and taken out over a login that works, by one small script.

Whole or not at all, its owner and mode kept, a link followed. What is so already is left as it is, with the options somebody gave it.
"""

from __future__ import annotations

from core.errors import Rejected
from keys.ssh import Host, Result

# $1 put or take, $2 the user, $3 the line, $4 the key itself in base64, $5 1 for an authority's line and 0 for a plain key's.
_EDIT = r"""
set -eu
PATH=$PATH:/usr/sbin:/sbin:/usr/bin:/bin; export PATH
home=$HOME
if [ "$(id -un)" != "$2" ]; then
  home=$(awk -F: -v user="$2" '$1 == user { print $6; exit }' /etc/passwd)
  if [ -z "$home" ] && command -v getent >/dev/null; then home=$(getent passwd "$2" | cut -d: -f6); fi
  [ -n "$home" ] || { echo "there is no user $2" >&2; exit 3; }
fi
[ -d "$home" ] || { echo "$2 has no home directory" >&2; exit 3; }
umask 077
if [ ! -d "$home/.ssh" ]; then
  [ "$1" = put ] || { echo same; exit 0; }
  mkdir "$home/.ssh"
  if [ "$(id -un)" != "$2" ]; then chown "$2" "$home/.ssh"; chgrp "$(id -g "$2")" "$home/.ssh"; fi
fi
file=$home/.ssh/authorized_keys
if [ -L "$file" ]; then file=$(readlink -f "$file"); fi
new=$file.mist.$$
trap 'rm -f "$new"' EXIT
if [ -e "$file" ]; then
  cp -p "$file" "$new"
else
  [ "$1" = put ] || { echo same; exit 0; }
  : > "$new"
  if [ "$(id -un)" != "$2" ]; then chown "$2" "$new"; chgrp "$(id -g "$2")" "$new"; fi
fi
old=/dev/null
if [ -e "$file" ]; then old=$file; fi
said=$(awk -v verb="$1" -v line="$3" -v blob="$4" -v ca="$5" -v out="$new" '
  function is_it(  i, has) {
    if ($0 ~ /^[ \t]*(#|$)/) return 0
    for (i = 1; i <= NF; i++) if ($i == blob) has = 1
    return has && (($0 ~ /(^|,)cert-authority[ ,]/) ? 1 : 0) == ca + 0
  }
  BEGIN { printf "" > out }
  {
    sub(/\r$/, "")
    if (is_it()) {
      if (verb == "take" || (ca + 0 && (found || $0 != line))) { changed = 1; next }
      found = 1
    }
    print > out
  }
  END {
    if (verb == "put" && !found) { print line > out; changed = 1 }
    print changed ? "changed" : "same"
  }' "$old")
if [ "$said" = changed ]; then
  mv -f "$new" "$file"
  if command -v restorecon >/dev/null; then restorecon "$file" 2>/dev/null || :; fi
fi
echo "$said"
"""


def put(host: Host, user: str, line: str) -> bool:
    """Let `user` be logged in as by this line.  Returns: was it not so already?  Raises: Rejected with the host's words."""
    return _edit(host, "put", user, line)


def take(host: Host, user: str, line: str) -> bool:
    """Take the line of this key out, whatever its options and comment.  Returns: was it there?  Raises: Rejected."""
    return _edit(host, "take", user, line)


def _edit(host: Host, verb: str, user: str, line: str) -> bool:
    words = line.split()
    is_ca = words[0].startswith("cert-authority")
    blob = words[2] if is_ca else words[1]
    sudo = host.user not in (user, "root")
    result = host.script(_EDIT, verb, user, line, blob, str(int(is_ca)), sudo=sudo)
    said = result.text.split()[-1:]
    if result.exit != 0 or said not in (["changed"], ["same"]):
        raise Rejected(f"authorized_keys of {user} could not be changed on {host.host}: {_why(result, host, sudo)}", code="not_written")
    return said == ["changed"]


def _why(result: Result, host: Host, sudo: bool) -> str:
    if sudo and b"sudo" in result.stderr:
        return f"{host.user} may not become root here without a password."
    return result.complaint or f"it ended with {result.exit}"
