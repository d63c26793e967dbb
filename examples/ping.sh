#!/bin/sh
# A question and an answer over two FIFOs.
set -eu
dir=${1:?usage: ping.sh DIR}
. "${0%/*}/need-demo"
exec 3<"$dir/uno/serial.rx" # open for the answer before asking
echo "PING $$" >"$dir/uno/serial.tx"
head -n1 <&3
