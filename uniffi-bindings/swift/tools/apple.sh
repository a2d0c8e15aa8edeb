#!/usr/bin/env bash
# Builds LuaCellFFI.xcframework for iOS, its simulator and macOS. Needs Xcode, and Rust's targets for all five. iOS allows no code that is made at
# run time: a build for devices passes the features for that in LUACELL_FEATURES, and `redis` who wants server stores on a phone, for 1.6 MB.
set -euo pipefail
root=$(cd "$(dirname "$0")/../../.." && pwd)
package=$root/uniffi-bindings/swift
out=$root/target/apple
[ "$(uname)" = Darwin ] || { echo "this runs on macOS only" >&2; exit 1; }
command -v xcodebuild >/dev/null || { echo "xcodebuild is missing; install Xcode" >&2; exit 1; }

library() {
  cargo build --manifest-path "$root/Cargo.toml" --profile small --package luacell-uniffi --target "$1" --no-default-features --features "${LUACELL_FEATURES:-}"
}
joined() {
  mkdir -p "$out/$1"
  local files=()
  for target in "${@:2}"; do
    library "$target"
    files+=("$root/target/$target/small/libluacell_uniffi.a")
  done
  lipo -create "${files[@]}" -output "$out/$1/libluacell_uniffi.a"
}

rm -rf "$out" "$package/LuaCellFFI.xcframework"
mkdir -p "$out/headers"
cp "$package/Sources/LuaCellFFI/LuaCellFFI.h" "$out/headers/"
# A static library in a framework needs no link line.
grep -v ' link ' "$package/Sources/LuaCellFFI/module.modulemap" >"$out/headers/module.modulemap"
joined ios aarch64-apple-ios
joined simulator aarch64-apple-ios-sim x86_64-apple-ios
joined macos aarch64-apple-darwin x86_64-apple-darwin
libraries=()
for platform in ios simulator macos; do
  libraries+=(-library "$out/$platform/libluacell_uniffi.a" -headers "$out/headers")
done
xcodebuild -create-xcframework "${libraries[@]}" -output "$package/LuaCellFFI.xcframework"
