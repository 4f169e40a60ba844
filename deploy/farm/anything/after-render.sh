#!/bin/bash
# after-render.sh RENDER-COMMAND... -- ENQUEUE-ARGUMENTS...
# Runs a render and, if it succeeds, queues its files. The exit code is the render's.
#
#   after-render.sh blender -b shot.blend -a -- '/mnt/prod/f.####.exr [1-240]' --version-id UUID

HOOK=/opt/farmhaul/hook/farmhaul-hook

render=()
while (($#)) && [[ $1 != -- ]]; do
    render+=("$1")
    shift
done
if (($# < 2 || ! ${#render[@]})); then
    echo "after-render.sh: write RENDER-COMMAND -- ENQUEUE-ARGUMENTS" >&2
    exit 2
fi
shift

"${render[@]}" || exit
"$HOOK" "$@" || echo "farmhaul: the upload was not queued (exit code $?)" >&2
exit 0
