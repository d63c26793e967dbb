#!/bin/sh
# Reports of an interrupt endpoint, one a line. A byte into ep_01 appears as the seventh of each later report.
set -eu
dir=${1:?usage: knob.sh DIR}
. "${0%/*}/need-demo"
printf '\005' >"$dir/knob/ep_01"
head -c 80 "$dir/knob/ep_81" | od -An -v -tx1 -w8
