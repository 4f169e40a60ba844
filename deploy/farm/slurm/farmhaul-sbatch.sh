#!/bin/bash
# Submits a render and a job that uploads its files: two jobs, two ids on stdout.
#
#   farmhaul-sbatch.sh ENQUEUE-ARGUMENTS -- SBATCH-ARGUMENTS
#   farmhaul-sbatch.sh '/mnt/prod/f.%04d.exr [1001-1240]' --version-id UUID --name main -- \
#       --array=1001-1240 render.sh
#
# The upload is queued once, when the whole render has succeeded (afterok). With %a or %4a in
# ENQUEUE-ARGUMENTS, it is queued for each task of the array that has succeeded (aftercorr).
set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
upload=()
while (($#)) && [[ $1 != -- ]]; do
    upload+=("$1")
    shift
done
if (($# < 2)); then
    echo "farmhaul-sbatch.sh: no job after --; see the head of ${here}/farmhaul-sbatch.sh" >&2
    exit 2
fi
shift

render=$(sbatch --parsable "$@")
render=${render%%;*} # a federation appends its cluster
echo "$render"
targeted=' --(component-id|version-id|context|manifest)[ =]'
if [[ ! " ${upload[*]} " =~ $targeted ]]; then
    echo "farmhaul-sbatch.sh: no ftrack id given: job $render renders, but nothing is queued" >&2
    exit 0
fi

condition=(--dependency="afterok:$render")
if [[ "${upload[*]}" =~ %[0-9]*a ]]; then
    named=
    for word in "${upload[@]}"; do
        case $named$word in
        --name=*%*a* | --component-id=*%*a*) named= ;;
        --name=* | --component-id=*)
            echo "farmhaul-sbatch.sh: job $render renders, but nothing is queued: all frames would be" \
                "one component; leave out $named$word, or write %4a into it" >&2
            exit 2
            ;;
        --name | --component-id) named=$word= ;;
        esac
    done
    # Started tasks have lines of their own. %4 at the end limits how many run at once.
    array=$(SLURM_BITSTR_LEN=0 scontrol show job --oneliner "$render" |
        sed -En 's/^JobId=[^ ]* ArrayJobId=[^ ]* ArrayTaskId=([^ %]+).*/\1/p' | paste -sd,) || true
    if [[ -z $array ]]; then
        echo "farmhaul-sbatch.sh: job $render renders, but nothing is queued: %a needs a job array," \
            "and scontrol shows none for this job" >&2
        exit 2
    fi
    condition=(--dependency="aftercorr:$render" --array="$array")
fi
sbatch --parsable "${condition[@]}" "$here/farmhaul-enqueue.sh" "${upload[@]}" || {
    code=$?
    echo "farmhaul-sbatch.sh: job $render renders, but nothing is queued: sbatch has refused the" \
        "job of the upload. Submit farmhaul-enqueue.sh with ${condition[*]}" >&2
    exit "$code"
}
