#!/bin/sh
# A program in a container that has the device by its pipes: the run dir is mounted into it, nothing else. No --device,
# no privileges; and where `--device` would be stale after a replug, these names go on.
set -eu
dir=${1:?usage: container.sh DIR [podman|docker|bwrap]}
. "${0%/*}/need-demo"
dir=$(realpath "$dir")
inside='exec 3</usb/uno/serial.rx; echo "PING from inside" >/usb/uno/serial.tx; head -n1 <&3'
works() { # a command may be there without what it needs
    case $1 in bwrap) bwrap --unshare-all --ro-bind / / true ;; *) "$1" info ;; esac >/dev/null 2>&1
}
for engine in ${2-podman docker bwrap none}; do
    works "$engine" && break
done
case $engine in
podman | docker) exec "$engine" run --rm --network none -v "$dir:/usb" busybox sh -c "$inside" ;;
# No image, no daemon: this system's programs, read-only, in namespaces of their own.
bwrap) exec bwrap --unshare-all --die-with-parent --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib \
    --symlink usr/lib64 /lib64 --bind "$dir" /usb sh -c "$inside" ;;
*) echo "container.sh: neither podman nor docker nor bwrap (the package bubblewrap) works here" >&2 && exit 1 ;;
esac
