#!/bin/sh
# A sensor's log by `while read`: ten readings a second, with the time, until Ctrl-C or for COUNT lines. The sensor is the
# knob: 8 bytes every 10 ms, which od makes a line each (counter of 4 bytes, position of 2, buttons, 0).
set -eu
dir=${1:?usage: log.sh DIR [COUNT]}
left=${2:--1}
. "${0%/*}/need-demo"
# Without stdbuf, od would keep a page of lines to itself before it prints the first.
stdbuf -oL od -An -v -tu1 -w8 "$dir/knob/ep_81" | while read -r c0 c1 c2 c3 low high buttons _; do
    counter=$((c0 + 256 * c1 + 65536 * c2 + 16777216 * c3))
    [ $((counter % 10)) -eq 0 ] || continue
    position=$((low + 256 * high))
    [ $position -lt 32768 ] || position=$((position - 65536))
    echo "$(date +%T.%N | cut -c-12) counter=$counter position=$position buttons=$buttons"
    left=$((left - 1))
    [ $left -ne 0 ] || break
done
