#!/usr/bin/env python3
"""Measure Exitgate beside Squid, tinyproxy and a bare relay. See bench/README.md.

Everything is on loopback. Wants root, because tinyproxy asks whatever resolver the machine names:
it gets a private /etc/resolv.conf, and the benchmark's name server listens on 127.0.0.1:53.
"""
import argparse
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from string import Template

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RUN = HERE / "run"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
LOAD = TARGET / "release" / "exitgate-bench"
GATEWAY = TARGET / "release" / "exitgate"
BASE, PORT = 9400, 9480
SQUID_CERTGEN = "/usr/lib/squid/security_file_certgen"
CA = RUN / "ca.pem"
PROXY_CA, PROXY_KEY = RUN / "proxy-ca.pem", RUN / "proxy-ca.key"
CPUS = os.cpu_count() or 1
LOAD_CPU, PROXY_CPU = "0", str(CPUS - 1)
ALLOWED = "echo.origin.test"
sys.path.insert(0, str(HERE))
import documents  # noqa: E402  (beside this file)
import report  # noqa: E402


def pinned(cpu, command):
    return ["taskset", "-c", cpu, *map(str, command)]


def with_resolver(command):
    """The command in a mount namespace of its own, where /etc/resolv.conf is ours."""
    conf = RUN / "resolv.conf"
    conf.write_text("nameserver 127.0.0.1\noptions timeout:2 attempts:2\n")
    script = f'mount --bind "{conf}" /etc/resolv.conf && exec "$@"'
    return ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", *map(str, command)]


def wait_for(port, process, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"ended with {process.returncode}, see its log in {RUN}")
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
            return
        except OSError:
            time.sleep(0.01)
    raise RuntimeError("its port did not open")


def fill(name, target, **values):
    target.write_text(Template((HERE / "peers" / name).read_text()).substitute(values))
    return target


# --- the proxies -----------------------------------------------------------------------------
def relay(folder, hosts):
    return [LOAD, "relay", "--listen", f"127.0.0.1:{PORT}"]


def relay_splice(folder, hosts):
    return [*relay(folder, hosts), "--splice"]


def squid(folder, hosts, bump=False):
    rules = "http_access allow localhost"
    if hosts:
        rules = f'acl listed dstdomain "{documents.host_file(folder, hosts, ALLOWED)}"\n{rules} listed'
    soft = int(subprocess.run(["sh", "-c", "ulimit -Hn"], capture_output=True, text=True).stdout)
    options = ""
    if bump:
        shutil.rmtree(folder / "certificates", ignore_errors=True)
        certgen = [SQUID_CERTGEN, "-s", folder / "certificates", "-M", "64MB"]
        subprocess.run([*map(str, certgen), "-c"], check=True, stdout=subprocess.DEVNULL)
        for path in (folder / "certificates").rglob("*"):
            shutil.chown(path, "proxy", "proxy")
        shutil.chown(folder / "certificates", "proxy", "proxy")
        options = " ssl-bump generate-host-certificates=on dynamic_cert_mem_cache_size=64MB " \
                  f"tls-cert={PROXY_CA} tls-key={PROXY_KEY}"
        rules += "\n" + (HERE / "peers" / "squid-bump.conf").read_text()
        rules = Template(rules).substitute(certgen=" ".join(map(str, certgen)), ca=CA)
    conf = fill("squid.conf", folder / "squid.conf", port=PORT, dir=folder, rules=rules, descriptors=soft,
                options=options)
    shutil.chown(folder, "proxy", "proxy")
    return [shutil.which("squid") or "/usr/sbin/squid", "-N", "-f", conf]


def tinyproxy(folder, hosts):
    conf = fill("tinyproxy.conf", folder / "tinyproxy.conf", port=PORT, dir=folder)
    return with_resolver([shutil.which("tinyproxy") or "/usr/bin/tinyproxy", "-d", "-c", conf])


def squid_bump(folder, hosts):
    return squid(folder, hosts, bump=True)


def exitgate(folder, hosts, rules=10, opening=False):
    policies = folder / "policies"
    shutil.rmtree(policies, ignore_errors=True)
    policies.mkdir()
    if hosts:
        documents.list_policy(policies, hosts, ALLOWED)
    else:
        documents.rule_policy(policies, rules, BASE)
    if opening:
        documents.opening(policies, BASE, CA, PROXY_CA, PROXY_KEY)
    return [GATEWAY, "up", policies, "--listen", f"127.0.0.1:{PORT}", "--dns-server", "127.0.0.1:53",
            "--records", folder / "records.jsonl"]


