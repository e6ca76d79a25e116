// npm's @nostr-relay/core as a relay on 127.0.0.1, with its events in memory: node relay.mjs PORT, in a folder where it is installed.
import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(join(process.cwd(), "relay.mjs"));
const { NostrRelay } = require("@nostr-relay/core");
const { EventRepositorySqlite } = require("@nostr-relay/event-repository-sqlite");
const { WebSocketServer } = require("ws");

const events = new EventRepositorySqlite(":memory:");
await events.init();
const relay = new NostrRelay(events);
const server = new WebSocketServer({ host: "127.0.0.1", port: Number(process.argv[2]) });
server.on("connection", (socket) => {
  relay.handleConnection(socket);
  socket.on("message", (data) => {
    relay.handleMessage(socket, JSON.parse(data.toString())).catch((error) => console.error(error.message));
  });
  socket.on("close", () => relay.handleDisconnect(socket));
  socket.on("error", (error) => console.error(error.message));
});
