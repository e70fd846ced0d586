//! SipHash-1-3: the compiled form of a set must not change with the standard library's choice of a hash.

/// The hash of `data` under the key `seed`.
pub(super) fn hash(seed: u32, data: &[u8]) -> u64 {
    let key = u64::from(seed);
    let mut state = State([
        key ^ 0x736f_6d65_7073_6575,
        0x646f_7261_6e64_6f6d,
        key ^ 0x6c79_6765_6e65_7261,
        0x7465_6462_7974_6573,
    ]);
    let (words, rest) = data.as_chunks::<8>();
    for word in words {
        state.take(u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    state.take(u64::from_le_bytes(last) | (data.len() as u64) << 56);
    state.0[2] ^= 0xff;
    for _ in 0..3 {
        state.round();
    }
    state.0[0] ^ state.0[1] ^ state.0[2] ^ state.0[3]
}

struct State([u64; 4]);

impl State {
    #[inline]
    fn take(&mut self, word: u64) {
        self.0[3] ^= word;
        self.round();
        self.0[0] ^= word;
    }

    #[inline]
    fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.0;
        a = a.wrapping_add(b);
        b = b.rotate_left(13) ^ a;
        a = a.rotate_left(32);
        c = c.wrapping_add(d);
        d = d.rotate_left(16) ^ c;
        a = a.wrapping_add(d);
        d = d.rotate_left(21) ^ a;
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        self.0 = [a, b, c, d];
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hasher};

    use super::hash;

    /// The standard library's hasher is SipHash-1-3 today; the fixed value holds when it no longer is.
    #[test]
    fn is_siphash_1_3() {
        for length in 0..40 {
            let data: Vec<u8> = (0..length).collect();
            let mut known = DefaultHasher::new();
            known.write(&data);
            assert_eq!(hash(0, &data), known.finish(), "{length} bytes");
        }
        assert_ne!(hash(0, b"x.io"), hash(1, b"x.io"));
    }
}
