#!/bin/sh
# Write the secrets that docker-compose.yml mounts to FOLDER, or to deploy/docker/secrets.
# Existing files are kept, so you can run it again.
#
#   FTRACK_API_KEY=… deploy/docker/make-secrets.sh [FOLDER]
#   FTRACK_API_KEY_FILE=/path/of/key deploy/docker/make-secrets.sh [FOLDER]
set -eu
folder=${1:-$(dirname "$0")/secrets}

case ${FTRACK_API_KEY:-} in *…*)
    echo "FTRACK_API_KEY is still the … of the documentation: write the API key of ftrack in its place" >&2
    exit 2 ;;
esac

# The folder protects the secrets from other users of this machine. The files themselves must be
# readable, because a container mounts them one by one and its user does not exist here.
umask 077
mkdir -p "$folder"
chmod 700 "$folder"

random() { head -c 32 /dev/urandom | base64 | tr '+/' '-_'; }

keep() { # keep NAME: write stdin to the file NAME, atomically
    cat > "$folder/$1.new"
    chmod 444 "$folder/$1.new"
    mv "$folder/$1.new" "$folder/$1"
    echo "created $folder/$1" >&2
}

whole=yes
for name in redis_auth redis_url_hook redis_url_operator redis_url_worker redis_url_flower \
    redis_url_exporter redis_password_admin redis_password_health; do
    [ -e "$folder/$name" ] || whole=no
done
if [ $whole = no ]; then
    # The users and the URLs contain the same passwords, so all are created together.
    passwords=$(mktemp -d)
    trap 'rm -rf "$passwords"' EXIT
    for user in hook operator worker flower exporter admin health; do
        random | tr -d '=\n' > "$passwords/$user"
    done
    for user in hook operator worker flower exporter; do
        printf 'redis://%s:%s@redis:6379/0\n' "$user" "$(cat "$passwords/$user")" |
            keep "redis_url_$user"
    done
    # For redis-cli, which takes a password from the environment, but a URL from its command line.
    for user in admin health; do
        keep "redis_password_$user" < "$passwords/$user"
    done
    sh "$(dirname "$0")/../redis/make-acl.sh" "$passwords" > "$passwords/acl"
    keep redis_auth < "$passwords/acl"
fi
# A Fernet key is 32 bytes in URL-safe base64, which is what random prints.
[ -e "$folder/secret_key" ] || random | keep secret_key
# Empty: without FARMHAUL_NOTIFY_URL, nothing is posted.
[ -e "$folder/notify_url" ] || printf '%s' "${FARMHAUL_NOTIFY_URL:-}" | keep notify_url
[ -e "$folder/flower_auth" ] || printf 'farmhaul:%s\n' "$(random | tr -d '=')" | keep flower_auth
[ -e "$folder/grafana_password" ] || random | tr -d '=\n' | keep grafana_password

if [ ! -e "$folder/ftrack_api_key" ]; then
    if [ -n "${FTRACK_API_KEY:-}" ]; then
        printf '%s\n' "$FTRACK_API_KEY" | keep ftrack_api_key
    elif [ -n "${FTRACK_API_KEY_FILE:-}" ]; then
        keep ftrack_api_key < "$FTRACK_API_KEY_FILE"
    else
        echo "$folder/ftrack_api_key is missing: the API key of FTRACK_API_USER." >&2
        echo "Set FTRACK_API_KEY or FTRACK_API_KEY_FILE, and run this script again." >&2
        exit 2
    fi
fi
