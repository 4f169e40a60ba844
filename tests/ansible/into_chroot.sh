#!/bin/sh
# Stands in for ssh, which Ansible calls as "ssh OPTIONS HOST COMMAND": the host is a chroot below
# ROOTS, with the folder STORAGE at /mnt/prod. Mounts end with the command.
set -eu
while [ $# -gt 2 ]; do shift; done
root="$ROOTS/$1" command=$2
export root command STORAGE
# shellcheck disable=SC2016 # the inner shell expands them
exec unshare --mount --uts --propagation private sh -c '
    hostname "$(basename "$root")"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount --bind "$STORAGE" "$root/mnt/prod"
    exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
        chroot "$root" /bin/sh -c "$command"'
