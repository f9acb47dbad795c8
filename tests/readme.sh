#!/bin/sh
# SPDX-License-Identifier: MIT
# The program and the outputs that README.md shows are examples/uart.c and what it and examples/ram.c print.
# usage: readme.sh SOURCE_DIR UART RAM
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
