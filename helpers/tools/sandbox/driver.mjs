// The resident interpreter of the WASM rung: Pyodide under Deno, which grants reading its own files and nothing
// else (no network, environment, processes, writing, foreign functions). Frames as in agent.py.
const [settings] = Deno.args;
const config = JSON.parse(settings);
const { loadPyodide } = await import(config.pyodide + "pyodide.mjs");

// WebAssembly memory grows by request: past the limit it no longer does, and Python raises MemoryError.
const grow = WebAssembly.Memory.prototype.grow;
WebAssembly.Memory.prototype.grow = function (pages) {
  if (this.buffer.byteLength + pages * 65536 > config.memory) throw new RangeError("memory limit");
  return grow.call(this, pages);
};

// Emscripten asks the runtime for these; denied, it would take the question for a crash.
for (const name of ["getuid", "geteuid", "getgid", "getegid"]) globalThis.process[name] = () => 1000;

const out = (bytes) => {
  for (let at = 0; at < bytes.length; ) at += Deno.stdout.writeSync(bytes.subarray(at));
};
const text = new TextEncoder();
let snapshot;
try {
  snapshot = Deno.readFileSync(config.pyodide + "snapshot.bin");
} catch {
  snapshot = undefined; // not made, or made for another version: load from the beginning
}
const python = await loadPyodide({ indexURL: config.pyodide, env: { HOME: "/mnt/data" }, _loadSnapshot: snapshot });
const stream = { write: (buffer) => (out(buffer), buffer.length), isatty: false };
python.setStdout(stream);
python.setStderr(stream);
python.setStdin({ stdin: () => null });
python.FS.mkdirTree("/mnt/data");
if (config.data) {
  python.FS.mkdirTree("/data");
  python.mountNodeFS("/data", config.data);
}
python.runPython(config.cell);
python.runPython("import os; os.chdir('/mnt/data')\nfor _n in ('exit', 'quit'): NAMESPACE.setdefault(_n, sys.exit)");
const runCell = python.globals.get("run_cell");

async function* lines(readable) {
  let buffer = new Uint8Array(0);
  const reader = readable.getReader();
  const more = async () => {
    const { value, done } = await reader.read();
    if (done) Deno.exit(0);
    const joined = new Uint8Array(buffer.length + value.length);
    joined.set(buffer);
    joined.set(value, buffer.length);
    buffer = joined;
  };
  while (true) {
    let end;
    while ((end = buffer.indexOf(10)) < 0) await more();
    const frame = JSON.parse(new TextDecoder().decode(buffer.subarray(0, end)));
    buffer = buffer.slice(end + 1);
    while (buffer.length < frame.size) await more();
    frame.code = new TextDecoder().decode(buffer.subarray(0, frame.size));
    buffer = buffer.slice(frame.size);
    yield frame;
  }
}

let count = 0;
for await (const frame of lines(Deno.stdin.readable)) {
  out(text.encode(`\n\0BEGIN ${frame.nonce}\n`));
  let status = "ok";
  if (frame.code) {
    try {
      status = runCell(frame.code, ++count);
    } catch (error) {
      // Python catches its own exceptions, so this is the runtime's end: an exit, an abort, a crash.
      out(text.encode(String(error).slice(0, 2000) + "\n"));
      Deno.exit(1);
    }
  }
  out(text.encode(`\n\0END ${frame.nonce} ${status}\n`));
}
