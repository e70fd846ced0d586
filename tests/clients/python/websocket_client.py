"""WebSocket sessions as the environment says (HTTPS_PROXY, SSL_CERT_FILE): URL... -> a line per URL."""

import os
import sys

from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

messages = ["hello", b"\x00\xff" * 300, "ü" * 40_000, os.urandom(1 << 20), ""]
for url in sys.argv[1:]:
    try:
        with connect(url, open_timeout=20, max_size=1 << 21) as session:
            for message in messages:
                session.send(message)
                assert session.recv(timeout=20) == message
            # A ping must come back as the pong to it.
            assert session.ping(b"probe").wait(20)
            issuer = dict(pair for part in session.socket.getpeercert()["issuer"] for pair in part)["commonName"]
        print("echoed", len(messages), session.close_code, issuer, sep="|")
    except InvalidStatus as error:
        answer = error.response
        print("refused", answer.status_code, answer.headers.get("Exitgate-Reason", "-"), "-", sep="|")
