"""urllib through a proxy: PROXY CA URL... -> one line per URL: status and body, or the error."""

import ssl
import sys
import urllib.error
import urllib.request

proxy, ca, *urls = sys.argv[1:]
opener = urllib.request.build_opener(
    urllib.request.ProxyHandler({"http": proxy, "https": proxy}),
    urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca)),
)
for url in urls:
    try:
        with opener.open(url, timeout=20) as answer:
            print(answer.status, "-", answer.read().decode().strip()[:40])
    except urllib.error.HTTPError as error:
        print(error.code, error.headers.get("Exitgate-Reason", "-"), "refused")
    except OSError as error:
        print("error", error)
