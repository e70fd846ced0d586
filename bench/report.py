"""From results to a table that a person can read."""
import statistics

# What we want to reach, for the column of the gateway: (key, goal, unit).
GOALS = {
    "connect-rate": ("cpu_us_per_op", 75, "CPU µs"),
    "tls-connect-rate": ("cpu_us_per_op", 85, "CPU µs"),
    "ping-pong": ("added_us", 12.5, "added p50 µs"),
    "bulk": ("cpu_s_per_gb", 0.45, "CPU s/GB"),
    "forward-rps": ("cpu_us_per_op", 18, "CPU µs"),
    "idle": ("kib_per_tunnel", 8, "KiB"),
    "tls-http1": ("cpu_us_per_op", 18, "CPU µs"),
    "tls-http2": ("cpu_us_per_op", 16, "CPU µs"),
    "forward-rps@1": ("cpu_us_per_op", 18, "CPU µs"),
    "tls-http1@1": ("cpu_us_per_op", 18, "CPU µs"),
    "tls-new": ("cpu_us_per_op", 430, "CPU µs"),
    "tls-new-reuse": ("cpu_us_per_op", 250, "CPU µs"),
    "tls-new-name": ("cpu_us_per_op", 480, "CPU µs"),
}
TITLES = {
    "connect-rate": "CONNECT by name, one byte, close",
    "tls-connect-rate": "TLS handshake through a tunnel, all parties on one CPU",
    "ping-pong": "100 bytes there and back on an open tunnel, all parties on one CPU",
    "bulk": "Bulk download, segments of 1,448 bytes",
    "forward-rps": "Plain HTTP GET, keep-alive",
    "idle": "Idle tunnels",
    "tls-http1": "GET inside opened TLS, HTTP/1.1 keep-alive",
    "tls-http2": "GET inside opened TLS, HTTP/2",
    "tls-http2-many": "GET inside opened TLS, HTTP/2, a hundred at a time on each of 4 connections",
    "forward-rps@1": "Plain HTTP GET, keep-alive, all parties on one CPU",
    "tls-http1@1": "GET inside opened TLS, HTTP/1.1 keep-alive, all parties on one CPU",
    "tls-new": "New opened connection, one GET, the leaf cached",
    "tls-new-reuse": "New opened connection, one GET, the leaf cached, the origin keeps connections",
    "tls-new-name": "New opened connection, one GET, the leaf minted",
}


def brief(row):
    if "failed" in row:
        return f"FAILED {row['failed']}"
    text = f"{row['per_second']:.0f}/s cpu/op {row['cpu_us_per_op']} busy {row['proxy_busy']}/{row['load_busy']}"
    if row["bytes"]:
        text = f"{row['bytes'] * 8e-9 / row['wall_s']:.1f} Gbit/s cpu s/GB {row['cpu_s_per_gb']} busy {row['proxy_busy']}"
    if "kib_per_tunnel" in row:
        text = f"{row['kib_per_tunnel']} KiB each, {row['alive']} of {row['tunnels']} alive"
    return text + (f" {row['errors']} errors: {row['first_error']}" if row["errors"] else "")


def median(rows, *keys):
    values = []
    for row in rows:
        for key in keys:
            row = row.get(key) if isinstance(row, dict) else None
        if row is not None:
            values.append(row)
    return statistics.median(values) if values else None


def number(x, digits=1):
    if x is None:
        return "–"
    return f"{x:,.0f}" if abs(x) >= 100 else f"{x:.{digits}f}"


def columns(mode, rows, direct):
    if mode == "bulk":
        speed = [r["bytes"] * 8e-9 / r["wall_s"] for r in rows]
        return [number(median(rows, "cpu_s_per_gb"), 2), number(statistics.median(speed)),
                number(median(rows, "proxy_busy"), 2)]
    if mode == "idle":
        return [number(median(rows, "kib_per_tunnel")), number((median(rows, "rss_kib") or 0) / 1024),
                f"{rows[0]['alive']} of {rows[0]['tunnels']}"]
    p50 = median(rows, "latency_us", "p50")
    added = number(p50 - direct) if mode == "ping-pong" and direct and p50 else None
    return [number(median(rows, "cpu_us_per_op")), number(median(rows, "per_second")), number(p50),
            *([added or "–"] if mode == "ping-pong" else [number(median(rows, "latency_us", "p99"))])]


HEADS = {
    "bulk": ["CPU s/GB", "Gbit/s", "proxy busy"],
    "idle": ["KiB per tunnel", "resident MiB with all open", "alive"],
    "ping-pong": ["CPU µs/op", "op/s", "p50 µs", "added p50 µs"],
}


