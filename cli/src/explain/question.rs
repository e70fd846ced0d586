//! The command line as a question: what connection, what request, what response.

use std::net::IpAddr;

use exitgate_policy::{Authority, Host, Name, RequestPath};

use super::Args;

/// A connection that is asked about.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) url: String,
    pub(super) scheme: Scheme,
    pub(super) host: Host,
    pub(super) port: u16,
    pub(super) authority: Authority,
    pub(super) sni: Option<Name>,
    pub(super) method: String,
    pub(super) path: RequestPath,
    pub(super) headers: Vec<Header>,
    pub(super) status: Option<u16>,
    pub(super) response_headers: Vec<Header>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) source: Option<IpAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
    Tcp,
}

/// A header line; the name in lower case.
pub(super) type Header = (String, Vec<u8>);

impl Question {
    /// Reads the question; the error is the message for its author.
    pub(super) fn parse(args: &Args) -> Result<Self, String> {
        let (scheme, rest) = match args.url.split_once("://") {
            None => (Scheme::Https, args.url.as_str()),
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(("tcp", rest)) => (Scheme::Tcp, rest),
            Some((other, _)) => {
                return Err(format!(
                    "{other}:// is not known; write http://, https:// or tcp://"
                ));
            }
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let authority = Authority::parse(authority.as_bytes()).map_err(|error| {
            format!("{authority:?} is not a host with an optional port: {error}")
        })?;
        let port = match (authority.port, scheme) {
            (Some(port), _) => port,
            (None, Scheme::Http) => 80,
            (None, Scheme::Https) => 443,
            (None, Scheme::Tcp) => {
                return Err("tcp:// needs a port, for example tcp://db.example:5432".into());
            }
        };
        let written = args.path.as_deref().unwrap_or(target);
        let path = written.split(['?', '#']).next().unwrap_or_default();
        let path = if path.is_empty() { "/" } else { path };
        let host = authority.host.clone();
        let sni = match (args.sni.as_deref(), &host) {
            (Some("none"), _) | (None, Host::Addr(_)) => None,
            (Some(name), _) => Some(
                Name::parse(name.as_bytes())
                    .map_err(|error| format!("--sni {name:?} is not a name: {error}"))?,
            ),
            (None, Host::Name(name)) => Some(name.clone()),
        };
        Ok(Self {
            url: args.url.clone(),
            scheme,
            host,
            port,
            authority,
            sni,
            method: args.method.clone(),
            path: RequestPath::parse(path.as_bytes())
                .map_err(|error| format!("the path {path:?}: {error}"))?,
            headers: headers(&args.headers, "--header")?,
            status: args.status,
            response_headers: headers(&args.response_headers, "--response-header")?,
            addresses: args.addresses.clone(),
            source: args.source,
        })
    }

    pub(super) fn name(&self) -> Option<&Name> {
        match &self.host {
            Host::Name(name) => Some(name),
            Host::Addr(_) => None,
        }
    }

    pub(super) fn literal(&self) -> Option<IpAddr> {
        match &self.host {
            Host::Addr(address) => Some(*address),
            Host::Name(_) => None,
        }
    }
}

fn headers(lines: &[String], flag: &str) -> Result<Vec<Header>, String> {
    lines
        .iter()
        .map(|line| {
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| format!("{flag} {line:?} is not 'NAME: VALUE'"))?;
            Ok((
                name.trim().to_ascii_lowercase(),
                value.trim().as_bytes().to_vec(),
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn ask(line: &[&str]) -> Result<Question, String> {
        let line = ["explain", "--policies", "x"].iter().chain(line);
        Question::parse(&Line::parse_from(line).args)
    }

    #[test]
    fn urls_have_defaults() {
        let question = ask(&["shop.example"]).unwrap();
        assert_eq!((question.scheme, question.port), (Scheme::Https, 443));
        assert_eq!(question.sni.unwrap().as_str(), "shop.example");
        let question = ask(&["http://[2001:db8::1]:8080/a?b"]).unwrap();
        assert_eq!((question.scheme, question.port), (Scheme::Http, 8080));
        assert!(question.sni.is_none() && question.literal().is_some());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for line in [
            vec!["ftp://x.io"],
            vec!["tcp://x.io"],
            vec!["http://user@x.io"],
            vec!["--header", "no-colon", "http://x.io"],
            vec!["--sni", "a b", "https://x.io"],
        ] {
            assert!(ask(&line).is_err(), "{line:?}");
        }
    }
}
