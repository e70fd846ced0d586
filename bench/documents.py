"""The policies that the benchmark gives to the proxies."""
import random

# The floor keeps a gateway from loopback; the origin is there, so an administrator's rule opens it.
OPEN_LOOPBACK = """\
apiVersion: exitgate.dev/v1alpha1
kind: ClusterEgressPolicy
metadata: {name: open-loopback}
spec:
  tier: Admin
  priority: 10
  subject: {}
  rules:
  - name: loopback
    action: Pass
    to: {cidrs: [127.0.0.0/8]}
"""
ENDINGS = ["com", "net", "org", "io", "co.uk", "example.com"]


def host_file(folder, count, allowed):
    """`count` exact names, one per line, the one that is used last."""
    path = folder / f"hosts-{count}.txt"
    # Names without order or pattern: counted-up ones compress to next to nothing.
    rng = random.Random(1)
    with open(path, "w") as f:
        f.writelines(f"{rng.getrandbits(44):011x}.{rng.choice(ENDINGS)}\n" for _ in range(count - 1))
        f.write(f"{allowed}\n")
    path.chmod(0o644)
    return path


def list_policy(folder, count, allowed):
    """One rule that allows the names of a set."""
    (folder / "loopback.yaml").write_text(OPEN_LOOPBACK)
    file = host_file(folder, count, allowed)
    (folder / "list.yaml").write_text(f"""\
apiVersion: exitgate.dev/v1alpha1
kind: ClusterEgressDomainSet
metadata: {{name: listed}}
spec:
  feed: {{file: {file.name}}}
---
apiVersion: exitgate.dev/v1alpha1
kind: EgressPolicy
metadata: {{name: listed, namespace: default}}
spec:
  rules:
  - name: listed
    action: Allow
    to: {{hostSets: ["cluster/listed"], protocol: TCP}}
""")


def rule_policy(folder, rules, base, per_policy=100):
    """`rules` rules in policies of a hundred, all of which select the workload; the last one matches."""
    (folder / "loopback.yaml").write_text(OPEN_LOOPBACK)
    left = rules - 2
    number = 0
    while left > 0:
        n = min(per_policy, left)
        lines = [f"  - name: r{i}\n    action: Allow\n"
                 f"    to: {{hosts: [\"h{i}.p{number}.allow.test\"], ports: [443]}}\n" for i in range(n)]
        write_policy(folder, f"p{number}", lines)
        left -= n
        number += 1
    # Raw bytes go to the echo and bulk ports; TLS and HTTP are judged as what they are, on their first bytes.
    write_policy(folder, "origin", [
        f"  - name: raw\n    action: Allow\n"
        f"    to: {{hosts: [\"*.origin.test\"], ports: [{base}, {base + 3}], protocol: TCP}}\n",
        f"  - name: web\n    action: Allow\n"
        f"    to: {{hosts: [\"*.origin.test\"], ports: [{base + 1}, {base + 2}]}}\n"])


def write_policy(folder, name, rules):
    (folder / f"{name}.yaml").write_text(f"""\
apiVersion: exitgate.dev/v1alpha1
kind: EgressPolicy
metadata: {{name: {name}, namespace: default}}
spec:
  rules:
{"".join(rules)}""")


def opening(folder, base, upstream, certificate, key):
    """Settings and a rule that have TLS to the two HTTPS ports opened: the rule judges the method."""
    (folder / "opening.yaml").write_text(f"""\
apiVersion: exitgate.dev/v1alpha1
kind: EgressGateway
metadata: {{name: default}}
spec:
  tls:
    inspection: "On"
    authority: {{certFile: {certificate}, keyFile: {key}}}
    systemRootsFile: {upstream}
""")
    write_policy(folder, "opened", [
        f"  - name: web\n    action: Allow\n"
        f"    to: {{hosts: [\"*.origin.test\"], ports: [{base + 4}, {base + 5}]}}\n"
        f"    http: {{methods: [GET]}}\n"])
