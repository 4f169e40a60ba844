#!/bin/sh
# Slurm's controller calls this when a job has ended: as EpilogSlurmctld, or as the program of
# jobcomp/script. It queues the upload that the job's comment names:
#
#   --comment='farmhaul {"path": "/mnt/prod/f.%04d.exr [1001-1240]", "version_id": "…", "publish": "main"}'
#
# After "farmhaul " comes one line of a manifest (farmhaul enqueue --manifest). In a job array, the
# path names the task as in Slurm's own file names: %a, or %4a for four digits.

# Set these three. Slurm calls its hooks without PATH, HOME and arguments.
PATH=/usr/local/bin:/usr/bin:/bin # where scontrol and python3 are
HOOK=/opt/farmhaul-hook/farmhaul-hook.pyz
LOG=/var/log/slurm/farmhaul.log

export PATH

# A failure would only add a line to slurmctld's log.
trap 'exit 0' EXIT
# With "command", the shell continues if the log cannot be written.
log=
command exec 2>/dev/null >>"$LOG" && exec 2>&1 && log=$LOG

odd='s/\xc2[\x80-\x9f]/?/g; s/\xe2\x80[\x8b-\x8f\xa8-\xae]/?/g; s/\xe2\x81[\xa0-\xaf]/?/g; s/\xef\xbb\xbf/?/g; s/\xd8\x9c/?/g'

say() {
    # echo would read backslashes, and a job's comment could then write lines of its own. tr takes
    # single bytes, and sed what turns the text of a terminal around, or is a command to it. A
    # comment may have 128 kB, and a hundred times as much with the numbers of its task.
    text="job $job: $(printf '%s' "$*" | head -c 16384 | tr '[:cntrl:]' ' ' | LC_ALL=C sed "$odd")"
    { [ -n "$log" ] && printf '%s %s\n' "$(date +%Y-%m-%dT%H:%M:%S)" "$text"; } ||
        logger -t farmhaul -- "$LOG cannot be written; $text"
}

if [ -n "${JOBSTATE:-}" ]; then
    # jobcomp/script. Only it gets the state: PENDING for a requeue, FAILED for a failure.
    job=$JOBID task=$ARRAYTASKID
    [ "$ARRAYJOBID" = 0 ] && task=
    [ "$JOBSTATE" = COMPLETED ] || {
        say "$JOBSTATE; nothing is queued"
        exit 0
    }
    # It does not get the comment. Slurm remembers ended jobs for MinJobAge (300 s).
    shown=$(timeout --kill-after=1 2 scontrol show job "$job" 2>&1) || {
        say "scontrol does not show it ($shown), so its comment is not known; nothing is queued." \
            "If the comment names an upload, enqueue it by hand"
        exit 0
    }
    comment=$(printf '%s\n' "$shown" | sed -n '/^ *Comment=/ { s///p; q; }')
else
    # EpilogSlurmctld. A requeue looks like a success, and so may a job that is cancelled; see
    # README.md.
    job=$SLURM_JOB_ID task=${SLURM_ARRAY_TASK_ID:-} comment=${SLURM_JOB_COMMENT:-}
    [ "${SLURM_JOB_EXIT_CODE2:-0:0}" = 0:0 ] || {
        say "exit code $SLURM_JOB_EXIT_CODE2; nothing is queued"
        exit 0
    }
    # A job that has run out of time, lost its node or been cancelled has 0:0, too. Only scontrol
    # tells a reason, and the state and the signal if the job has ended by now.
    ended=$(timeout --kill-after=1 2 scontrol show job "$job" 2>/dev/null |
        sed -nE "/^JobId=$job /,/^ *$/ { s/^ *JobState=([^ ]*) (Reason=[^ ]*).*/\1 \2/p; s/^ *Requeue=.* (ExitCode=[^ ]*).*/\1/p; }" |
        tr '\n' ' ')
    case $ended in
    CANCELLED* | PREEMPTED* | BOOT_FAIL* | REVOKED* | *=TimeLimit* | *=NodeDown* | *=*Fail* | *=OutOfMemory* | *=DeadLine* | *=InactiveLimit* | *ExitCode=0:[1-9]*)
        say "$ended; nothing is queued"
        exit 0
        ;;
    esac
fi

case $comment in
'farmhaul '*) line=${comment#farmhaul } ;;
*[Ff]armhaul*)
    say "the comment does not begin with 'farmhaul ' and a JSON object; nothing is queued: $comment"
    exit 0
    ;;
*)
    say "the comment names no upload; nothing is queued"
    exit 0
    ;;
esac

# shellcheck disable=SC2016 # the program is awk's
number='{
    while (match($0, /%[0-9]?[0-9]?a/)) {
        width = substr($0, RSTART + 1, RLENGTH - 2) + 0
        printf "%s%0" width "d", substr($0, 1, RSTART - 1), task
        $0 = substr($0, RSTART + RLENGTH)
    }
    print
}'
same='"(component_id|name|publish)" *: *"[^"%]*"'
# Without the objects in it, such as metadata.
if [ -n "$task" ] && printf '%s\n' "$line" | sed 's/\(.\){[^{}]*}/\1/g' | grep -Eq "$same"; then
    say "all tasks of the array would have one component or publish; nothing is queued. Write a" \
        "version_id without a name, or %4a into the name"
    exit 0
fi
case ${task:+array}$line in
array*%a* | array*%[0-9]a* | array*%[0-9][0-9]a*)
    line=$(printf '%s\n' "$line" | awk -v task="$task" "$number")
    ;;
array*)
    say "every task of the array would send the same files; nothing is queued. Write %4a into the" \
        "path, or use farmhaul-sbatch.sh to queue the sequence when all tasks have succeeded"
    exit 0
    ;;
esac

# A worker checks the file (--no-stat), because the controller may not mount the storage.
printed=$(printf '%s\n' "$line" |
    timeout --kill-after=1 5 python3 -I -S -X utf8 "$HOOK" enqueue --no-stat --manifest=- 2>&1) ||
    printed="exit code $?: $printed; the upload is $line"
say "$printed"
