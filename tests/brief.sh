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
        'lab result: '* | 'wine result: '*)
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

# The tests that failed, of what cargo test said on standard input: of each its name, and the options of cargo for its program.
failed_tests() {
    awk '$1 == "Running" && $2 == "unittests" { program = "--lib" }
        $1 == "Running" && $2 != "unittests" { sub(/.*\//, "", $2); sub(/\.rs$/, "", $2); program = "--test " $2 }
        /^test .* \.\.\. FAILED$/ { print $2, program }'
}

# The names that the run of a lab takes for what failed of it, of what it said on standard input; none if that was all of it.
failed_parts() {
    awk '/^test .* \.\.\. FAILED$/ { print $2 }
        /^FAILED  [a-z]+:/ { sub(/:.*/, "", $2); print $2; next }
        /^FAILED / { all = 1 }
        END { if (all) print "all of it" }' | sort -u | sed '/^all of it$/,$d'
}
