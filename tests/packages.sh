# Installs what tests want, where that can be done without asking anybody: as root or by sudo without a password, by
# apt. Sourced. It refuses to remove a package and to start what it installs.

# Those of these "path of it, and its package" that are not there, as packages.
missing_packages() {
    local need
    for need in "$@"; do
        [ -e "${need% *}" ] || printf '%s\n' "${need##* }"
    done
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

have_root() {
    [ "$(id -u)" -eq 0 ] || { command -v sudo >/dev/null && sudo -n true 2>/dev/null; }
}

# Why packages cannot be installed here, if so.
may_install() {
    command -v apt-get >/dev/null || { echo "there is no apt-get"; return 1; }
    have_root || { echo "only root may install"; return 1; }
}

# The version of a package that this distribution has. apt pads names to ten columns, so the bars are what separates.
distribution_version() {
    apt-cache madison "$1" | awk -F'|' 'NR == 1 { gsub(/ /, "", $2); print $2 }'
}

# Fetches the lists of packages where this one is not on them, or where they are older than a day or than the list of
# sources: versions in old lists may no longer exist, and newer ones are in none.
provide_lists() {
    [ -n "$(distribution_version "$1")" ] && [ "$(age_of_lists)" -lt 86400 ] && return
    as_root apt-get update --quiet </dev/null
    # An old list is better than none, and what it lacks is reported by the installation.
    [ -n "$(distribution_version "$1")" ]
}

# Seconds since the lists were last fetched, which changes apt's folders even where no list has changed; since 1970 where a
# source was entered after that.
age_of_lists() {
    local fetched entered
    fetched=$(newest /var/lib/apt/lists /var/lib/apt/lists/partial)
    entered=$(newest /etc/apt/sources.list /etc/apt/sources.list.d /etc/apt/sources.list.d/*)
    [ "$fetched" -gt "$entered" ] || fetched=0
    echo $(($(date +%s) - fetched))
}

# When the newest of these files was changed, in seconds since 1970; 0 where there is none.
newest() {
    { echo 0; stat -c %Y "$@" 2>/dev/null; } | sort -n | tail -1
}

# Installs the packages that are named, by apt-get with the options among them.
install_packages() {
    local policy=/usr/sbin/policy-rc.d made="" status
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null && as_root chmod +x $policy && made=yes
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install --yes --quiet \
        --no-install-recommends --no-remove "$@" </dev/null
    status=$?
    [ -z "$made" ] || as_root rm -f $policy
    return $status
}

apt_said() {
    echo "$1: $(grep -E '^(E|Err|W):' "$2" | head -1) (all of it in $2)"
}

# provide_udevadm DIRECTORY, whose path is absolute: prints the path of an udevadm that has `verify`, which systemd 254 brought: the machine's, or
# that of Debian 12's backports, unpacked into the directory. Nothing of it is installed.
provide_udevadm() {
    local newer=$1/udevadm
    if udevadm verify --help >/dev/null 2>&1; then command -v udevadm; return; fi
    if [ ! -x "$newer/run" ]; then
        command -v apt-get >/dev/null || { echo "there is no apt-get to fetch a newer udevadm"; return 1; }
        mkdir -p "$1"
        unpack_udevadm "$newer" >"$1/udevadm.log" 2>&1 || { apt_said "could not fetch a newer udevadm" "$1/udevadm.log"; return 1; }
    fi
    echo "$newer/run"
}

unpack_udevadm() (
    rm -rf "$1" && mkdir -p "$1"/{lists,cache/archives}/partial && touch "$1/status" && cd "$1" || return
    echo 'deb http://deb.debian.org/debian bookworm-backports main' >sources.list
    cat >apt.conf <<END
Dir::Etc::SourceList "$1/sources.list"; Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "$1/lists"; Dir::State::Status "$1/status"; Dir::Cache "$1/cache";
END
    export APT_CONFIG=$1/apt.conf
    apt-get update --quiet && apt-get download udev libsystemd-shared || return
    for package in *.deb; do dpkg-deb -x "$package" unpacked || return; done
    printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "$1/unpacked/usr/lib/$(uname -m)-linux-gnu/systemd" \
        "$1/unpacked/bin/udevadm" >run && rm -rf lists cache ./*.deb && chmod +x run
)
