//! The part of DER that a certificate status is written in: tags of one octet, definite and shortest lengths.

use time::{Date, Month, PrimitiveDateTime, Time};

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;

/// A context-specific tag around other elements.
pub(super) const fn constructed(number: u8) -> u8 {
    0xa0 | number
}

/// A context-specific tag around a value.
pub(super) const fn primitive(number: u8) -> u8 {
    0x80 | number
}

/// A SEQUENCE around `content`.
pub(super) fn sequence(content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant = length.iter().skip_while(|octet| **octet == 0);
    let mut out = vec![SEQUENCE];
    if content.len() < 0x80 {
        out.extend(length.last());
    } else {
        let count = significant.clone().count();
        out.push(0x80 | u8::try_from(count).unwrap_or(0x7f));
        out.extend(significant);
    }
    out.extend_from_slice(content);
    out
}

/// Bytes that are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// One element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    /// Tag and length included: what a signature or digest is taken over.
    pub(super) whole: &'a [u8],
}

/// Reads elements one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The end of what was announced.
    pub(super) fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }

    /// The next element, whatever it is.
    pub(super) fn any(&mut self) -> Result<Element<'a>, Malformed> {
        let [tag, first, rest @ ..] = self.0 else {
            return Err(Malformed);
        };
        // Tags above 30 continue in further octets; nothing that we read has one.
        if tag & 0x1f == 0x1f {
            return Err(Malformed);
        }
        let (length, rest) = match *first {
            short @ 0..=0x7f => (usize::from(short), rest),
            long @ 0x81..=0x83 => {
                let (octets, rest) = rest
                    .split_at_checked(usize::from(long & 0x7f))
                    .ok_or(Malformed)?;
                let length = octets
                    .iter()
                    .fold(0, |length, octet| length << 8 | usize::from(*octet));
                if octets.first() == Some(&0) || length < 0x80 {
                    return Err(Malformed);
                }
                (length, rest)
            }
            _ => return Err(Malformed),
        };
        let (content, rest) = rest.split_at_checked(length).ok_or(Malformed)?;
        let used = self.0.len() - rest.len();
        let whole = self.0.get(..used).ok_or(Malformed)?;
        self.0 = rest;
        Ok(Element {
            tag: *tag,
            content,
            whole,
        })
    }

    /// The next element, which must have this tag.
    pub(super) fn element(&mut self, tag: u8) -> Result<Element<'a>, Malformed> {
        let element = self.any()?;
        if element.tag == tag {
            Ok(element)
        } else {
            Err(Malformed)
        }
    }

    /// The content of the next element, which must have this tag.
    pub(super) fn take(&mut self, tag: u8) -> Result<&'a [u8], Malformed> {
        self.element(tag).map(|element| element.content)
    }

    /// The content of the next element, if it has this tag.
    pub(super) fn take_if(&mut self, tag: u8) -> Result<Option<&'a [u8]>, Malformed> {
        if self.0.first() == Some(&tag) {
            self.take(tag).map(Some)
        } else {
            Ok(None)
        }
    }

    /// The elements of the next element, which must have this tag.
    pub(super) fn inside(&mut self, tag: u8) -> Result<Self, Malformed> {
        self.take(tag).map(Self)
    }

    /// The bits of a bit string that has whole octets.
    pub(super) fn bits(&mut self) -> Result<&'a [u8], Malformed> {
        match self.take(BIT_STRING)? {
            [0, bits @ ..] => Ok(bits),
            _ => Err(Malformed),
        }
    }

    /// A time of the one form that certificates may use, in seconds since 1970.
    pub(super) fn time(&mut self) -> Result<i64, Malformed> {
        let text = self.take(GENERALIZED_TIME)?;
        let [digits @ .., b'Z'] = text else {
            return Err(Malformed);
        };
        if digits.len() != 14 || !digits.iter().all(u8::is_ascii_digit) {
            return Err(Malformed);
        }
        let number = |from: usize, to: usize| {
            let digits = digits.get(from..to).unwrap_or_default();
            digits
                .iter()
                .fold(0_u16, |number, digit| number * 10 + u16::from(digit - b'0'))
        };
        let small = |from: usize| u8::try_from(number(from, from + 2)).map_err(|_| Malformed);
        let month = Month::try_from(small(4)?).map_err(|_| Malformed)?;
        let date = Date::from_calendar_date(i32::from(number(0, 4)), month, small(6)?)
            .map_err(|_| Malformed)?;
        let time = Time::from_hms(small(8)?, small(10)?, small(12)?).map_err(|_| Malformed)?;
        Ok(PrimitiveDateTime::new(date, time)
            .assume_utc()
            .unix_timestamp())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn elements() {
        let mut reader = Reader::new(&[0x30, 3, 2, 1, 5, 4, 0]);
        let first = reader.any().unwrap();
        assert_eq!(first.content, [2, 1, 5]);
        assert_eq!(first.whole, [0x30, 3, 2, 1, 5]);
        assert_eq!(Reader::new(first.content).take(INTEGER), Ok(&[5][..]));
        assert_eq!(reader.take_if(INTEGER), Ok(None));
        assert_eq!(reader.end(), Err(Malformed));
        assert_eq!(reader.take_if(OCTET_STRING), Ok(Some(&[][..])));
        assert_eq!(reader.end(), Ok(()));
        let mut long = vec![4, 0x82, 1, 0];
        long.extend([7; 256]);
        assert_eq!(Reader::new(&long).take(OCTET_STRING), Ok(&[7; 256][..]));
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000] {
            let content = vec![7; length];
            let whole = sequence(&content);
            assert_eq!(Reader::new(&whole).take(SEQUENCE), Ok(&content[..]));
        }
    }

    #[test]
    fn refused() {
        for bytes in [
            &[][..],
            &[2],
            &[2, 1],
            &[2, 0x80, 1, 0, 0],
            &[2, 0x81, 1, 5],
            &[2, 0x82, 0, 0x80],
            &[2, 0x84, 0, 0, 0, 1, 5],
            &[2, 0x83, 0xff, 0xff, 0xff, 1],
            &[0x1f, 0x81, 1, 0],
            &[2, 0xff],
        ] {
            assert_eq!(Reader::new(bytes).any(), Err(Malformed), "{bytes:?}");
        }
        assert_eq!(Reader::new(&[3, 2, 1, 2]).bits(), Err(Malformed));
        assert_eq!(Reader::new(&[3, 0]).bits(), Err(Malformed));
    }

    #[test]
    fn times() {
        let read = |text: &str| {
            let mut bytes = vec![GENERALIZED_TIME, u8::try_from(text.len()).unwrap()];
            bytes.extend(text.as_bytes());
            Reader::new(&bytes).time()
        };
        assert_eq!(read("19700101000000Z"), Ok(0));
        assert_eq!(read("20261120123456Z"), Ok(1_795_178_096));
        assert_eq!(read("20240229000000Z"), Ok(1_709_164_800));
        for text in [
            "",
            "20250229000000Z",
            "20261320123456Z",
            "20261120243456Z",
            "20261120123456",
            "202611201234Z",
            "20261120123456.5Z",
            "20261120123456+0100",
            "+0261120123456Z",
        ] {
            assert_eq!(read(text), Err(Malformed), "{text}");
        }
    }
}
