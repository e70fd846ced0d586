// A TLS origin that speaks HTTP/2 and HTTP/1.1: ADDRESS CERTIFICATE KEY → its port on the first line.
import { readFileSync } from "node:fs";
import { createSecureServer } from "node:http2";

const [address, cert, key] = process.argv.slice(2);
const server = createSecureServer(
  { cert: readFileSync(cert), key: readFileSync(key), allowHTTP1: true },
  (request, response) => response.end(`over HTTP/${request.httpVersion}`),
);
server.listen(0, address, () => console.log(server.address().port));
