//! Points in time as documents write them.

/// Parses RFC 3339 (`2027-01-31T00:00:00Z`, `2027-01-31T01:00:00+01:00`) into seconds since 1970, rounded down.
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    let mut rest = text.as_bytes();
    let year = number(&mut rest, 4)?;
    expect(&mut rest, b"-")?;
    let month = number(&mut rest, 2)?;
    expect(&mut rest, b"-")?;
    let day = number(&mut rest, 2)?;
    expect(&mut rest, b"Tt")?;
    let hour = number(&mut rest, 2)?;
    expect(&mut rest, b":")?;
    let minute = number(&mut rest, 2)?;
    expect(&mut rest, b":")?;
    let second = number(&mut rest, 2)?;
    if let Some(fraction) = rest.strip_prefix(b".") {
        let digits = fraction
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        rest = fraction.get(digits..).filter(|_| digits > 0)?;
    }
    let offset = match rest {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), tail @ ..] => {
            rest = tail;
            let hours = number(&mut rest, 2)?;
            expect(&mut rest, b":")?;
            let minutes = number(&mut rest, 2)?;
            if !rest.is_empty() || hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = (hours * 60 + minutes) * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    if day < 1 || day > days_in_month || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days since 1970 of a civil date, with the year beginning in March.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * year + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (153 * month + 2) / 5
        + day
        - 1
        - 719_468;
    u64::try_from(((days * 24 + hour) * 60 + minute) * 60 + second - offset).ok()
}

fn number(rest: &mut &[u8], digits: usize) -> Option<i64> {
    let (head, tail) = rest.split_at_checked(digits)?;
    *rest = tail;
    head.iter().try_fold(0, |value, byte| {
        byte.is_ascii_digit()
            .then(|| value * 10 + i64::from(byte - b'0'))
    })
}

fn expect(rest: &mut &[u8], any: &[u8]) -> Option<()> {
    let (first, tail) = rest.split_first()?;
    *rest = tail;
    any.contains(first).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2027-01-31T00:00:00Z", Some(1_801_353_600)),
            ("2027-01-31T01:00:00+01:00", Some(1_801_353_600)),
            ("2027-01-30T19:00:00-05:00", Some(1_801_353_600)),
            ("2000-02-29T12:00:00.5Z", Some(951_825_600)),
            ("2024-12-31t23:59:60z", Some(1_735_689_600)),
            ("1969-12-31T23:59:59Z", None),
            ("1900-02-29T00:00:00Z", None),
            ("2027-02-29T00:00:00Z", None),
            ("2027-13-01T00:00:00Z", None),
            ("2027-01-31", None),
            ("2027-01-31T00:00:00", None),
            ("2027-01-31 00:00:00Z", None),
            ("2027-01-31T00:00:00.Z", None),
            ("2027-01-31T00:00:00Zx", None),
            ("2027-01-31T00:00:00+0100", None),
            ("", None),
        ] {
            assert_eq!(parse_rfc3339(text), seconds, "{text}");
        }
    }
}
