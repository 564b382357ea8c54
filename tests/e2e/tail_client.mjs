// tail_client.mjs URL [HEADERS-JSON]: one WebSocket; tells on stdout what happens, a JSON object a line, and obeys
// "pause", "resume" and "close" on stdin.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(process.env.E2E_DIR + "/");
const WebSocket = require("ws");
const [url, headers = "{}"] = process.argv.slice(2);
const say = (event, value) => process.stdout.write(JSON.stringify({ event, value }) + "\n");

const socket = new WebSocket(url, { headers: JSON.parse(headers), perMessageDeflate: true });
socket.on("open", () => say("open", socket.extensions));
socket.on("message", (data, isBinary) => say(isBinary ? "binary" : "message", data.toString()));
socket.on("ping", () => say("ping", ""));
socket.on("close", (code, reason) => {
  say("close", [code, reason.toString()]);
  process.exit(0);
});
socket.on("error", (error) => say("error", error.message));
socket.on("unexpected-response", (request, response) => {
  let body = "";
  response.on("data", (part) => (body += part));
  response.on("end", () => {
    say("refused", [response.statusCode, response.headers["content-type"], body]);
    process.exit(0);
  });
});
createInterface({ input: process.stdin }).on("line", (command) => {
  if (command === "pause") socket.pause();
  if (command === "resume") socket.resume();
  if (command === "close") socket.close(1000, "enough");
  if (command === "text") socket.send("not asked for");
});
