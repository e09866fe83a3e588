// A bot that accepts every friend request and echoes every dialogue, with the NATS client for Node.js.
//
//   npm install
//   IM_ID=… IM_ACCOUNT=echo IM_PASSWORD=… node echo.mjs
import {connect} from "@nats-io/transport-node";

const {IM_NATS = "nats://127.0.0.1:4222", IM_ID: id, IM_ACCOUNT: user, IM_PASSWORD: pass, IM_CA: caFile,
  IM_TIMEOUT = 10_000} = process.env;
const tls = caFile ? {caFile} : undefined; // the self-signed certificate of the server
const nc = await connect({servers: IM_NATS, user, pass, inboxPrefix: `_INBOX.${id}`, maxReconnectAttempts: -1, tls,
  timeout: Number(IM_TIMEOUT)}); // after this time the client notices that a busy server has closed the connection during its login
const request = (subject, body) => nc.request(subject, JSON.stringify(body), {timeout: 10_000});

// The subscription makes the user online. An empty answer acknowledges the dialogue.
nc.subscribe(`im.user.${id}.dialogue`, {
  callback: async (error, m) => {
    if (error) throw error;
    const {id: number, from, payload} = m.json();
    m.respond();
    if (!from) return; // an empty dialogue is a presence check
    const answer = await request(`im.send.${id}`, {id: `echo-${number}`, toFriend: from, payload});
    console.log(answer.string());
  },
});

nc.subscribe(`im.user.${id}.notice`, {
  callback: async (error, m) => {
    if (error) throw error;
    const {code, request: ask} = m.json();
    if (code === 520) { // a friend request
      console.log((await request(`im.call.${id}.add`, {from: ask.id, name: ask.name})).string());
    }
  },
});

await nc.flush();
console.log("ready");
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => nc.drain());
await nc.closed();
