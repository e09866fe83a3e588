// A user who accepts every friend and sends back whatever it is told, by the NATS client for Node.
//
//   npm install
//   IM_ID=… IM_ACCOUNT=echo IM_PASSWORD=… node echo.mjs
import {connect} from "@nats-io/transport-node";

const {IM_NATS = "nats://127.0.0.1:4222", IM_ID: id, IM_ACCOUNT: user, IM_PASSWORD: pass} = process.env;
const nc = await connect({servers: IM_NATS, user, pass, inboxPrefix: `_INBOX.${id}`, maxReconnectAttempts: -1});
const request = (subject, body) => nc.request(subject, JSON.stringify(body), {timeout: 10_000});

// Whoever subscribes here is online. An empty answer says that the dialogue was taken.
nc.subscribe(`im.user.${id}.dialogue`, {
  callback: async (error, m) => {
    if (error) throw error;
    const {id: number, from, payload} = m.json();
    m.respond();
    if (!from) return; // an empty dialogue only asks whether somebody is here
    const answer = await request(`im.send.${id}`, {id: `echo-${number}`, toFriend: from, payload});
    console.log(answer.string());
  },
});

nc.subscribe(`im.user.${id}.notice`, {
  callback: async (error, m) => {
    if (error) throw error;
    const {code, request: ask} = m.json();
    if (code === 520) { // somebody asks to be a friend
      console.log((await request(`im.call.${id}.add`, {from: ask.id, name: ask.name})).string());
    }
  },
});

await nc.flush();
console.log("ready");
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => nc.drain());
await nc.closed();
