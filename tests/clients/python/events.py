"""Server-sent events read through the proxy of HTTPS_PROXY and, for comparison, straight from the service:
VERSION URL DIRECT-URL -> a line per event: milliseconds from its sending to its arrival, through and direct.
"""

import sys
import threading
import time

import httpx

version, url, direct = sys.argv[1:]
lags = {}


def read(name, url, **options):
    lags[name] = found = []
    with httpx.Client(http2=version == "2", timeout=20, **options) as client, client.stream("GET", url) as answer:
        assert answer.status_code == 200, (name, answer.status_code, answer.read())
        assert answer.http_version == ("HTTP/2" if version == "2" else "HTTP/1.1"), (name, answer.http_version)
        for line in answer.iter_lines():
            if line.startswith("data: "):
                found.append(time.time() * 1000 - int(line[6:]))


# Machines that are busy delay everything: the direct connection says by how much.
control = threading.Thread(target=read, args=("direct", direct), kwargs={"verify": False, "trust_env": False})
control.start()
read("through", url)
control.join()
for through, straight in zip(lags["through"], lags["direct"], strict=True):
    print(f"{through:.0f} {straight:.0f}")
