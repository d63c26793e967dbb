#!/bin/sh
# A second of isochronous sound into a file, and back out to the device. The device counts what it receives:
# packets, bytes, gaps and CRC-32, each a little-endian u32.
set -eu
dir=${1:?usage: tone.sh DIR FILE}
file=${2:?usage: tone.sh DIR FILE}
. "${0%/*}/need-demo"
ask() { # one request on the control pipe, one answer
    echo "$1" >"$dir/tone/ep_00.request"
    read -r answer <&3
    echo "$answer"
}
exec 3<"$dir/tone/ep_00.response"
head -c 192000 "$dir/tone/ep_83" >"$file"
ask "out 0x40 2 0 0"
cat "$file" >"$dir/tone/ep_03"
# A thousand packets leave one a millisecond, so the last of them are still on their way.
until ask "in 0xc0 1 0 0 16" | grep '^ok e8030000'; do sleep 0.1; done
