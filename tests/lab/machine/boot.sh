# Boots the guest and runs a job in it. Sourced by `run`, which sets $lab and $here; provide.sh sets the rest.
# It refuses to know what the job does.

# boot SECONDS [systemd] <job: runs the script that it reads from stdin by bash in the guest, as root, in the current
# directory, under systemd or without.
# Its output comes out on stdout while it runs. Exit status: the job's, or 124 if for so many seconds nothing came from the
# guest, or 125 if it broke down; then the end of the console is shown.
boot() {
    local seconds=$1 share status line
    share=$(mktemp -d "$lab/boot.XXXXXX") || return 125
    cat >"$share/job"
    cp "$here/machine/start" "$share/start"
    printf 'here=%q kernel=%q cwd=%q first=%q share=%q\n' "$here" "$kernel" "$PWD" "${2-}" "$share" >"$share/settings"
    until_silent "$seconds" "$share" "$share/console" "$share/progress" -- qemu "$share" </dev/null |
        while IFS= read -r line || [ -n "$line" ]; do
            echo "$line" >"$share/progress"
            printf '%s\n' "$line"
        done
    status=${PIPESTATUS[0]}
    if [ -s "$share/status" ]; then
        status=$(cat "$share/status")
    else
        [ "$status" -eq 124 ] || status=125
        show_console "$share/console" "$status" "$seconds"
    fi
    rm -rf "$share"
    return "$status"
}

show_console() {
    if [ "$2" -eq 124 ]; then
        echo "lab: nothing came from the guest for $3 s; the end of its console:"
    else
        echo "lab: the guest broke down; the end of its console:"
    fi
    tail -n 60 "$1" | tr -d '\r' | sed 's/^/    /'
}

# The machine: processors in software (KVM hangs where it is nested), the host's file system read-only, a folder to
# exchange files, a port for the job's output, one for QEMU's own monitor, and USB devices that QEMU simulates. One
# processor, or $LAB_PROCESSORS: a second one costs the kernel more than it gives, unless all that runs is one program.
# The guest believes the time stamp counter, which it would mistrust in a simulated processor: its other clock is a
# simulated HPET, and each look at that one stops the processor for a while.
# The monitor's port leads to the monitor's socket, so that the guest can press keys and pull out devices.
qemu() {
    local share=$1 nine=security_model=none,multidevs=remap
    (cd "$share" && exec /usr/bin/qemu-system-x86_64 \
        -accel tcg,thread=multi -smp "${LAB_PROCESSORS:-1}" -cpu max -M q35 -m 1024 \
        -nodefaults -no-user-config -display none -no-reboot \
        -kernel "$kernel/boot/vmlinuz-$(release)" -initrd "$initrd" \
        -append "console=ttyS0 loglevel=5 log_buf_len=16M panic=-1 oops=panic tsc=reliable clocksource=tsc usbpipe.lab" \
        -serial file:console \
        -virtfs "local,path=/,mount_tag=hostroot,readonly=on,$nine" \
        -virtfs "local,path=.,mount_tag=lab,$nine" \
        -device virtio-serial-pci \
        -chardev file,id=output,path=/dev/stdout,append=on -device virtserialport,chardev=output,name=output \
        -chardev socket,id=monitor,path=monitor,server=on,wait=off -mon chardev=monitor,mode=control \
        -chardev socket,id=monitor-port,path=monitor -device virtserialport,chardev=monitor-port,name=monitor \
        -chardev socket,id=ftdi,path=ftdi,server=on,wait=off \
        -chardev socket,id=ftdi-port,path=ftdi -device virtserialport,chardev=ftdi-port,name=ftdi \
        -audiodev wav,id=wav,path=audio.wav,out.frequency=48000 \
        -device qemu-xhci,id=xhci -device usb-ehci,id=ehci \
        -device usb-kbd,id=kbd,bus=xhci.0 \
        -device usb-serial,id=ftdi,chardev=ftdi,bus=xhci.0 \
        -device usb-audio,id=audio,audiodev=wav,bus=xhci.0)
}