def mode_table(mode, peers):
    good = {p: [r for r in rows if "failed" not in r] for p, rows in peers.items()}
    direct = median(good.get("direct", []), "latency_us", "p50")
    head = HEADS.get(mode, ["CPU µs/op", "op/s", "p50 µs", "p99 µs"])
    out = [f"\n### {TITLES[mode]} (`{mode}`)\n", "| | " + " | ".join([*head, "errors"]) + " |",
           "|---|" + "---:|" * (len(head) + 1)]
    for peer, rows in good.items():
        if not rows:
            out.append(f"| {peer} | failed: {peers[peer][0]['failed'][:90]} |" + " |" * len(head))
            continue
        cells = columns(mode, rows, direct)
        if peer == "direct":
            cells[0] = "–"
        out.append(f"| {peer} | " + " | ".join([*cells, number(median(rows, 'errors'), 0)]) + " |")
    return out


def goal_table(modes):
    out = ["\n### Goals\n", "| | goal | Exitgate | best of Squid and tinyproxy | |", "|---|---:|---:|---:|---|"]
    for mode, (key, goal, unit) in GOALS.items():
        if mode not in modes:
            continue
        peers = {p: [r for r in rows if "failed" not in r] for p, rows in modes.get(mode, {}).items()}
        base = median(peers.get("direct", []), "latency_us", "p50") or 0

        def value(peer):
            if key == "added_us":
                p50 = median(peers.get(peer, []), "latency_us", "p50")
                return p50 - base if p50 else None
            return median(peers.get(peer, []), key)

        ours = value("Exitgate") or value("Exitgate (opening TLS)")
        others = [v for v in map(value, ("Squid", "tinyproxy", "Squid (opening TLS)")) if v is not None]
        best = min(others) if others else None
        said = "not measured" if ours is None else "reached" if ours <= goal else (
            f"missed by {ours / goal - 1:.0%}")
        if ours is not None and best is not None and ours > best:
            said += ", worse than the better peer"
        out.append(f"| {TITLES[mode]}, {unit} | ≤ {goal} | {number(ours, 2)} | {number(best, 2)} | {said} |")
    return out


def list_table(lists):
    out = ["\n### A list of exact host names\n",
           "| | names | CPU µs/CONNECT | resident MiB | ready after s | another name refused |", "|---|---:|---:|---:|---:|---|"]
    for peer, sizes in lists.items():
        for size, row in sizes.items():
            runs = [r for r in row["runs"] if "failed" not in r]
            out.append(f"| {peer} | {int(size):,} | {number(median(runs, 'cpu_us_per_op'))} | "
                       f"{number((median(runs, 'rss_kib') or 0) / 1024)} | {row['ready_s']} | "
                       f"{'yes' if row['refused'] else 'NO'} |")
    return out


def get_table(rows):
    out = ["\n### 60 GETs, each on a new connection\n", "| | mean ms | ± sd | p50 ms | ready after s |", "|---|---:|---:|---:|---:|"]
    for name, row in rows.items():
        l = row.get("latency_us")
        if not l:
            out.append(f"| {name} | failed: {row.get('failed') or row.get('first_error')} | | | |")
            continue
        out.append(f"| {name} | {l['mean'] / 1000:.3f} | {l['sd'] / 1000:.3f} | {l['p50'] / 1000:.3f} | {row['ready_s']} |")
    return out


def flood_lines(rows):
    def latencies(found):
        return ", ".join(f"{key} {number(median(found, 'latency_us', key))} µs" for key in ("p50", "p99"))

    before, *after = rows["rss_kib"]
    return [f"\n### {rows['asked']:,} names that were not asked for before\n",
            f"- refused for coming too fast: {rows['refused']:,}",
            f"- resident: {before / 1024:.1f} MiB before, {' '.join(f'{kib / 1024:.1f}' for kib in after)} MiB on the way",
            f"- another client, a new connection for each GET to a known name: alone {latencies([rows['alone']])}; "
            f"beside 32 clients that ask for one known name {latencies([rows['known']])}; "
            f"beside 32 that ask for new ones {latencies(rows['meanwhile'])} (medians)"]


def markdown(results):
    m = results["machine"]
    out = [f"{m['date']}, {m['cpu']}, {m['cpus']} CPUs, Linux {m['kernel']}, commit {m['commit']}. "
           "Proxy on the last CPU, load and origin on CPU 0; medians of interleaved rounds."]
    modes = results.get("modes", {})
    for mode in [m for m in TITLES if m in modes]:
        out += mode_table(mode, modes[mode])
    if results.get("list"):
        out += list_table(results["list"])
    if results.get("gets"):
        out += get_table(results["gets"])
    if results.get("flood"):
        out += flood_lines(results["flood"])
    if modes:
        out += goal_table(modes)
    return "\n".join(out) + "\n"
