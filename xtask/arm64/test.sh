#!/usr/bin/env bash
# Builds core and the C library for 64-bit ARM and runs their tests and the corpus in qemu's user mode. Everything comes from Debian, into
# target/arm64-root: Rust with the library for ARM, a cross compiler, qemu. `cargo xtask test-arm64` calls this; it takes about half an hour.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
jail=$root/target/arm64-root
target=aarch64-unknown-linux-gnu

inside() {
  export CARGO_HOME=$root/target/arm64/cargo CARGO_TARGET_DIR=$root/target/arm64/target CARGO_INCREMENTAL=0 CARGO_TERM_COLOR=never
  export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
  export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=qemu-aarch64-static
  export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
  # What is emulated is slow enough.
  export CARGO_PROFILE_DEV_OPT_LEVEL=1
  cd "$root"
  # Slow machines are the point here: what measures time is left out. So is what starts itself again, which only an emulated kernel could.
  cargo test --locked --target $target --package luacell --features cross,async,hardened --no-fail-fast \
    --lib --test conformance --test api --test asynchronous --test file_store --test host_functions --test memory --test modules \
    --test snapshot --test threads --test transactions \
    -- --skip a_full_disk --skip killed_ --skip one_process_at_a_time
  # The same features, so that wasmtime is not built once more.
  cargo build --locked --target $target --package luacell-ffi --features luacell/cross,luacell/async,luacell/hardened
  make -C ffi-c test-api test-corpus LIBRARY="$CARGO_TARGET_DIR/$target/debug" BUILD="$root/target/arm64/ffi-c" RUN=qemu-aarch64-static \
    PROGRAMS="api_test host_test wrapper_test" \
    CC=aarch64-linux-gnu-gcc CXX=aarch64-linux-gnu-g++ PKG_CONFIG_LIBDIR=/usr/lib/aarch64-linux-gnu/pkgconfig
}

if [ "${1:-}" = inside ]; then
  inside
  exit
fi
missing() {
  echo "test-arm64: $1" >&2
  exit 1
}
[ "$(uname)" = Linux ] || missing "this needs Linux"
[ "$(id -u)" = 0 ] || missing "run this as root, which sets up a Debian under target/"
command -v debootstrap >/dev/null || missing "apt-get install debootstrap"
# Its Rust is newer than the one that the release came with.
sources=/etc/apt/sources.list.d/debian.sources
[ -e $sources ] || missing "this needs $sources"
release=$(. /etc/os-release && [ "$ID" = debian ] && echo "$VERSION_CODENAME") || missing "this knows only Debian as the host"

# The first of its name in the host's list of sources.
field() {
  sed -n "s/^$1: *//p" "$sources" | head -n 1
}

# Mounts end with the process.
in_jail() {
  jail=$jail unshare --mount bash -c 'mount -t proc proc "$jail/proc" && mkdir -p "$jail$root" && mount --bind "$root" "$jail$root" && exec chroot "$jail" "$@"' - "$@"
}
export root
if [ ! -e "$jail/ready" ]; then
  rm -rf "$jail"
  mkdir -p "$root/target"
  debootstrap --variant=minbase "$release" "$jail" >"$root/target/debootstrap-arm64.log" || { tail "$root/target/debootstrap-arm64.log"; exit 1; }
  rm -f "$jail/etc/apt/sources.list"
  cp "$sources" "$jail${sources}"
  in_jail dpkg --add-architecture arm64
  # Debian 12's qemu keeps a record of each page of address space, of which a sandbox reserves a million; version 8 and later do not.
  qemu=
  if [ "$release" = bookworm ]; then
    qemu=bookworm-backports
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' "$(field URIs)" "$qemu" "$(field Signed-By)" \
      >"$jail/etc/apt/sources.list.d/backports.sources"
  fi
  in_jail apt-get update -qq
  in_jail env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ca-certificates make pkg-config python3 \
    gcc libc6-dev g++-aarch64-linux-gnu "qemu-user-static${qemu:+/$qemu}" rustc-web cargo-web libstd-rust-web-dev libstd-rust-web-dev:arm64 \
    libjansson-dev:arm64 libstdc++6:arm64 >"$root/target/arm64-install.log"
  touch "$jail/ready"
fi
# Whom the host trusts.
cp -L /etc/ssl/certs/ca-certificates.crt "$jail/etc/ssl/certs/ca-certificates.crt"
in_jail env HOME=/root bash "$root/xtask/arm64/test.sh" inside
