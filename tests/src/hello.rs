//! ClientHellos made by hand, so that a row decides about every byte and every record and segment boundary.

/// The pieces of a hello; [`Hello::for_name`] gives what an ordinary TLS 1.3 client sends.
#[derive(Clone)]
pub struct Hello {
    /// The version in the hello's body, 0x0303 for TLS 1.2 and later.
    pub version: u16,
    pub session: Vec<u8>,
    pub ciphers: Vec<u16>,
    pub extensions: Vec<(u16, Vec<u8>)>,
}

pub const SERVER_NAME: u16 = 0;
pub const ALPN: u16 = 16;
pub const PADDING: u16 = 21;
pub const EARLY_DATA: u16 = 42;
pub const VERSIONS: u16 = 43;
pub const KEY_SHARE: u16 = 51;
pub const ENCRYPTED_HELLO: u16 = 0xfe0d;

impl Hello {
    pub fn nameless() -> Self {
        let mut share = Vec::new();
        put_u16(&mut share, 0x001d); // x25519
        put_long(&mut share, &[7; 32]);
        let mut shares = Vec::new();
        put_long(&mut shares, &share);
        Self {
            version: 0x0303,
            session: vec![9; 32],
            ciphers: vec![0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f],
            extensions: vec![
                (10, vec![0, 4, 0, 0x1d, 0, 0x17]),
                (13, vec![0, 4, 4, 3, 8, 4]),
                (VERSIONS, vec![4, 3, 4, 3, 3]),
                (45, vec![1, 1]),
                (KEY_SHARE, shares),
            ],
        }
    }

    pub fn for_name(name: &str) -> Self {
        Self::nameless().with(SERVER_NAME, server_name(&[(0, name.as_bytes())]))
    }

    pub fn with(mut self, kind: u16, content: impl Into<Vec<u8>>) -> Self {
        self.extensions.push((kind, content.into()));
        self
    }

    /// Sets an extension that the hello already has.
    pub fn instead(mut self, kind: u16, content: impl Into<Vec<u8>>) -> Self {
        self.extensions.retain(|(present, _)| *present != kind);
        self.with(kind, content)
    }

    pub fn offering(self, protocols: &[&str]) -> Self {
        let mut list = Vec::new();
        for protocol in protocols {
            list.push(u8::try_from(protocol.len()).unwrap());
            list.extend(protocol.as_bytes());
        }
        let mut content = Vec::new();
        put_long(&mut content, &list);
        self.with(ALPN, content)
    }

    /// Pads the handshake message to about this size.
    pub fn padded(self, size: usize) -> Self {
        let missing = size.saturating_sub(self.message().len() + 4);
        let mut padded = self;
        // One extension holds at most 2^16-1 bytes, and so do all of them together.
        let mut left = missing;
        let mut kind = PADDING;
        while left > 0 {
            let piece = left.min(16_000);
            padded = padded.with(kind, vec![0; piece]);
            // Unknown to everybody, and each only once.
            kind = if kind == PADDING { 0x5a00 } else { kind + 1 };
            left -= piece;
        }
        padded
    }

    /// The handshake message.
    pub fn message(&self) -> Vec<u8> {
        let mut body = Vec::new();
        put_u16(&mut body, self.version);
        body.extend([5; 32]);
        body.push(u8::try_from(self.session.len()).unwrap());
        body.extend(&self.session);
        let ciphers = self
            .ciphers
            .iter()
            .flat_map(|cipher| cipher.to_be_bytes())
            .collect::<Vec<_>>();
        put_long(&mut body, &ciphers);
        body.extend([1, 0]);
        if !self.extensions.is_empty() {
            let mut extensions = Vec::new();
            for (kind, content) in &self.extensions {
                put_u16(&mut extensions, *kind);
                put_long(&mut extensions, content);
            }
            put_long(&mut body, &extensions);
        }
        let mut message = vec![1];
        message.extend(&u32::try_from(body.len()).unwrap().to_be_bytes()[1..]);
        message.extend(body);
        message
    }

    /// The message in one record, as long as it fits.
    pub fn bytes(&self) -> Vec<u8> {
        self.split(16_384)
    }

    /// The message over records of this many bytes.
    pub fn split(&self, size: usize) -> Vec<u8> {
        records(&self.message(), size)
    }
}

/// Wraps a handshake message into records.
pub fn records(message: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for piece in message.chunks(size) {
        bytes.extend([22, 3, 1]);
        put_long(&mut bytes, piece);
    }
    bytes
}

/// The content of a server_name extension with these (type, name) entries.
pub fn server_name(entries: &[(u8, &[u8])]) -> Vec<u8> {
    let mut list = Vec::new();
    for (kind, name) in entries {
        list.push(*kind);
        put_long(&mut list, name);
    }
    let mut content = Vec::new();
    put_long(&mut content, &list);
    content
}

/// The content of an outer encrypted_client_hello extension, real-looking or GREASE alike: nobody but the owner of
/// the key can tell.
pub fn encrypted_hello() -> Vec<u8> {
    let mut content = vec![0]; // outer
    put_u16(&mut content, 1); // HKDF-SHA256
    put_u16(&mut content, 1); // AES-128-GCM
    content.push(42); // configuration id
    put_long(&mut content, &[3; 32]);
    put_long(&mut content, &[4; 208]);
    content
}

/// The two versions of a TLS 1.3 key share that make hellos long: a classic and a post-quantum one.
pub fn post_quantum_shares() -> Vec<u8> {
    let mut shares = Vec::new();
    put_u16(&mut shares, 0x11ec); // X25519MLKEM768
    put_long(&mut shares, &[6; 1216]);
    put_u16(&mut shares, 0x001d);
    put_long(&mut shares, &[7; 32]);
    let mut content = Vec::new();
    put_long(&mut content, &shares);
    content
}

fn put_u16(into: &mut Vec<u8>, value: u16) {
    into.extend(value.to_be_bytes());
}

/// Bytes after their 16-bit length.
fn put_long(into: &mut Vec<u8>, bytes: &[u8]) {
    put_u16(into, u16::try_from(bytes.len()).unwrap());
    into.extend(bytes);
}