def exitgate_opening(folder, hosts, **options):
    return exitgate(folder, hosts, opening=True, **options)


PEERS = {
    "direct": None,
    "bare relay": relay,
    "bare relay (splice)": relay_splice,
    "Squid": squid,
    "tinyproxy": tinyproxy,
    "Exitgate": exitgate,
    "Squid (opening TLS)": squid_bump,
    "Exitgate (opening TLS)": exitgate_opening,
}
TUNNELS = ["direct", "bare relay", "Squid", "tinyproxy", "Exitgate"]
HTTP = ["direct", "Squid", "tinyproxy", "Exitgate"]
# A tunnel that stays closed is the floor of those that are opened.
OPENED = ["direct", "bare relay", "Squid (opening TLS)", "Exitgate (opening TLS)"]
# mode: who takes part, arguments of the load, segment size, all parties on one CPU
MODES = {
    "connect-rate": (TUNNELS, ["--workers", "32"], 0, False),
    "tls-connect-rate": (TUNNELS, ["--workers", "32"], 0, True),
    "ping-pong": (TUNNELS, ["--workers", "1"], 0, True),
    "bulk": ([*TUNNELS, "bare relay (splice)"], ["--workers", "4"], 1448, False),
    "forward-rps": (HTTP, ["--workers", "32"], 0, False),
    "tls-http1": (OPENED, ["--workers", "16"], 0, False),
    "tls-http2": (["direct", "bare relay", "Exitgate (opening TLS)"], ["--workers", "16"], 0, False),
    "tls-http2-many": (["direct", "bare relay", "Exitgate (opening TLS)"], ["--workers", "4"], 0, False),
    # The same without wake-ups across CPUs, which cost more in a virtual machine than the work.
    "forward-rps@1": (HTTP, ["--workers", "32"], 0, True),
    "tls-http1@1": (OPENED, ["--workers", "16"], 0, True),
    "tls-new": (OPENED, ["--workers", "16"], 0, False),
    "tls-new-reuse": (OPENED, ["--workers", "16"], 0, False),
    "tls-new-name": (OPENED, ["--workers", "16"], 0, False),
    "idle": (TUNNELS[1:], ["--count", "4000"], 0, False),
}


