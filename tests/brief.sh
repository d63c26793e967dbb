# What tests say, made brief. Sourced.

# Of what cargo test and the labs say on standard input, prints a line for each program of tests and each suite of a lab,
# what was skipped and why, and all that was said by what failed.
brief() {
    local line name="" part="" ok=0 held=()
    while IFS= read -r line; do
        case $line in
        '' | *' Compiling '* | *' Downloading '* | *' Downloaded '* | *' Locking '* | *' Updating '* | *' Finished '*) ;;
        'skipped: '*) echo "$line" ;;
        '     Running '* | '   Doc-tests '* | '== the '*)
            name=${line#* Running } name=${name% (*} name=${name#== the } name=${name#*Doc-}
            part=tests held=()
            ;;
        failures:)
            # The first of two: before it is what passed, after the second there are only names.
            [ "$part" = failures ] || held=()
            part=failures
            ;;
        'test result: ok. 0 passed; 0 '*) part="" held=() ;;
        'test result: '*)
            [ "$part" != failures ] || printf '%s\n' "${held[@]}"
            line=${line#test result: }
            printf '%-30s %s; %s\n' "$name" "${line%; * ignored*}" "${line##*finished in }"
            part="" held=()
            ;;
        '-- lab '*)
            end_suite
            name=${line%%,*} part=suite ok=0
            ;;
        'ok '*) ok=$((ok + 1)) ;;
        'lab result: '* | 'wine result: '* | 'fuzz result: '*)
            end_suite
            echo "$line"
            ;;
        *) if [ "$part" = tests ] || [ "$part" = failures ]; then held+=("$line"); else printf '%s\n' "$line"; fi ;;
        esac
    done
    # Of a program that did not come to its end.
    [ ${#held[@]} -eq 0 ] || printf '%s\n' "$name" "${held[@]}"
}

end_suite() {
    [ "$part" != suite ] || printf '%-30s %d passed\n' "${name#-- }" "$ok"
    part=""
}
