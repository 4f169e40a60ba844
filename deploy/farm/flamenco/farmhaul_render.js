// SPDX-License-Identifier: Apache-2.0
// A job type of Flamenco 3.3 and newer: render with Blender, then queue the frames for ftrack.
// Copy it to the folder "scripts" next to flamenco-manager. {farmhaulPython} and {farmhaulHook} are
// variables of the manager: the paths of Python and of farmhaul-hook.pyz on each platform.

const JOB_TYPE = {
    label: "Render, then upload to ftrack",
    settings: [
        { key: "frames", type: "string", required: true,
          eval: "f'{C.scene.frame_start}-{C.scene.frame_end}'",
          description: "Frames to render: 1-250, or 1-100, 120" },
        { key: "chunk_size", type: "int32", default: 1, visible: "submission",
          description: "Frames per task" },
        { key: "render_output_path", type: "string", subtype: "file_path", required: true,
          description: "Path of the frames without suffix: /mnt/prod/sh010/v003/######" },
        { key: "ftrack_version_id", type: "string", default: "",
          description: "The AssetVersion to upload to; if it is empty, nothing is uploaded" },
        { key: "ftrack_name", type: "string", default: "",
          description: "The name of the component; if it is empty, the files give it theirs" },

        { key: "blendfile", type: "string", required: true, visible: "web" },
        { key: "format", type: "string", required: true, visible: "web",
          eval: "C.scene.render.image_settings.file_format" },
        { key: "image_file_extension", type: "string", required: true, visible: "hidden",
          eval: "C.scene.render.file_extension" },
    ],
};

function compileJob(job) {
    const settings = job.settings;
    if (settings.ftrack_version_id
            && settings.frames.split(",").some((range) => range.trim().startsWith("-"))) {
        throw new Error("farmhaul: ftrack has no negative frames; renumber them from 0 or higher");
    }
    // Blender names each movie after its own frames, and makes one for each chunk.
    if (settings.ftrack_version_id && ["FFMPEG", "AVI_RAW", "AVI_JPEG"].includes(settings.format)) {
        throw new Error("farmhaul: " + settings.format + " makes movies; render images");
    }
    const renderTasks = frameChunker(settings.frames, settings.chunk_size).map((chunk) => {
        const task = author.Task("render-" + chunk, "blender");
        task.addCommand(author.Command("blender-render", {
            exe: "{blender}",
            exeArgs: "{blenderArgs}",
            argsBefore: [],
            blendfile: settings.blendfile,
            args: [
                "--render-output", settings.render_output_path,
                "--render-format", settings.format,
                "--render-frame", chunk.split("-").join(".."),
            ],
        }));
        job.addTask(task);
        return task;
    });

    if (!settings.ftrack_version_id) {
        print("farmhaul: the job has no ftrack_version_id; nothing will be uploaded");
        return;
    }
    const upload = author.Task("upload-to-ftrack", "misc");
    upload.addCommand(author.Command("exec", {
        exe: "{farmhaulPython}",
        // -I: the environment of a worker may break another Python. Paths are UTF-8 in any locale.
        args: [
            "-I", "-S", "-X", "utf8", "{farmhaulHook}", "enqueue",
            "--version-id", settings.ftrack_version_id,
        ].concat(
            settings.ftrack_name ? ["--name", settings.ftrack_name] : [],
            ["--", sequence(settings)], // a path is never an option
        ),
    }));
    // All frames or none: the task runs when every render task has succeeded.
    renderTasks.forEach((task) => upload.addDependency(task));
    job.addTask(upload);
}

// /p/###### becomes /p/%06d.exr [1-250], by the last # of the name, as in Blender. If the name has no
// #, Blender appends a number of four digits.
function sequence(settings) {
    const out = settings.render_output_path;
    const name = Math.max(out.lastIndexOf("/"), out.lastIndexOf("\\")) + 1;
    const end = out.lastIndexOf("#") + 1;
    const mark = end > name;
    let start = end;
    while (start > name && out[start - 1] === "#") start -= 1;
    const pattern = mark
        ? out.slice(0, start) + "%0" + (end - start) + "d" + out.slice(end)
        : out + "%04d";
    // Blender appends no extension to a path that ends in it, but a number at the end comes first.
    const extension = settings.image_file_extension;
    const others = { ".jpg": ".jpeg", ".tif": ".tiff" };
    const ends = (text) => text && out.toLowerCase().endsWith(text.toLowerCase());
    const has = mark && (ends(extension) || ends(others[extension.toLowerCase()]));
    return (has ? pattern : pattern + extension) + " [" + settings.frames + "]";
}
