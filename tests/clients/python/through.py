"""Python clients as the environment says (HTTPS_PROXY and the variables of each): CLIENT METHOD URL... -> a line per
request: status, reason of a refusal, the issuer of the certificate seen, body.

CLIENT is requests, httpx, httpx2 (HTTP/2) or strict (http.client with the strict verification flags).
"""

import http.client
import os
import ssl
import sys
import urllib.parse


def issuer(session):
    names = [pair for part in session.getpeercert()["issuer"] for pair in part] if session else []
    return dict(names).get("commonName", "-")


def show(status, headers, seen, body):
    print(status, headers.get("Exitgate-Reason") or "-", seen, body.strip().split("\n")[0], sep="|", flush=True)


def with_requests(method, url):
    import requests

    with requests.request(method, url, data=b"sent" if method == "POST" else None, stream=True, timeout=20) as answer:
        # A connection that ends with its answer has been let go of by now.
        connection = answer.raw._connection
        seen = issuer(connection.sock) if connection and connection.sock else "-"
        show(answer.status_code, answer.headers, seen, answer.text)


def with_httpx(http2):
    import httpx

    client = httpx.Client(http2=http2, timeout=20)

    def ask(method, url):
        with client.stream(method, url, content=b"sent" if method == "POST" else None) as answer:
            seen = issuer(answer.extensions["network_stream"].get_extra_info("ssl_object"))
            answer.read()
            assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1"), answer.http_version
            show(answer.status_code, answer.headers, seen, answer.text)

    return ask


def strict(method, url):
    context = ssl.create_default_context()
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    target, proxy = urllib.parse.urlsplit(url), urllib.parse.urlsplit(os.environ["HTTPS_PROXY"])
    connection = http.client.HTTPSConnection(proxy.hostname, proxy.port, context=context, timeout=20)
    connection.set_tunnel(target.hostname, target.port)
    connection.connect()
    seen = issuer(connection.sock)
    # The port belongs into Host, which this client takes from the proxy's connection otherwise.
    connection.request(method, target.path, b"sent" if method == "POST" else None, {"Host": target.netloc})
    answer = connection.getresponse()
    show(answer.status, answer.headers, seen, answer.read().decode())


clients = {
    "requests": lambda: with_requests,
    "httpx": lambda: with_httpx(False),
    "httpx2": lambda: with_httpx(True),
    "strict": lambda: strict,
}
name, *words = sys.argv[1:]
ask = clients[name]()
for method, url in zip(words[::2], words[1::2]):
    ask(method, url)
