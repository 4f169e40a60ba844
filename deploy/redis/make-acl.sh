#!/bin/sh
# Prints deploy/redis/users.acl with the passwords' SHA-256 filled in, for aclfile.
#
#   deploy/redis/make-acl.sh PASSWORDS > /etc/redis/users.acl
#
# PASSWORDS is a folder with a file for each user: hook, worker, flower, exporter. Letters,
# digits, - and _ only, since they also stand in URLs.
set -eu
folder=${1:?the folder of the passwords; see the head of this script}
acl=$(cat "$(dirname "$0")/users.acl")
for user in hook worker flower exporter; do
    password=$(cat "$folder/$user") || exit 2
    case $password in
        '' | *[!A-Za-z0-9_-]*)
            echo "$folder/$user: letters, digits, - and _ only, and at least one" >&2
            exit 2 ;;
    esac
    hash=$(printf %s "$password" | sha256sum | cut -d ' ' -f 1)
    acl=$(printf '%s\n' "$acl" | sed "s/PASSWORD_OF_$user/#$hash/")
done
# An ACL file knows no comments.
printf '%s\n' "$acl" | grep '^user '
