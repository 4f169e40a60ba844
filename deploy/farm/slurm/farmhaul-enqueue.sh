#!/bin/sh
#SBATCH --job-name=farmhaul
#SBATCH --ntasks=1
#SBATCH --mem=256M
#SBATCH --time=2
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --kill-on-invalid-dep=yes
# A job that queues the files of another job. Its arguments are those of farmhaul enqueue, with
# %a or %4a for the task of a job array.
#
#   sbatch --dependency=afterok:JOB farmhaul-enqueue.sh '/mnt/prod/f.%04d.exr [1001-1240]' …
#   sbatch --dependency=aftercorr:JOB --array=1001-1240 farmhaul-enqueue.sh /mnt/prod/f.%4a.exr …

# Set these two. The job also has the environment of the user who submitted it.
PATH=/usr/local/bin:/usr/bin:/bin # where scontrol and python3 are
HOOK=/opt/farmhaul-hook/farmhaul-hook.pyz

export PATH

# shellcheck disable=SC2016 # the program is awk's
number='{
    while (match($0, /%[0-9]?[0-9]?a/)) {
        width = substr($0, RSTART + 1, RLENGTH - 2) + 0
        printf "%s%0" width "d", substr($0, 1, RSTART - 1), task
        $0 = substr($0, RSTART + RLENGTH)
    }
    print
}'
if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
    for argument; do
        shift
        set -- "$@" "$(printf '%s\n' "$argument" | awk -v task="$SLURM_ARRAY_TASK_ID" "$number")"
    done
fi

# -I: the variables of a job may break another Python. Paths are UTF-8 in any locale.
python3 -I -S -X utf8 "$HOOK" enqueue "$@"
code=$?
# 3: Redis is not reachable, and the spool cannot be written. Slurm does not run a failed job
# again, but it does run a requeued one, about two minutes later.
if [ "$code" -eq 3 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt 30 ]; then
    echo "farmhaul: not queued; Slurm runs this job again in two minutes" >&2
    scontrol requeue "$SLURM_JOB_ID"
    sleep 30 # until Slurm kills this job; if it exited first, it would count as failed
fi
exit "$code"
