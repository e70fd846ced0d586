//! The policy files of the test world.

/// Opens the addresses that play the internet, and no other.
pub const INTERNET: &str = "\
apiVersion: exitgate.dev/v1alpha1
kind: ClusterEgressPolicy
metadata: {name: test-internet}
spec:
  tier: Admin
  rules:
  - {name: internet, action: Pass, to: {cidrs: [127.1.0.0/16]}}
";

/// The same with IPv6: `::1` is the only IPv6 address that every machine has.
pub const INTERNET_WITH_V6: &str = "\
apiVersion: exitgate.dev/v1alpha1
kind: ClusterEgressPolicy
metadata: {name: test-internet}
spec:
  tier: Admin
  rules:
  - {name: internet, action: Pass, to: {cidrs: [127.1.0.0/16, \"::1/128\"]}}
";

/// The names that rows speak of.
pub const NAMES: &str = "  - name: names
    action: Allow
    to: {hosts: [ok.test, also.test, \"*.wild.test\", \"*.ok.test\", int.test, mix.test, flip.test]}
";

/// Allows every name and address that the floor leaves open.
pub const EVERYTHING: &str = "  - name: everything
    action: Allow
";

/// An Enforce policy of the namespace that unmapped workloads are in.
pub fn policy(rules: &str) -> String {
    format!(
        "apiVersion: exitgate.dev/v1alpha1
kind: EgressPolicy
metadata: {{name: world, namespace: default}}
spec:
  rules:
{rules}"
    )
}

/// The gateway's settings; `spec` is indented by two.
pub fn settings(spec: &str) -> String {
    format!(
        "apiVersion: exitgate.dev/v1alpha1
kind: EgressGateway
metadata: {{name: test}}
spec:
{spec}"
    )
}
