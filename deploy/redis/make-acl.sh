#!/bin/sh
# Print deploy/redis/users.acl with the SHA-256 of each password filled in, for Redis' aclfile.
#
#   deploy/redis/make-acl.sh PASSWORDS > /etc/redis/users.acl
#
# PASSWORDS is a folder with a file for each user: hook, operator, worker, flower, exporter, admin
# and health. A password may contain only letters, digits, - and _, because it is part of a URL.
set -eu
folder=${1:?give the folder of the passwords; see the first lines of this script}
acl=$(cat "$(dirname "$0")/users.acl")
for user in hook operator worker flower exporter admin health; do
    password=$(cat "$folder/$user") || exit 2
    case $password in
        '' | *[!A-Za-z0-9_-]*)
            echo "$folder/$user: a password needs at least one character; only letters, digits, - and _ are allowed" >&2
            exit 2 ;;
    esac
    hash=$(printf %s "$password" | sha256sum | cut -d ' ' -f 1)
    acl=$(printf '%s\n' "$acl" | sed "s/PASSWORD_OF_$user/#$hash/")
done
# An ACL file cannot contain comments.
printf '%s\n' "$acl" | grep '^user '
