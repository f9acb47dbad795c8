#!/bin/sh
# SPDX-License-Identifier: MIT
# The program and the outputs that README.md shows are examples/uart.c and what it, examples/ram.c and examples/kvm-hello.c
# print. The last says with status 77 that there is no KVM; it is not given where it is not built.
# usage: readme.sh SOURCE_DIR UART RAM [KVM_HELLO]
set -eu
readme=$1/README.md

# The N-th block that opens with ```WORD.
block() {
    awk -v open="\`\`\`$1" -v n="$2" '
        $0 == open && !inside { inside = 1; seen++; next }
        $0 == "```" && inside { inside = 0; next }
        inside && seen == n' "$readme"
}

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
block c 1 >"$dir/program"
block text 1 >"$dir/output"
sed '1,/^ *\/\* uart.c/d' "$1/examples/uart.c" >"$dir/example"
"$2" >"$dir/printed"
diff -u "$dir/program" "$dir/example"
diff -u "$dir/output" "$dir/printed"

block text 2 >"$dir/output"
"$3" >"$dir/printed"
diff -u "$dir/output" "$dir/printed"

[ $# -ge 4 ] || exit 0
block text 3 >"$dir/output"
status=0
"$4" >"$dir/printed" || status=$?
[ "$status" -ne 77 ] || exit 0
[ "$status" -eq 0 ]
diff -u "$dir/output" "$dir/printed"
