#!/bin/sh
# cargo's RUSTC_WRAPPER: coverage for libFuzzer in luacell's own crates only. All of wasmtime would take minutes to build and slow down what is fuzzed.
rustc=$1
shift
case " $* " in
*" --crate-name luacell "* | *" --crate-name wire "* | *" --crate-name keys "* | \
  *" --crate-name differential "* | *" --crate-name limits "* | \
  *" --crate-name files "* | *" --crate-name foreign "* | *" --crate-name luacell_ffi "* | *" --crate-name c_abi "*)
  exec "$rustc" "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares
  ;;
esac
exec "$rustc" "$@"
