#!/bin/sh
# An overflow, and how it is shown. Sound is real time: a device cannot be told to wait. A program that opens ep_83 and does
# not read loses whole packets once FIFO and daemon are full; `status` counts them, `events` tells of them, and the left
# channel, a counter, shows the same gap. (Other pipes make the device wait instead and lose nothing.)
set -eu
dir=${1:?usage: overflow.sh DIR}
. "${0%/*}/need-demo"
command -v usbpipe >/dev/null || { echo "overflow.sh: usbpipe is not on the PATH; in its folder: PATH=\$PWD/target/release:\$PATH" >&2 && exit 1; }
lost() {
    usbpipe --dir "$dir" status | sed -n '/^tone /,/^[^ ]/ s/^  ep_83 .* lost_packets=\([0-9]*\).*/\1/p' | grep . || echo 0
}
before=$(lost)
exec 3<"$dir/tone/ep_83"
echo "not reading…"
while [ $(($(lost) - before)) -lt 100 ]; do sleep 0.1; done
# Two seconds of sound: what was kept from before the gap and after it, and then what comes now. 4 bytes are a sample.
missing=$(head -c 384000 <&3 | od -An -v -td2 -w4 | awk '
    NR > 1 && $1 != (last + 1) % 65536 { missing += ($1 - last - 1 + 65536) % 65536 }
    { last = ($1 + 65536) % 65536 }
    END { print missing + 0 }')
packets=$(($(lost) - before))
usbpipe --dir "$dir" status | grep -A1 '^tone '
echo "$packets packets of 48 samples lost, $missing samples missing in the stream"
