// Upload with ftrack's own JavaScript client, as a browser would, and read with it.
//
//     node upload.mjs URL USER KEY VERSION_ID SEQUENCE_ID
//
// Prints what became of each upload, and of each frame of the sequence, as one JSON object.

import http from "node:http";
import { createHash, randomBytes } from "node:crypto";
import { Session } from "@ftrack/api";

const [url, user, key, versionId, sequenceId] = process.argv.slice(2);

// What the client uses of a browser.
globalThis.window = {
  navigator: { onLine: true },
  addEventListener() {},
  removeEventListener() {},
};

// Called when a request begins to send.
let onSend = () => {};

globalThis.XMLHttpRequest = class {
  upload = { addEventListener() {} };
  status = 0;
  readyState = 0;
  #headers = {};

  addEventListener() {}

  open(method, address) {
    this.request = http.request(address, { method });
    // From the start: a request may be aborted before it is sent.
    this.request.on("error", () => this.aborted || this.onerror?.());
  }

  setRequestHeader(name, value) {
    this.#headers[name] = value;
  }

  getResponseHeader(name) {
    return this.response.headers[name.toLowerCase()] ?? null;
  }

  async send(blob) {
    onSend();
    await new Promise((resolve) => setTimeout(resolve, 5));
    const body = Buffer.from(await blob.arrayBuffer());
    for (const [name, value] of Object.entries(this.#headers)) {
      this.request.setHeader(name, value);
    }
    this.request.setHeader("Content-Length", body.length);
    this.request.on("response", (response) => {
      this.response = response;
      response.on("error", () => {}); // of a request that was aborted
      response.resume().on("end", () => {
        this.status = response.statusCode;
        this.readyState = 4;
        this.onreadystatechange?.();
        this.onload?.();
      });
    });
    if (!this.aborted) this.request.end(body);
  }

  abort() {
    this.aborted = true;
    this.request.destroy();
    this.onabort?.();
  }
};

const md5 = (bytes) => createHash("md5").update(bytes).digest("hex");

async function read(session, componentId) {
  const answer = await fetch(session.getComponentUrl(componentId));
  return answer.ok ? md5(Buffer.from(await answer.arrayBuffer())) : null;
}

async function upload(session, name, size, aborts = false) {
  const bytes = randomBytes(size);
  const controller = new AbortController();
  const id = crypto.randomUUID();
  // Not at once: the client first notes the request.
  if (aborts) onSend = () => setTimeout(() => controller.abort());
  const ended = new Promise((resolve) => {
    const options = {
      name,
      data: { id, version_id: versionId },
      signal: controller.signal,
      onAborted: () => resolve("aborted"),
    };
    session
      .createComponent(new Blob([bytes]), options)
      .then(() => resolve("uploaded"), (error) => resolve(String(error)));
  });
  const outcome = await ended;
  const same = outcome === "uploaded" && (await read(session, id)) === md5(bytes);
  return { id, outcome, same };
}

const session = new Session(url, user, key, { autoConnectEventHub: false });
await session.initializing;
const members = await session.query(
  `select name, file_type, size from FileComponent where container_id is "${sequenceId}"`,
);
const frames = {};
for (const frame of members.data) frames[frame.name] = await read(session, frame.id);
console.log(
  JSON.stringify({
    frames,
    one: await upload(session, "one part.mov", 200_000),
    many: await upload(session, "many parts.mov", 17 << 20),
    aborted: await upload(session, "aborted.mov", 17 << 20, true),
  }),
);
