// A TLS service over HTTP/2 and HTTP/1.1: ADDRESS CERTIFICATE KEY → its port, then a line per request that reached it.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createSecureServer } from "node:http2";

const [address, cert, key] = process.argv.slice(2);
const seen = (request) => console.log(`${request.method} ${request.url} HTTP/${request.httpVersion}`);

// COUNT events, one every EVERY milliseconds, each with the time at which it was sent.
function events(query, response) {
  response.writeHead(200, { "content-type": "text/event-stream" });
  const [count, every] = [Number(query.get("count")), Number(query.get("every"))];
  let sent = 0;
  const timer = setInterval(() => {
    response.write(`data: ${Date.now()}\n\n`);
    sent += 1;
    if (sent === count) {
      clearInterval(timer);
      response.end();
    }
  }, every);
  response.on("close", () => clearInterval(timer));
}

const server = createSecureServer(
  { cert: readFileSync(cert), key: readFileSync(key), allowHTTP1: true },
  (request, response) => {
    seen(request);
    const url = new URL(request.url, "https://service");
    if (url.pathname === "/events") return events(url.searchParams, response);
    let length = 0;
    request.on("data", (chunk) => (length += chunk.length));
    request.on("end", () => response.end(`${request.method} ${length} over HTTP/${request.httpVersion}`));
  },
);

// A WebSocket that greets and closes; anything longer is the business of a WebSocket library.
server.on("upgrade", (request, socket) => {
  seen(request);
  const key = request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  socket.write(
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
      `Sec-WebSocket-Accept: ${createHash("sha1").update(key).digest("base64")}\r\n\r\n`,
  );
  socket.write(Buffer.concat([Buffer.from([0x81, 5]), Buffer.from("hello")]));
  socket.end(Buffer.from([0x88, 2, 0x03, 0xe8]));
});
server.on("sessionError", () => {});
server.on("tlsClientError", () => {});
server.listen(0, address, () => console.log(server.address().port));
