// A bot that echoes, by WebSocket, with the types of the package.
import {Code, connect} from "imctl-client";

const [url = "", account = "", password = ""] = process.argv.slice(2);
const bot = await connect({
  url, account, password,
  async onDialogue({id, with: friend, payload, n}, client) {
    await client.send(friend, payload, {id: `echo-${n ?? id}`, re: n});
  },
  onNotice({code, request}, client) {
    if (code === Code.friendApplies && request) client.accept(request).catch(console.error);
  },
});
const {people} = await bot.call("people", {q: account});
console.log(bot.id, people?.length ?? 0);
process.once("SIGTERM", () => bot.close());
console.log("closed", await bot.closed);
