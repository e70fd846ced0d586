// fetch as the environment says (HTTPS_PROXY, NODE_EXTRA_CA_CERTS): METHOD URL... → a line per request:
// status, reason of a refusal, the issuer of the certificate seen, body.
import diagnostics from "node:diagnostics_channel";
import { ProxyAgent, fetch } from "undici";

let issuer = "-";
diagnostics.subscribe("undici:client:connected", ({ socket }) => {
  if (socket.getPeerCertificate) issuer = socket.getPeerCertificate().issuer?.CN ?? "-";
});
const dispatcher = new ProxyAgent(process.env.HTTPS_PROXY);
const words = process.argv.slice(2);
try {
  while (words.length > 0) {
    const [method, url] = words.splice(0, 2);
    const body = method === "POST" ? "sent" : undefined;
    const response = await fetch(url, { method, body, dispatcher });
    const reason = response.headers.get("exitgate-reason") ?? "-";
    const text = (await response.text()).trim().split("\n")[0];
    console.log([response.status, reason, issuer, text].join("|"));
  }
} catch (error) {
  for (let cause = error; cause; cause = cause.cause) console.log("failed", cause.message);
  process.exitCode = 1;
} finally {
  await dispatcher.close().catch(() => {});
}
