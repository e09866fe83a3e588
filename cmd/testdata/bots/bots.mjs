// Bots with the NATS client for Node.js, one connection each. The program reads a JSON array of {id, account, password}
// from standard input, and writes a line for each event: "up N" when bot N can talk to NATS, and "error N MESSAGE" or
// "closed N MESSAGE" for what a bot must not see.
import {connect} from "@nats-io/transport-node";
import {text} from "node:stream/consumers";

const bots = JSON.parse(await text(process.stdin));
const say = (...words) => console.log(words.join(" "));

async function up(nc, n) {
  await nc.flush();
  say("up", n);
}

async function run({id, account: user, password: pass}, n) {
  const nc = await connect({servers: process.env.IM_NATS, user, pass, inboxPrefix: `_INBOX.${id}`,
    maxReconnectAttempts: -1, waitOnFirstConnect: true, timeout: 10_000});
  nc.subscribe(`im.user.${id}.dialogue`, {callback: (error, m) => error ? say("error", n, error.message) : m.respond()});
  nc.closed().then((error) => say("closed", n, error?.message ?? ""));
  await up(nc, n);
  for await (const s of nc.status()) {
    if (s.type === "error") say("error", n, s.error.message);
    // An error of the flush means that the connection is lost again, and "reconnect" comes once more.
    if (s.type === "reconnect") up(nc, n).catch(() => {});
  }
}

bots.forEach((bot, n) => run(bot, n).catch((error) => say("closed", n, error.message)));
