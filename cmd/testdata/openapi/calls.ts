// Makes calls with the types that openapi-typescript generates from docs/openapi.yaml.
import createClient from "openapi-fetch";
import type {paths} from "./schema.js";

const [baseUrl = "", account = "", id = "", token = ""] = process.argv.slice(2);
const client = createClient<paths>({baseUrl});
const body = {account, password: "correct horse", mail: "john@example.com"};

const registered = await client.POST("/im/register", {body});
console.log("register", registered.data?.code, registered.data?.message);
const again = await client.POST("/im/register", {body});
console.log("register", again.data?.code, again.data?.message);

const {data: people} = await client.GET("/im/friends/found", {params: {query: {id, token, name: account}}});
if (people?.code !== 200) throw new Error(people?.message);
console.log("found", people.code, people.found?.[0]?.name);

const {data: updated} = await client.POST("/im/profile/update", {body: {id, token, sign: "Back from Mars"}});
console.log("profile", updated?.code, updated?.message);
