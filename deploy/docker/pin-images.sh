#!/bin/sh
# Pin the images of others by digest: in docker-compose.yml, the Dockerfile and the manifests for
# Kubernetes, each tag gets the digest that its registry has for it now. Run it again to renew them.
#
# It needs docker with buildx, and a way to the registry. With a mirror of your own, it needs curl:
#
#   REGISTRY=https://mirror.studio.example deploy/docker/pin-images.sh
#
# If one image cannot be looked up, nothing is written.
set -eu
cd "$(dirname "$0")/../.."

files='docker-compose.yml deploy/docker/Dockerfile deploy/kubernetes/redis.yaml'
# Names such as farmhaul:latest are your own; FROM base is a stage of the Dockerfile.
# shellcheck disable=SC2086 # the names have no spaces
images=$(sed -nE 's/^ *(image:|FROM) +([a-z0-9./-]+:[A-Za-z0-9._-]+)(@[a-z0-9:]+)?( .*)?$/\2/p' $files | sort -u)
edits=$(mktemp)
manifest=$(mktemp)
trap 'rm -f "$edits" "$manifest"' EXIT

digest_of() {
    if [ -z "${REGISTRY:-}" ]; then
        docker buildx imagetools inspect "$1" --format '{{.Manifest.Digest}}'
        return
    fi
    name=${1%:*}
    case $name in */*) ;; *) name=library/$name ;; esac
    curl -fsS --netrc-optional -o "$manifest" "$REGISTRY/v2/$name/manifests/${1##*:}" \
        -H 'Accept: application/vnd.oci.image.index.v1+json' \
        -H 'Accept: application/vnd.docker.distribution.manifest.list.v2+json' || return
    # What a proxy says in its place has none.
    grep -q '"schemaVersion"' "$manifest" || return
    echo "sha256:$(sha256sum "$manifest" | cut -d ' ' -f 1)"
}

for image in $images; do
    digest=$(digest_of "$image") || digest=
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
