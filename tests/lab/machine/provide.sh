# Gets what the lab needs: packages, a kernel with its modules, an initial ramdisk. Sourced by `run`, which sets $lab and
# $here and has sourced ../packages.sh.
# It refuses to change anything but packages and $lab: no service is started, no package removed. Every function that
# cannot do its job prints why on one line and returns 1.

kernel=$lab/kernel
initrd=$lab/initrd

# What must be there, as "a path of it, and its package". Under sbin or /lib: not everybody's PATH has it.
needs=(
    "/usr/bin/qemu-system-x86_64 qemu-system-x86"
    "/bin/busybox busybox-static"
    "/bin/cpio cpio"
    "/sbin/modprobe kmod"
    "/usr/bin/lsusb usbutils"
    "/usr/sbin/usbip usbip"
    "/usr/include/libusb-1.0/libusb.h libusb-1.0-0-dev"
    "/lib/systemd/systemd-udevd udev"
    "/lib/systemd/systemd systemd"
    "/usr/bin/timeout coreutils"
    "/bin/ip iproute2"
    "/bin/ps procps"
    "/usr/bin/dpkg-shlibdeps dpkg-dev"
    "/usr/bin/dh_builddeb debhelper"
)

# The kernel's release, as in `uname -r`.
release() {
    ls "$kernel/lib/modules"
}

provide_machine() {
    [ "$(uname -sm)" = "Linux x86_64" ] || { echo "the guest runs what is built here, which works on Linux on x86_64 only"; return 1; }
}

provide_packages() {
    local packages why
    mapfile -t packages < <(missing_packages "${needs[@]}")
    [ ${#packages[@]} -eq 0 ] && return
    why=$(may_install) || { echo "${packages[*]} missing, and $why"; return 1; }
    echo "installing ${packages[*]}" >&2
    install_machine "${packages[@]}" >"$lab/apt.log" 2>&1 || { apt_said "could not install ${packages[*]}" "$lab/apt.log"; return 1; }
    mapfile -t packages < <(missing_packages "${needs[@]}")
    [ ${#packages[@]} -eq 0 ] || { echo "${packages[*]} missing even after installing"; return 1; }
}

# A machine may carry a newer qemu-utils than the distribution's QEMU goes with; then apt would remove it: it is set to
# the distribution's version instead.
install_machine() {
    provide_lists qemu-system-x86 || return
    if dpkg-query -W -f '${Status}' qemu-utils 2>/dev/null | grep -q ' installed$'; then
        set -- "$@" "qemu-utils=$(distribution_version qemu-system-x86)"
    fi
    install_packages --allow-downgrades "$@"
}

# Fills $kernel with boot/vmlinuz-* and lib/modules.
provide_kernel() {
    local package
    [ ! -e "$kernel/complete" ] || return 0
    command -v apt-get >/dev/null || { echo "no kernel, and there is no apt-get to fetch one"; return 1; }
    if have_root; then provide_lists qemu-system-x86 >"$lab/apt.log" 2>&1; fi
    package=$(kernel_package)
    [ -n "$package" ] || { echo "no kernel: apt knows no linux-image-amd64 (apt-get update)"; return 1; }
    echo "fetching $package" >&2
    unpack_kernel "$package" >"$lab/apt.log" 2>&1 || { apt_said "could not fetch $package" "$lab/apt.log"; return 1; }
}

kernel_package() {
    apt-cache depends linux-image-amd64 2>/dev/null | awk '/Depends: linux-image-/ { print $2; exit }'
}

unpack_kernel() {
    rm -rf "$kernel" && mkdir -p "$kernel" && (cd "$kernel" && apt-get download "$1") || return
    dpkg-deb -x "$kernel"/*.deb "$kernel" && rm -r "$kernel"/*.deb "$kernel/usr" || return
    /sbin/depmod -b "$kernel" "$(ls "$kernel/lib/modules")" && touch "$kernel/complete"
}

# Makes $initrd: busybox, what is needed to reach the host's file system, and the init beside this file.
provide_initrd() {
    local root=$lab/initrd.d module
    rm -rf "$root" && mkdir -p "$root/bin" "$root/modules" && cp /bin/busybox "$root/bin" || return
    install -m 755 "$here/machine/init" "$root/init" || return
    for module in virtio_pci 9pnet_virtio 9p overlay virtio_console; do
        /sbin/modprobe -d "$kernel" -S "$(release)" --show-depends "$module" || return
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$lab/initrd.modules"
    while read -r module; do
        cp "$module" "$root/modules/" && basename "$module" >>"$root/modules/order" || return
    done <"$lab/initrd.modules"
    (cd "$root" && find . | cpio --quiet -o -H newc) >"$initrd.$$" && mv "$initrd.$$" "$initrd"
}
