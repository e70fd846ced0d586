"""requests through a proxy: PROXY CA URL... -> one line per URL: status and body, or the error's type."""

import sys

import requests

proxy, ca, *urls = sys.argv[1:]
for url in urls:
    try:
        answer = requests.get(url, proxies={"http": proxy, "https": proxy}, verify=ca, timeout=20)
        print(answer.status_code, answer.headers.get("Exitgate-Reason", "-"), answer.text.strip()[:40])
    except requests.RequestException as error:
        print("error", type(error).__name__)
