#!/bin/sh
# SPDX-License-Identifier: MIT
# Install into a fresh directory, then build programs against that copy alone: with the shared and the
# static library, and each header on its own, as C and (if there is a compiler) as C++.
#
# usage: check.sh SOURCE_DIR BUILD_DIR CC...
# Exit status 77 (skipped) where the library is built with a sanitizer, which a plain program cannot load.
set -eu

source=$1
build=$2
shift 2

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail() {
    echo "install: $*" >&2
    exit 1
}

if nm -D "$build/libmembus.so" | grep -qE '__(asan|ubsan|tsan)_'; then
    echo "the library is built with a sanitizer"
    exit 77
fi

DESTDIR="$dir/root" meson install -C "$build" --no-rebuild >"$dir/log" 2>&1 || {
    cat "$dir/log" >&2
    fail "meson install failed"
}
pc=$(find "$dir/root" -name membus.pc)
[ -n "$pc" ] || fail "no membus.pc was installed"
PKG_CONFIG_PATH=$(dirname "$pc")
PKG_CONFIG_SYSROOT_DIR="$dir/root"
export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR
cflags=$(pkg-config --cflags membus)
libs=$(pkg-config --libs membus)
case "$cflags$libs" in
*"$source"* | *"$build"*) fail "pkg-config points into the tree: $cflags $libs" ;;
esac

wanted="cafef00d 600d0004 0002"
cd "$dir"

# shellcheck disable=SC2086
"$@" -std=c17 -Wall -Wextra -Werror $cflags -o shared "$source/tests/install/program.c" $libs
library=$(dirname "$(find "$dir/root" -name libmembus.so.0)")
said=$(LD_LIBRARY_PATH=$library ./shared) || fail "the program failed"
[ "$said" = "$wanted" ] || fail "the program said '$said', not '$wanted'"
readelf -d shared | grep -q 'NEEDED.*\[libmembus\.so\.0\]' || fail "not linked to libmembus.so.0"
# The rules of pkg-config's sysroot do not fit the libraries outside it, so -L comes by hand here.
archive=$(find "$dir/root" -name libmembus.a)
[ -n "$archive" ] || fail "no libmembus.a was installed"
libs=$(unset PKG_CONFIG_SYSROOT_DIR; pkg-config --static --libs-only-l --libs-only-other membus | sed 's/-lmembus//')
# shellcheck disable=SC2086
"$@" -std=c17 $cflags -o static "$source/tests/install/program.c" "$archive" $libs
said=$(./static) || fail "the static program failed"
[ "$said" = "$wanted" ] || fail "the static program said '$said', not '$wanted'"

headers=$(cd "$source/include" && find membus -name '*.h' | sort)
cxx=
for candidate in c++ g++ clang++; do
    command -v $candidate >/dev/null && cxx=$candidate && break
done
for header in $headers; do
    echo "#include <$header>" >alone.c
    # shellcheck disable=SC2086
    "$@" -std=c17 -Wall -Wextra -Wpedantic -Werror $cflags -fsyntax-only alone.c ||
        fail "$header does not compile on its own"
    [ -n "$cxx" ] || continue
    cp alone.c alone.cc
    # shellcheck disable=SC2086
    "$cxx" -std=c++17 -Wall -Wextra -Werror $cflags -fsyntax-only alone.cc ||
        fail "$header does not compile as C++"
done

if [ -x "$build/membus" ]; then
    command=$(find "$dir/root" -path '*/bin/membus')
    [ -n "$command" ] || fail "the command was not installed"
    LD_LIBRARY_PATH=$library "$command" --help >/dev/null || fail "membus --help failed"
fi
echo "built and ran against the installed copy, $(echo "$headers" | wc -l) headers each on its own${cxx:+, as C++ too}"
