"""A WebSocket echo over TLS: ADDRESS CERTIFICATE KEY -> its port, then a line per session."""

import ssl
import sys

from websockets.sync.server import serve

address, certificate, key = sys.argv[1:]


def echo(connection):
    print(connection.request.path, flush=True)
    for message in connection:
        connection.send(message)


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
with serve(echo, address, 0, ssl=context, max_size=1 << 21) as server:
    print(server.socket.getsockname()[1], flush=True)
    server.serve_forever()
