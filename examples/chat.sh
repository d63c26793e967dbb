#!/bin/sh
# A chat with the board over two FIFOs: what you type goes there, what it says comes here, in whatever order. Try
# `PING 1`, `LED ON`, `SUM 1 2 3`, `STATUS`; Ctrl-D ends it.
set -eu
dir=${1:?usage: chat.sh DIR}
. "${0%/*}/need-demo"
exec 3<"$dir/uno/serial.rx" 4>"$dir/uno/serial.tx"
sed -u "/^PONG the end of $$\$/Q" <&3 & # prints until the last answer
cat >&4
echo "PING the end of $$" >&4
wait
