#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use exitgate_policy::Reason as PolicyReason;
use exitgate_policy::decide::{RuleRef, Shadow, ShadowKind, Tier};
use exitgate_policy::evidence::{Entry, Hello, TlsVersion};
use exitgate_policy::model::Action;
use exitgate_policy::name::Name;
use exitgate_policy::snapshot::Workload;

use super::super::{
    Class, ClosedBy, DecisionFields, DecisionId, Recorder, RequestFields, Stage, VerdictLabel,
};
use super::{Fields, model, write};
use crate::metrics::Metrics;
use crate::origin::{Certificate, Fingerprint, Staple, Verification};
use crate::reason::{OriginReason, Reason};

/// Reproducible noise (xorshift64*).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn yes(&mut self) -> bool {
        self.below(2) == 0
    }

    fn maybe<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.yes().then(|| value(self))
    }

    fn of<T: Copy>(&mut self, values: &[T]) -> T {
        let at = usize::try_from(self.below(values.len() as u64)).unwrap();
        *values.get(at).unwrap()
    }

    fn several<T>(&mut self, value: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.below(3)).map(|_| value(self)).collect()
    }

    /// Bytes, many of them such as have to be escaped, and at times too many.
    fn bytes(&mut self) -> Vec<u8> {
        let end = self.of(&[0, 1, 10, 60, 1023, 1024, 1025, 2000]);
        let mut bytes = Vec::new();
        while bytes.len() < end {
            match self.below(6) {
                0 => bytes.push(u8::try_from(self.below(256)).unwrap()),
                1 => bytes.push(self.of(b"\"\\\x08\x0c\n\r\t\x00\x1f\x7f\xc2/")),
                2 => {
                    let point = self.of(&[0x80, 0x85, 0x9f, 0xa0, 0xa9, 0xc2, 0x2028, 0x1f600]);
                    let text = char::from_u32(point).unwrap().to_string();
                    bytes.extend_from_slice(text.as_bytes());
                }
                _ => bytes.extend_from_slice(b"plain text"),
            }
        }
        bytes.truncate(end);
        bytes
    }

    fn string(&mut self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    fn shared(&mut self) -> Arc<str> {
        self.string().into()
    }

    fn address(&mut self) -> IpAddr {
        let bits = u128::from(self.next()) << 64 | u128::from(self.next());
        match self.below(4) {
            0 => IpAddr::V6(Ipv6Addr::from_bits(bits)),
            1 => Ipv6Addr::from_bits(bits & 0xffff | 1 << 100).into(),
            2 => Ipv4Addr::from_bits(u32::try_from(bits & 0xffff_ffff).unwrap())
                .to_ipv6_mapped()
                .into(),
            _ => Ipv4Addr::from_bits(u32::try_from(bits & 0xffff_ffff).unwrap()).into(),
        }
    }

    fn number(&mut self) -> u64 {
        let wide = self.next() << 8 | 7;
        self.of(&[0, 1, 9, 10, 99, 100, 12_345, u64::MAX, wide])
    }

    fn port(&mut self) -> u16 {
        u16::try_from(self.below(65_536)).unwrap()
    }

    fn name(&mut self) -> Name {
        Name::parse(format!("n{}.x.test", self.next()).as_bytes()).unwrap()
    }

    fn rule(&mut self) -> RuleRef {
        RuleRef {
            tier: self.of(&[
                Tier::Admin,
                Tier::Baseline,
                Tier::Default,
                Tier::Floor,
                Tier::Namespace,
            ]),
            kind: self.of(&["EgressPolicy", "ClusterEgressPolicy"]),
            namespace: self.maybe(Self::shared),
            policy: self.shared(),
            rule: self.shared(),
            action: Action::Allow,
        }
    }

    fn certificate(&mut self) -> Certificate {
        let reason = self.of(&[OriginReason::Expired, OriginReason::WrongName]);
        Certificate {
            issuer: self.string(),
            names: usize::from(self.port()),
            not_after: i64::try_from(self.below(1 << 40)).unwrap() - (1 << 39),
            fingerprint: Fingerprint([(); 32].map(|()| self.of(b"\0\x09\x10\xab\xff"))),
            staple: self.of(&[Staple::Good, Staple::Invalid("why"), Staple::None]),
            verification: self.of(&[
                Verification::Verified,
                Verification::Skipped,
                Verification::Ignored(reason),
            ]),
        }
    }

    fn fill(&mut self, fields: &mut Fields) {
        fields.class = self.of(&[Class::Http, Class::Network]);
        fields.entry = self.of(&[
            Entry::Connect,
            Entry::Dns,
            Entry::Forward,
            Entry::Redirected,
        ]);
        fields.source = SocketAddr::new(self.address(), self.port());
        fields.id = DecisionId {
            run: self.number(),
            number: self.number(),
        };
        fields.time = self.number();
        fields.workload = self.maybe(|noise| {
            Arc::new(Workload {
                namespace: noise.string(),
                name: noise.string(),
                service_account: noise.maybe(Self::string),
                ..Workload::default()
            })
        });
        fields.host = self.maybe(Self::string);
        fields.address = self.maybe(Self::address);
        fields.port = self.maybe(Self::port);
        fields.hello = self.maybe(|noise| {
            Box::new(Hello {
                sni: noise.maybe(Self::name),
                alpn: Vec::new(),
                version: noise.of(&[
                    TlsVersion::Ssl3,
                    TlsVersion::Tls10,
                    TlsVersion::Tls11,
                    TlsVersion::Tls12,
                    TlsVersion::Tls13,
                ]),
                ech: noise.yes(),
                ja4: noise.string(),
            })
        });
        fields.request = self.maybe(|noise| RequestFields {
            method: noise.string(),
            path: noise.bytes(),
            scheme: noise.of(&["http", "https"]),
            user_agent: noise.maybe(Self::bytes),
        });
        fields.status = self.maybe(Self::port);
        fields.verdict = self.of(&[VerdictLabel::Allow, VerdictLabel::Deny, VerdictLabel::Error]);
        fields.reason = self.of(&[
            Reason::ClientGone,
            Reason::BadHello,
            Reason::Policy(PolicyReason::NoRule),
        ]);
        fields.detail = self.maybe(Self::string);
        fields.decision = self.maybe(|noise| DecisionFields {
            rule: noise.maybe(Self::rule),
            alerts: noise.several(Self::rule),
            shadow: noise.maybe(|noise| Shadow {
                kind: noise.of(&[
                    ShadowKind::WouldAllow,
                    ShadowKind::WouldDeny,
                    ShadowKind::WouldNeedContent,
                ]),
                rule: noise.maybe(Self::rule),
                reason: PolicyReason::NoRule,
            }),
            assurance: noise.of(&["AddressOnly", "Inspected"]),
            enforced: noise.yes(),
            denied: noise.yes(),
        });
        fields.phase = self.maybe(|noise| noise.of(&["preDns", "preRequest"]));
        fields.resolved = self.several(Self::address);
        fields.chain = self.several(Self::name);
        fields.bytes_up = self.number();
        fields.bytes_down = self.number();
        fields.stage = self.of(&[Stage::Accepted, Stage::Judged, Stage::Relayed]);
        fields.closed_by = self
            .maybe(|noise| noise.of(&[ClosedBy::Client, ClosedBy::Gateway, ClosedBy::Upstream]));
        fields.revision = self.maybe(Self::shared);
        fields.opened = self.yes();
        fields.origin = self.maybe(|noise| Arc::new(noise.certificate()));
        fields.injected = self.several(Self::string);
    }
}

#[test]
fn lines_are_what_serde_json_would_write() {
    let recorder = Arc::new(Recorder::start(Vec::new(), Arc::new(Metrics::new())).unwrap());
    let mut noise = Noise(0x5eed);
    let mut line = Vec::new();
    for round in 0..5_000 {
        let source = SocketAddr::from(([127, 0, 0, 1], 1));
        let mut record = recorder.begin(Class::Http, Entry::Connect, source);
        noise.fill(&mut record.fields);
        let duration = noise.number();
        line.clear();
        write(&record.fields, duration, &mut line);
        let expected = model::render(&record.fields, duration);
        assert_eq!(
            String::from_utf8_lossy(&line),
            String::from_utf8_lossy(&expected),
            "{round}"
        );
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert!(value.is_object());
        record.mute();
    }
}
