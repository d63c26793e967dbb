# Ends what makes no progress any more. Sourced. No limit here is on how long anything takes in all.

# until_silent SECONDS FILE… -- COMMAND…: runs COMMAND and ends it once none of the files has changed for so many seconds. A
# file may be missing, or a directory. Exit status: the command's, or 124 if it was ended.
until_silent() (
    seconds=$1 files=()
    shift
    while [ "$1" != -- ]; do
        files+=("$1")
        shift
    done
    shift
    note=$(mktemp)
    "$@" &
    command=$!
    watch_silence >/dev/null 2>&1 </dev/null &
    watch=$!
    trap 'kill "$command" "$watch" 2>/dev/null; rm -f "$note"' EXIT
    trap 'exit 130' INT TERM
    wait "$command"
    status=$?
    [ ! -s "$note" ] || status=124
    exit "$status"
)

# The watch of until_silent, whose variables it uses.
watch_silence() {
    local began newest
    began=$(date +%s)
    while sleep 2; do
        kill -0 "$command" || return
        newest=$({ echo "$began"; stat -c %Y "${files[@]}"; } | sort -n | tail -1)
        [ $(($(date +%s) - newest)) -ge "$seconds" ] || continue
        echo silent >"$note"
        kill -TERM "$command"
        sleep 5
        kill -KILL "$command"
        return
    done
}
