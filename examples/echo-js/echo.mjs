// A bot that accepts every friend request and echoes every dialogue, with the NATS client for Node.js. On a server that
// keeps conversations it also answers what it has missed while it was away.
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
const call = async (name, fields) => (await request(`im.call.${id}.${name}`, fields)).json();

// echo answers a dialogue. The id of the answer follows from the dialogue, so that the server stores it once, however
// often the bot sends it. n is undefined on a server that keeps no conversations.
async function echo({id: number, from, payload, n, reacts, edits, deletes}, friend) {
  if (from === id || !payload || reacts || edits || deletes) return;
  const answer = await request(`im.send.${id}`, {id: `echo-${n ?? number}`, toFriend: friend, payload, re: n});
  console.log(answer.string());
}

// catchUp answers the dialogues that no client of the user has acknowledged.
async function catchUp() {
  const {code, talks} = await call("talks", {});
  if (code !== 200) return; // 403: the server keeps no conversations
  for (const {with: friend, last, got} of talks ?? []) {
    for (let after = got; after < last;) {
      const {dialogues} = await call("dialogues", {with: friend, after});
      if (!dialogues) break;
      for (const dialogue of dialogues) await echo(dialogue, friend);
      after = dialogues.at(-1).n;
      await call("got", {with: friend, got: after});
    }
  }
}

// One task after the other: an acknowledgement is cumulative, and must not cover dialogues that the bot has not answered.
let work = Promise.resolve();
const enqueue = (task) => { work = work.then(task).catch((error) => console.error(error)); };
enqueue(catchUp);
(async () => {
  for await (const {type} of nc.status()) if (type === "reconnect") enqueue(catchUp);
})();

// The subscription makes the user online. An empty answer acknowledges the dialogue.
nc.subscribe(`im.user.${id}.dialogue`, {
  callback: (error, m) => {
    if (error) throw error;
    const dialogue = m.json();
    enqueue(() => {
      // An empty dialogue is a presence check. NATS has the echo before the acknowledgement.
      const echoed = dialogue.from ? echo(dialogue, dialogue.from) : undefined;
      m.respond();
      echoed?.catch((failed) => console.error(failed)); // a slow friend delays no other one
    });
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
