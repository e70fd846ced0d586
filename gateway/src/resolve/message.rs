//! Questions to name servers, and what their answers mean.

use std::net::IpAddr;

use exitgate_policy::Name;
use hickory_proto::{
    op::{Message, MessageType, OpCode, ResponseCode},
    rr::{DNSClass, RData},
};

use super::ResolveError;

/// An address family.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    A,
    Aaaa,
}

impl Kind {
    fn code(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
        }
    }
}

/// Whether the question announces room for a larger answer; some old servers refuse a question that does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Edns {
    Off,
    On,
}

/// How a message came. Over TCP nobody but the server can have sent it, so that its spelling does not matter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Transport {
    Tcp,
    Udp,
}

/// What a server says about one family of a name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Family {
    Addresses(Found),
    /// The name exists without such addresses.
    NoData,
    NoName,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Found {
    /// Not empty.
    pub(super) addresses: Vec<IpAddr>,
    pub(super) chain: Vec<Name>,
    pub(super) ttl: u32,
}

/// What to do with a datagram.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Reply {
    Answer(Family),
    Failed(ResolveError),
    /// Not the answer to our question: keep listening.
    Foreign,
    /// The server does not know EDNS: ask without.
    NoEdns,
    /// Truncated, or the spelling of our question was not kept, so that the answer may be a forged one: ask over TCP.
    OverTcp,
}

const HEADER_BYTES: usize = 12;
/// Larger answers are fragmented on common links.
const PAYLOAD: u16 = 1232;
const MAX_CHAIN: usize = 12;
/// Addresses of one family that are looked at; nobody dials more.
const MAX_ADDRESSES: usize = 64;

/// One question as it is sent.
#[derive(Clone, Debug)]
pub(super) struct Question {
    kind: Kind,
    id: u16,
    edns: Edns,
    bytes: Vec<u8>,
    /// Where the question section ends in `bytes`.
    end: usize,
}

impl Question {
    /// `salt` decides about upper and lower case of the name's letters.
    pub(super) fn new(name: &Name, kind: Kind, edns: Edns, id: u16, salt: &[u8; 32]) -> Self {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + name.as_str().len() + 2 + 4 + 11);
        bytes.extend_from_slice(&id.to_be_bytes());
        // Recursion desired; one question, and one additional record with EDNS.
        bytes.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns == Edns::On)]);
        let mut bits = salt
            .iter()
            .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1));
        for label in name.as_str().split('.') {
            // A name's labels have at most 63 bytes.
            bytes.push(u8::try_from(label.len()).unwrap_or_default());
            bytes.extend(label.bytes().map(|byte| match bits.next() {
                Some(true) => byte.to_ascii_uppercase(),
                Some(false) | None => byte,
            }));
        }
        bytes.push(0);
        bytes.extend_from_slice(&kind.code().to_be_bytes());
        bytes.extend_from_slice(&[0, 1]);
        let end = bytes.len();
        if edns == Edns::On {
            bytes.extend_from_slice(&[0, 0, 41]);
            bytes.extend_from_slice(&PAYLOAD.to_be_bytes());
            bytes.extend_from_slice(&[0; 6]);
        }
        Self {
            kind,
            id,
            edns,
            bytes,
            end,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What a received message says. Only records of the asked name and of its aliases count, whatever else was sent.
    pub(super) fn read(&self, name: &Name, transport: Transport, received: &[u8]) -> Reply {
        if received.get(..2) != Some(&self.id.to_be_bytes()) {
            return Reply::Foreign;
        }
        let question = |bytes| <[u8]>::get(bytes, HEADER_BYTES..self.end).unwrap_or_default();
        let (sent, echoed) = (question(&self.bytes), question(received));
        let Ok(message) = Message::from_vec(received) else {
            return if sent == echoed {
                Reply::Failed(ResolveError::Malformed)
            } else {
                Reply::Foreign
            };
        };
        let metadata = &message.metadata;
        if metadata.message_type != MessageType::Response || metadata.op_code != OpCode::Query {
            return Reply::Foreign;
        }
        // A server that could not read the question may leave it out.
        if message.queries.is_empty() && metadata.response_code != ResponseCode::NoError {
            return self.failed(metadata.response_code);
        }
        if message.queries.len() != 1 || !sent.eq_ignore_ascii_case(echoed) {
            return Reply::Foreign;
        }
        match transport {
            Transport::Udp if metadata.truncation || sent != echoed => return Reply::OverTcp,
            Transport::Tcp if metadata.truncation => return Reply::Failed(ResolveError::Malformed),
            Transport::Tcp | Transport::Udp => {}
        }
        match metadata.response_code {
            ResponseCode::NoError => self.family(name, &message),
            ResponseCode::NXDomain => Reply::Answer(Family::NoName),
            code => self.failed(code),
        }
    }

    fn failed(&self, code: ResponseCode) -> Reply {
        match (code, self.edns) {
            (ResponseCode::FormErr | ResponseCode::NotImp, Edns::On) => Reply::NoEdns,
            _ => Reply::Failed(ResolveError::ServFail),
        }
    }

    fn family(&self, name: &Name, message: &Message) -> Reply {
        let mut owner = name.clone();
        let mut chain = Vec::new();
        let mut ttl = u32::MAX;
        loop {
            let mut alias = None;
            let mut addresses = Vec::new();
            let own = message.answers.iter().filter(|record| {
                record.dns_class == DNSClass::IN
                    && parse_name(&record.name).as_ref() == Some(&owner)
            });
            for record in own {
                let address = match (&record.data, self.kind) {
                    (RData::A(address), Kind::A) => IpAddr::V4(address.0),
                    (RData::AAAA(address), Kind::Aaaa) => IpAddr::V6(address.0),
                    (RData::CNAME(target), _) => {
                        alias = Some(parse_name(&target.0));
                        ttl = ttl.min(record.ttl);
                        continue;
                    }
                    _ => continue,
                };
                ttl = ttl.min(record.ttl);
                if addresses.len() < MAX_ADDRESSES {
                    addresses.push(address);
                }
            }
            match alias {
                // An alias has no other data; a name with both is read as an alias, so that the chain is always shown.
                Some(Some(target))
                    if chain.len() < MAX_CHAIN && !chain.contains(&target) && target != *name =>
                {
                    chain.push(target.clone());
                    owner = target;
                }
                Some(_) => return Reply::Failed(ResolveError::Malformed),
                None if addresses.is_empty() => return Reply::Answer(Family::NoData),
                None => {
                    return Reply::Answer(Family::Addresses(Found {
                        addresses,
                        chain,
                        ttl,
                    }));
                }
            }
        }
    }
}

fn parse_name(name: &hickory_proto::rr::Name) -> Option<Name> {
    Name::parse(name.to_ascii().as_bytes()).ok()
}
