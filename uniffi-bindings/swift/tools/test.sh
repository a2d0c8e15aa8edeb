#!/usr/bin/env bash
# Runs the tests of the Swift package and of its example; `example` runs the example only, `check` only says whether that is possible, `figures`
# measures instead. Where there is no Swift, Debian's is set up under target/, which needs root.
#
# LUACELL_LIBRARY=FOLDER  where the library is
# LUACELL_TREE=FOLDER     where else, below target/, the package and the example are, in folders as here
set -euo pipefail
root=$(cd "$(dirname "$0")/../../.." && pwd)
jail=$root/target/swift-root

library=${LUACELL_LIBRARY:-$root/target/release}
tree=${LUACELL_TREE:-$root}
export LD_LIBRARY_PATH=$library

# What is run with Swift at hand.
tests() {
  swift test --configuration release --package-path "$root/uniffi-bindings/swift" --scratch-path "$root/target/swift/package" -Xlinker "-L$library" 2>&1
  example
}

example() {
  local scratch=$root/target/swift/example
  [ "$tree" = "$root" ] || scratch=$tree/build
  swift build --configuration release --package-path "$tree/examples/swift/Rules" --scratch-path "$scratch" -Xlinker "-L$library" 2>&1
  if "$scratch/release/Rules" "$tree/examples/rules.lua" | diff - "$tree/examples/rules-report.txt"; then
    echo "Example: passed"
  else
    echo "Example: failed"
    return 1
  fi
}

figures() {
  swift build --configuration release --package-path "$root/uniffi-bindings/swift/Figures" --scratch-path "$root/target/swift/figures" \
    -Xlinker "-L$library" >&2
  "$root/target/swift/figures/release/Figures"
}

what=${1:-tests}
if [ "${2:-}" = inside ] || command -v swift >/dev/null; then
  [ "$what" = check ] || "$what"
  exit
fi
missing() {
  echo "swift is missing; $1" >&2
  exit 1
}
[ "$(uname)" = Linux ] || missing "install Xcode"
[ "$(id -u)" = 0 ] || missing "install it, or run this as root, which sets up Debian's under target/"
command -v debootstrap >/dev/null || missing "apt-get install debootstrap"
[ "$what" != check ] || exit 0

# Mounts end with the process.
in_jail() {
  jail=$jail unshare --mount bash -c 'mount -t proc proc "$jail/proc" && mkdir -p "$jail$root" && mount --bind "$root" "$jail$root" && exec chroot "$jail" "$@"' - "$@"
}
export root
if [ ! -e "$jail/ready" ]; then
  rm -rf "$jail"
  mkdir -p "$root/target"
  debootstrap --variant=minbase trixie "$jail" >"$root/target/debootstrap.log" || { tail "$root/target/debootstrap.log"; exit 1; }
  in_jail apt-get update -qq
  in_jail env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    swiftlang libc6-dev libstdc++-14-dev >"$root/target/swift-install.log"
  touch "$jail/ready"
fi
in_jail env HOME=/root bash "$root/uniffi-bindings/swift/tools/test.sh" "$what" inside
