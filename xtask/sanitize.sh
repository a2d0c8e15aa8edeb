#!/bin/sh
# cargo's RUSTC_WRAPPER: a sanitizer in luacell's own crates only, as $LUACELL_SANITIZER says. In all of wasmtime and its compiler it would take half an hour to
# build. Memory that they allocate is watched all the same, and generic code of theirs is compiled into ours.
rustc=$1
shift
case "${CARGO_PKG_NAME:-} $*" in
*"--crate-name build_script"*) ;;
"luacell "*"--target "* | "luacell-ffi "*"--target "*)
  # shellcheck disable=SC2086 # several options
  exec "$rustc" "$@" $LUACELL_SANITIZER -Cunsafe-allow-abi-mismatch=sanitizer -Cforce-frame-pointers=yes
  ;;
esac
exec "$rustc" "$@"
