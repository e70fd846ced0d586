//! A responder that says 127.0.0.1 to every A question and nothing to every other.

use std::io;
use std::net::SocketAddr;
use tokio::net::UdpSocket;

const TTL: u32 = 300;

pub(crate) async fn serve(addr: SocketAddr) -> io::Result<()> {
    let socket = UdpSocket::bind(addr).await?;
    let mut buf = [0; 1500];
    loop {
        let (n, from) = socket.recv_from(&mut buf).await?;
        if let Some(reply) = buf.get(..n).and_then(answer) {
            socket.send_to(&reply, from).await?;
        }
    }
}

fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let is_query = query.get(2)? & 0x80 == 0;
    if !is_query || query.get(4..6)? != [0, 1] {
        return None;
    }
    let mut at = 12;
    while *query.get(at)? != 0 {
        at += 1 + usize::from(*query.get(at)?);
    }
    let question = query.get(12..at + 5)?;
    let is_a = query.get(at + 1..at + 3)? == [0, 1];
    let mut r = query.get(..2)?.to_vec();
    // response, authoritative, recursion desired as asked, recursion available
    r.extend([
        0x84 | (query.get(2)? & 1),
        0x80,
        0,
        1,
        0,
        u8::from(is_a),
        0,
        0,
        0,
        0,
    ]);
    r.extend(question);
    if is_a {
        r.extend([0xc0, 12, 0, 1, 0, 1]);
        r.extend(TTL.to_be_bytes());
        r.extend([0, 4, 127, 0, 0, 1]);
    }
    Some(r)
}

#[cfg(test)]
mod tests {
    use super::answer;

    fn query(kind: u8) -> Vec<u8> {
        let mut q = vec![7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        q.extend(b"\x02h1\x06origin\x04test\x00\x00");
        q.extend([kind, 0, 1]);
        q
    }

    #[test]
    fn answers_a_only() {
        let a = answer(&query(1)).unwrap();
        assert_eq!((a[0], a[1], a[7]), (7, 9, 1));
        assert!(a.ends_with(&[127, 0, 0, 1]));
        let aaaa = answer(&query(28)).unwrap();
        assert_eq!((aaaa[7], aaaa.len()), (0, query(28).len()));
    }

    #[test]
    fn ignores_noise() {
        assert!(answer(&[0; 5]).is_none());
        let mut response = query(1);
        response[2] |= 0x80;
        assert!(answer(&response).is_none());
        assert!(answer(&query(1)[..20]).is_none());
    }
}
