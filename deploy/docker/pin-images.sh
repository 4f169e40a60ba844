#!/bin/sh
# Pin the images of others by digest: in docker-compose.yml, the Dockerfile and the manifests for
# Kubernetes, each tag gets the digest that its registry has for it now. Run it again to renew them.
#
# It needs docker with buildx, and a way to the registry. If one image cannot be looked up, nothing
# is written.
set -eu
cd "$(dirname "$0")/../.."

files='docker-compose.yml deploy/docker/Dockerfile deploy/kubernetes/redis.yaml'
# Names such as farmhaul:latest are your own; FROM base is a stage of the Dockerfile.
# shellcheck disable=SC2086 # the names have no spaces
images=$(sed -nE 's/^ *(image:|FROM) +([a-z0-9./-]+:[A-Za-z0-9._-]+)(@[a-z0-9:]+)?( .*)?$/\2/p' $files | sort -u)
edits=$(mktemp)
trap 'rm -f "$edits"' EXIT
for image in $images; do
    digest=$(docker buildx imagetools inspect "$image" --format '{{.Manifest.Digest}}')
    case $digest in
    sha256:*[!0-9a-f]* | '') digest= ;;
    sha256:*) ;;
    *) digest= ;;
    esac
    [ ${#digest} -eq 71 ] || {
        echo "pin-images.sh: the registry names no digest for $image; nothing was changed" >&2
        exit 1
    }
    echo "$image@$digest"
    pattern=$(printf '%s' "$image" | sed 's/[.]/\\./g')
    # Not echo, which takes \1 for a character.
    printf 's#((image:|FROM) +%s)(@[a-z0-9:]+)?( |$)#\\1@%s\\4#\n' "$pattern" "$digest" >>"$edits"
done
for file in $files; do
    sed -E -f "$edits" "$file" >"$file.pinned"
    cat "$file.pinned" >"$file" # its owner and mode stay
    rm "$file.pinned"
done
