#!/usr/bin/env bash
# Builds programs outside of this tree with an installed libluacell: pkg-config and CMake, shared and static, C and C++.
set -euo pipefail
readme=$(cd "$(dirname "$0")/.." && pwd)/README.md
prefix=$(cd "$1" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/moved" && cp -a "$prefix/." "$folder/moved" # the installation may be moved
prefix=$folder/moved
cd "$folder"

cat > first.c <<'C'
#include <luacell.h>
int main(void) {
  luacell_sandbox *sandbox = NULL;
  if (luacell_sandbox_new(NULL, NULL, &sandbox, NULL) != LUACELL_OK) return 1;
  luacell_status status = luacell_compute(sandbox, "return 1 + 1", 12, NULL, NULL, NULL);
  luacell_sandbox_free(sandbox);
  return status;
}
C
cat > second.cc <<'C'
#include <luacell.hpp>
int main() { return luacell::Sandbox().compute("return 1 + 1").value().as<int>() - 2; }
C
cat > CMakeLists.txt <<'C'
cmake_minimum_required(VERSION 3.14)
project(outside C CXX)
set(CMAKE_CXX_STANDARD 17)
find_package(luacell 0.1 REQUIRED)
add_executable(shared first.c)
target_link_libraries(shared PRIVATE luacell::luacell)
add_executable(static first.c)
target_link_libraries(static PRIVATE luacell::static)
add_executable(plusplus second.cc)
target_link_libraries(plusplus PRIVATE luacell::luacell)
C

number=0 failures=0
check() { # NAME COMMAND...
  number=$((number + 1))
  local name=$1
  shift
  if "$@" > log 2>&1; then echo "ok $number - $name"; else failures=$((failures + 1)) && sed 's/^/# /' log && echo "not ok $number - $name"; fi
}
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
with_pkg_config() {
  cc -Wall -Werror -o shared first.c $(pkg-config --cflags --libs luacell) && LD_LIBRARY_PATH=$prefix/lib ./shared
}
with_pkg_config_static() {
  cc -Wall -Werror -o static first.c $(pkg-config --cflags luacell) "$prefix/lib/libluacell.a" \
    $(pkg-config --static --libs-only-l luacell | sed 's/-lluacell//') && ./static
}
only_static() { # where there is no shared library, and where nothing is shared
  cp -a "$prefix" alone && rm alone/lib/libluacell.so*
  local flags=$(PKG_CONFIG_PATH=$PWD/alone/lib/pkgconfig pkg-config --static --cflags --libs luacell)
  cc -Wall -Werror -o alone/first first.c $flags && alone/first &&
    c++ -std=c++17 -Wall -Werror -o alone/second second.cc $flags && alone/second &&
    cc -static -Wall -Werror -o alone/all first.c $flags && alone/all && ! readelf -d alone/all | grep NEEDED
}
needs_soname() { readelf -d shared | grep -q 'NEEDED.*libluacell\.so\.[0-9]' && test -e "$prefix/lib/$(readelf -d shared | sed -n 's/.*\[\(libluacell[^]]*\)\].*/\1/p')"; }
with_cmake() {
  cmake -S . -B build -DCMAKE_PREFIX_PATH="$prefix" && cmake --build build && build/shared && build/static && build/plusplus
}
other_version() {
  sed 's/luacell 0.1/luacell 0.9/' CMakeLists.txt > other.txt && mkdir -p other && mv other.txt other/CMakeLists.txt && cp first.c second.cc other/
  ! cmake -S other -B other/build -DCMAKE_PREFIX_PATH="$prefix"
}
block() { # LANGUAGE [NUMBER]
  awk -v first="\`\`\`$1" -v wanted="${2:-1}" '/^```/ { inside = $0 == first && ++found == wanted; next } inside' "$readme"
}
readme_c() { # NAME NUMBER: a program of the README, built and run as the line under it says
  block c "$2" > "$1.c" && grep -q main "$1.c"
  local build=$(grep "^cc $1\.c" "$readme")
  test "$(LD_LIBRARY_PATH=$prefix/lib bash -c "$build")" = "${build##*# prints }"
}
readme_cpp() { # NUMBER TEST
  { echo '#include <luacell.hpp>' && echo 'int main() {' && block cpp "$1" && echo "return $2 ? 0 : 1; }"; } > readme.cc
  c++ -std=c++17 -Wall -Werror readme.cc -o readme-cc $(pkg-config --cflags --libs luacell) && LD_LIBRARY_PATH=$prefix/lib ./readme-cc
}
readme_cmake() { # the README's lines, in a project with its program
  mkdir -p project && block c > project/ten.c
  { echo 'cmake_minimum_required(VERSION 3.14)' && echo 'project(ten C)' && echo 'add_executable(ten ten.c)' && block cmake; } > project/CMakeLists.txt
  cmake -S project -B project/build -DCMAKE_PREFIX_PATH="$prefix" && cmake --build project/build && test "$(project/build/ten)" = 2
}
only_ours() { ! nm -D --defined-only "$prefix/lib/libluacell.so" | awk '{ print $3 }' | grep -v '^luacell_'; }
check "pkg-config, shared" with_pkg_config
check "the program needs the library by its soname" needs_soname
check "pkg-config, static" with_pkg_config_static
check "pkg-config, nothing but the static library" only_static
check "find_package: shared, static, C++" with_cmake
check "find_package refuses another version" other_version
check "the README's C" readme_c ten 1
check "the README's C: objects" readme_c account 2
check "the README's C: waiting" readme_c ask 3
check "the README's C++" readme_cpp 1 'sum == 3'
check "the README's C++: objects" readme_cpp 2 '*account == 42'
check "the README's C++: waiting" readme_cpp 3 'greeting == "Hello, Ada!"'
check "the README's CMake" readme_cmake
check "the library shows luacell_* only" only_ours
check "licences and notices are there" test -s "$prefix/share/doc/luacell/LICENSE-MIT" -a -s "$prefix/share/doc/luacell/THIRD-PARTY-NOTICES.md"
echo "1..$number"
echo "# pass $((number - failures))"
echo "# fail $failures"
exit $((failures > 0))
