// A bot that accepts every friend request and echoes every dialogue, also those that it has missed.
//
//   npm install
//   IM_ID=… IM_ACCOUNT=echo IM_PASSWORD=… node echo.mjs
import {connect as connectNATS} from "@nats-io/transport-node";
import {connect} from "imctl-client";

const {IM_NATS = "nats://127.0.0.1:4222", IM_ID: id, IM_ACCOUNT: user, IM_PASSWORD: pass, IM_CA: caFile,
  IM_TIMEOUT = 10_000} = process.env;
const tls = caFile ? {caFile} : undefined; // the self-signed certificate of the server
const nats = await connectNATS({servers: IM_NATS, user, pass, inboxPrefix: `_INBOX.${id}`, maxReconnectAttempts: -1, tls,
  timeout: Number(IM_TIMEOUT)}); // after this time the client notices that a busy server has closed the connection during its login

const bot = await connect({
  nats, id,
  async onDialogue({id: key, with: friend, payload, n, reacts, edits, deletes}, client) {
    if (reacts || edits || deletes) return;
    // The id follows from the dialogue, so that the server stores the echo once, however often the bot sends it.
    console.log(await client.send(friend, payload, {id: `echo-${n ?? key}`, re: n}));
  },
  onNotice({code, request}, client) {
    if (code === 520) client.accept(request).catch(console.error); // a friend request
  },
});
console.log("ready");
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => bot.close().then(() => nats.drain()));
await nats.closed();
