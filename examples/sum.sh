#!/bin/sh
# Five numbers, added up by the board.
set -eu
dir=${1:?usage: sum.sh DIR}
. "${0%/*}/need-demo"
exec 3<"$dir/uno/serial.rx"
echo "SUM 1 2 3 4 5" >"$dir/uno/serial.tx"
head -n1 <&3
