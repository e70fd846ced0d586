// fetch through a proxy: PROXY URL CA → status, then body.
import { readFileSync } from "node:fs";
import { ProxyAgent, fetch } from "undici";

const [proxy, url, ca] = process.argv.slice(2);
const dispatcher = new ProxyAgent({ uri: proxy, requestTls: { ca: readFileSync(ca) } });
try {
  const response = await fetch(url, { dispatcher });
  console.log(response.status);
  console.log(await response.text());
} catch (error) {
  for (let cause = error; cause; cause = cause.cause) console.log("failed", cause.message);
  process.exitCode = 1;
} finally {
  await dispatcher.close().catch(() => {});
}
