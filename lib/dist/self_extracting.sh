#!/bin/sh
# TitanBit @VERSION@ in one file, for @NEEDS@.
#
# This script, then an archive (tar, gzip) of the runtime, the program and its libraries. The archive is unpacked once into a
# cache folder, under its version and hash, and started from there; whatever is incomplete there is unpacked again.
name=@NAME@
offset=@OFFSET@
digest=@DIGEST@
# Size and path of every file in it.
files='@FILES@'

complete() {
  # -x is false where the file system does not run programs.
  [ -x "$1/bin/deno" ] && [ "$(cd "$1" && stat -c '%s %n' @PATHS@ 2>/dev/null)" = "$files" ]
}

# Whether nobody else can change what the folder holds, nor put another one in the place of a link to it.
ours() {
  case $(stat -c '%u %a' "$1" "$1/." 2>/dev/null) in
    "$user "*"
$user "*[0145][0145]) ;;
    *) return 1 ;;
  esac
}

# Unpacks into a folder of the cache $1. Prints why not: status 3 where no other cache can help, else another one may.
unpack() {
  for tool in flock gzip mktemp sha256sum tail tar; do
    command -v $tool >/dev/null || {
      echo "Cannot unpack $0 as $tool is missing: install it"
      return 3
    }
  done
  umask 077
  mkdir -p "$1" || return 1
  ours "$1" || {
    echo "it belongs to another user, or others may write to it"
    return 1
  }
  # Of several that start at once one unpacks and the others wait; the system frees the lock of one that was killed.
  (
    flock 9 || exit 1
    complete "$1/$name" && exit 0
    rm -rf "$1"/*.tmp-* # Left by one that was killed.
    parts=$(mktemp -d "$1/$name.tmp-XXXXXX") || exit 1
    trap 'rm -rf "$parts"' EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    printf '#!/bin/sh\n' >"$parts/probe" && chmod 700 "$parts/probe" || exit 1
    "$parts/probe" 2>/dev/null || {
      echo "programs may not run there (noexec)"
      exit 1
    }
    if [ -t 3 ]; then echo "titanbit: unpacking once into $1/$name" >&3; fi
    found=$(tail -c "+$offset" "$0" | sha256sum)
    [ "${found%% *}" = "$digest" ] || {
      echo "Cannot unpack $0 as the SHA-256 of its archive must be $digest: current value is ${found%% *}; get the file again"
      exit 3
    }
    rm "$parts/probe"
    said=$(tail -c "+$offset" "$0" | gzip -dc | tar -xmf - --strip-components=1 -C "$parts" 2>&1) && complete "$parts" || {
      echo "it could not be unpacked there: ${said%%
*}"
      exit 1
    }
    said=$("$parts/bin/deno" --version 2>&1 </dev/null) || {
      echo "Cannot start titanbit as its runtime does not run here: $said; it needs @NEEDS@"
      exit 3
    }
    sync
    # The folder itself takes the name, so that one that is killed after this leaves nothing else.
    rm -rf "$1/$name" && mv "$parts" "$1/$name"
  ) 9>>"$1/lock"
}

user=$(id -u)
reasons=
last=
for cache in "${XDG_CACHE_HOME-}/titanbit" "${HOME-}/.cache/titanbit" "${TMPDIR:-/tmp}/titanbit-$user" "/var/tmp/titanbit-$user"; do
  case $cache in
    "$last" | /titanbit | /.cache/titanbit) continue ;; # XDG_CACHE_HOME or HOME is not set.
    /*) last=$cache ;;
    *) continue ;;
  esac
  if ! ours "$cache" || ! complete "$cache/$name"; then
    reason=$(unpack "$cache" 3>&2 2>&1)
    status=$?
    case $status in
      0) ;;
      3)
        echo "error: $reason" >&2
        exit 1
        ;;
      129 | 130 | 143) exit $status ;;
      *)
        reasons="$reasons
  $cache: ${reason##*: }"
        continue
        ;;
    esac
  fi
  here=$cache/$name
  @START@
done
echo "error: Cannot start titanbit as one of these folders must hold it unpacked:$reasons
Set XDG_CACHE_HOME to a folder of yours that programs may run in, with @SPACE@ free" >&2
exit 1