class Proxy:
    """A running proxy; `direct` is the one that has no process."""

    def __init__(self, name, hosts=0, **options):
        self.name, self.process, self.ready = name, None, 0.0
        if PEERS[name] is None:
            return
        folder = RUN / name.lower().translate(str.maketrans(" ", "-", "(),"))
        folder.mkdir(parents=True, exist_ok=True)
        command = PEERS[name](folder, hosts, **options)
        started = time.monotonic()
        with open(folder / "log", "wb") as log:
            self.process = subprocess.Popen(pinned(PROXY_CPU, command), cwd=folder, start_new_session=True,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_for(PORT, self.process, 120)
        except RuntimeError:
            self.stop()
            raise
        self.ready = time.monotonic() - started

    def move(self, cpu):
        if self.process:
            subprocess.run(["taskset", "-a", "-c", "-p", cpu, str(self.process.pid)],
                           check=True, stdout=subprocess.DEVNULL)

    def stop(self):
        if not self.process:
            return
        self.process.terminate()
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for _ in range(50):  # the next one wants the port
            try:
                socket.create_connection(("127.0.0.1", PORT), 0.2).close()
                time.sleep(0.1)
            except OSError:
                return


class Origin:
    def __init__(self, mss):
        command = [LOAD, "origin", "--base", BASE, "--ca", CA, "--dns", "127.0.0.1:53", "--mss", mss]
        self.process = subprocess.Popen(pinned(LOAD_CPU, command), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL)
        wait_for(BASE, self.process, 10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def load(mode, proxy, origin, arguments=(), seconds=2.0, mss=0, one_cpu=False):
    command = [LOAD, "load", mode.partition("@")[0], "--base", BASE, "--ca", CA, "--seconds", seconds, "--mss", mss,
               "--trust", PROXY_CA, "--origin-pids", origin.process.pid, *arguments]
    if proxy.process:
        command += ["--proxy", f"127.0.0.1:{PORT}", "--pids", proxy.process.pid]
    if one_cpu:
        proxy.move(LOAD_CPU)
    try:
        done = subprocess.run(pinned(LOAD_CPU, command), capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return {"failed": "took more than 60 s"}
    finally:
        if one_cpu:
            proxy.move(PROXY_CPU)
    if done.returncode:
        return {"failed": done.stderr.strip()[-200:]}
    return json.loads(done.stdout)


# --- the measurements ------------------------------------------------------------------------
def say(*what):
    print(*what, flush=True)


def compare(results, options):
    """Rounds interleave the peers, so that noise of the machine spreads over all of them."""
    table = results.setdefault("modes", {})
    for mode in options.modes:
        for peer in options.peers:
            table.get(mode, {}).pop(peer, None)
    took = 0
    for number in range(options.rounds):
        # The long list and the 60 GETs come after the rounds and take up to two and a half minutes.
        started = time.monotonic()
        if number and started + took + 150 > options.deadline:
            say(f"{options.minutes} minutes do not hold another round: {number} were measured")
            break
        for mss in sorted({MODES[m][2] for m in options.modes}):
            with Origin(mss) as origin:
                for peer in options.peers:
                    todo = [m for m in options.modes if peer in MODES[m][0] and MODES[m][2] == mss]
                    if "idle" in todo and number > 0:
                        todo.remove("idle")
                    if todo:
                        one_peer(table, number, peer, todo, origin, options)
        took = time.monotonic() - started


def one_peer(table, number, peer, modes, origin, options):
    for group in ([m for m in modes if m != "idle"], [m for m in modes if m == "idle"]):
        if not group:
            continue
        try:
            proxy = Proxy(peer)
        except (OSError, RuntimeError) as e:
            say(f"{peer}: does not start: {e}")
            return
        time.sleep(0.3)
        for mode in group:
            _, arguments, mss, one_cpu = MODES[mode]
            row = load(mode, proxy, origin, arguments, options.seconds, mss, one_cpu)
            table.setdefault(mode, {}).setdefault(peer, []).append(row)
            say(f"{number} {mode:17} {peer:20}", report.brief(row))
        proxy.stop()


def big_list(results, options):
    """What a list of a million exact names costs over one of ten."""
    rows = results.setdefault("list", {})
    with Origin(0) as origin:
        for peer in [p for p in ("Squid", "Exitgate") if p in options.peers]:
            rows[peer] = {}
            for size in (10, options.list):
                try:
                    proxy = Proxy(peer, hosts=size)
                except (OSError, RuntimeError) as e:
                    say(f"{peer}: does not start with {size} hosts: {e}")
                    continue
                time.sleep(0.5)
                got = [load("connect-rate", proxy, origin, ["--workers", "16"], options.seconds)
                       for _ in range(options.rounds)]
                other = load("connect-rate", proxy, origin, ["--workers", "1", "--count", "3",
                                                             "--host", "other.origin.test"])
                proxy.stop()
                rows[peer][str(size)] = {"ready_s": round(proxy.ready, 2), "runs": got,
                                         "refused": other.get("operations") == 0 and other.get("errors", 0) > 0}
                say(f"list of {size} {peer:10} ready {proxy.ready:.2f} s", report.brief(got[-1]),
                    "refuses others" if rows[peer][str(size)]["refused"] else "DOES NOT REFUSE OTHERS")


def gets(results, options):
    """60 GETs, each on a new connection."""
    rows = results.setdefault("gets", {})
    cases = [("direct", "direct", {}), ("Squid", "Squid", {}), ("tinyproxy", "tinyproxy", {}),
             ("Exitgate, 10 rules", "Exitgate", {"rules": 10}),
             ("Exitgate, 10,000 rules", "Exitgate", {"rules": 10_000}),
             ("direct, https", "direct", {}),
             ("Squid, https opened", "Squid (opening TLS)", {}),
             ("Exitgate, https opened", "Exitgate (opening TLS)", {})]
    with Origin(0) as origin:
        for name, peer, settings in cases:
            if peer not in options.peers:
                continue
            try:
                proxy = Proxy(peer, **settings)
            except (OSError, RuntimeError) as e:
                say(f"{name}: does not start: {e}")
                continue
            time.sleep(0.3)
            mode = "tls-new-reuse" if "https" in name else "get"
            load(mode, proxy, origin, ["--workers", "1", "--count", "5"])
            rows[name] = load(mode, proxy, origin, ["--workers", "1", "--count", "60"])
            rows[name]["ready_s"] = round(proxy.ready, 2)
            say(f"60 GETs {name:24}", rows[name].get("latency_us"), rows[name].get("first_error") or "")
            proxy.stop()


def resident(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def flood(results, options):
    """Names that nobody asked for before, and what they do to memory and to another client."""
    rows = results["flood"] = {"asked": 0, "refused": 0, "rss_kib": [], "meanwhile": []}
    other = ["--workers", "1"]

    def beside(mode, proxy, origin):
        """What the other client sees while 32 others ask, and what those got."""
        command = [LOAD, "load", mode, "--base", BASE, "--ca", CA, "--trust", PROXY_CA, "--seconds", 12,
                   "--workers", 32, "--proxy", f"127.0.0.1:{PORT}"]
        crowd = subprocess.Popen(pinned(LOAD_CPU, command), stdout=subprocess.PIPE, text=True)
        time.sleep(1)
        seen = load("tls-new-reuse", proxy, origin, other, 10)
        return seen, json.loads(crowd.communicate()[0])

    with Origin(0) as origin:
        proxy = Proxy("Exitgate (opening TLS)")
        time.sleep(0.3)
        load("tls-new-reuse", proxy, origin, other, 1)
        rows["alone"] = load("tls-new-reuse", proxy, origin, other, 5)
        rows["known"], _ = beside("tls-new", proxy, origin)
        rows["rss_kib"].append(resident(proxy.process))
        while rows["asked"] < options.flood:
            seen, done = beside("tls-new-name", proxy, origin)
            rows["meanwhile"].append(seen)
            rows["asked"] += done["operations"] + done["errors"]
            rows["refused"] += done["errors"]
            rows["rss_kib"].append(resident(proxy.process))
            say(f"{rows['asked']} new names, {rows['refused']} refused, {rows['rss_kib'][-1]} KiB resident")
        proxy.stop()


def machine():
    model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())
    version = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return {"cpu": model, "cpus": CPUS, "kernel": platform.release(), "commit": version.stdout.strip(),
            "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")}


def arguments():
    a = argparse.ArgumentParser(description=__doc__)
    names = lambda known: lambda text: [n for n in (p.strip() for p in text.split(",")) if n in known]
    a.add_argument("--peers", type=names(PEERS), default=list(PEERS), help="comma-separated")
    a.add_argument("--modes", type=names(MODES), default=list(MODES), help="comma-separated; empty for none")
    a.add_argument("--rounds", type=int, default=3)
    a.add_argument("--seconds", type=float, default=2.0)
    a.add_argument("--minutes", type=float, default=12, help="no round begins that would not end in time")
    a.add_argument("--list", type=int, default=1_000_000, help="size of the long list; 0 leaves it out")
    a.add_argument("--flood", type=int, default=0, help="so many names that were not asked for before; takes minutes")
    a.add_argument("--no-gets", action="store_true", help="leave out the 60 GETs")
    a.add_argument("--no-build", action="store_true", help="measure the binaries that are there")
    a.add_argument("--keep", action="store_true", help="add to the results of the last run")
    return a.parse_args()


def main():
    options = arguments()
    if os.geteuid() != 0:
        sys.exit("the benchmark wants root: port 53 on loopback and a mount namespace for tinyproxy")
    if not options.no_build:
        subprocess.run(["cargo", "build", "--release", "--locked", "-p", "exitgate", "-p", "exitgate-bench"],
                       cwd=ROOT, check=True)
    options.deadline = time.monotonic() + 60 * options.minutes
    RUN.mkdir(exist_ok=True)
    RUN.chmod(0o755)
    out = RUN / "results.json"
    results = json.loads(out.read_text()) if options.keep and out.exists() else {}
    results["machine"] = machine()
    subprocess.run([LOAD, "authority", "--cert", PROXY_CA, "--key", PROXY_KEY], check=True)
    PROXY_KEY.chmod(0o640)
    shutil.chown(PROXY_KEY, group="proxy") if shutil.which("squid") else None
    try:
        compare(results, options)
        if options.list:
            big_list(results, options)
        if not options.no_gets:
            gets(results, options)
        if options.flood:
            flood(results, options)
    finally:
        out.write_text(json.dumps(results, indent=1))
        text = report.markdown(results)
        out.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
