//! What a server's URL says.

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError};

use super::pool::words;
use crate::store::StoreResult;

/// A server, and what is ours in its URL.
pub(super) struct Address {
    pub(super) info: ConnectionInfo,
    pub(super) namespace: Option<String>,
    /// The file of the certificate that the server's has to be signed by.
    pub(super) certificate: Option<String>,
    pub(super) read_only: bool,
}

/// Takes a URL apart. It may hold a password, so that no message shows it.
pub(super) fn parse(url: &str) -> StoreResult<Address> {
    let senseless = |error: &RedisError| format!("the URL of the server is not valid: {}", words(error));
    let Some(mut url) = redis::parse_redis_url(url) else {
        return Err("the URL of the server is not valid: it has to look like redis://user:password@host:port/number?namespace=name, \
                    with special characters in names written as %23"
            .into());
    };
    if url.fragment().is_some() {
        return Err(
            "the URL of the server has a part after a #, which has no meaning there; write a # in a name as %23".into(),
        );
    }
    let is_socket = url.scheme().ends_with("unix");
    let (mut namespace, mut certificate, mut read_only, mut theirs) = (None, None, None, Vec::new());
    for part in url.query().unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let ours = match name {
            "namespace" => &mut namespace,
            "read_only" => &mut read_only,
            "ca" if matches!(url.scheme(), "rediss" | "valkeys") => &mut certificate,
            "ca" => {
                return Err("the URL of the server has a ca=, which only works with rediss:// and valkeys://".into());
            }
            "db" | "user" | "pass" if is_socket => {
                theirs.push(part.to_owned());
                continue;
            }
            _ => {
                let known =
                    if is_socket { "namespace, read_only, db, user and pass" } else { "namespace, read_only and ca" };
                return Err(
                    format!("the URL of the server has an unknown parameter '{name}'; {known} are known").into()
                );
            }
        };
        let decoded = percent_encoding::percent_decode_str(value).decode_utf8();
        let decoded = decoded.map_err(|_| format!("the URL's {name}= is no UTF-8"))?.into_owned();
        if ours.replace(decoded).is_some() {
            return Err(format!("the URL of the server has the parameter '{name}' twice").into());
        }
    }
    let theirs = theirs.join("&");
    url.set_query(is_socket.then_some(theirs.as_str()));
    let info = url.into_connection_info().map_err(|error| senseless(&error))?;
    if info.redis_settings().username().is_some() && info.redis_settings().password().is_none() {
        return Err("the URL of the server has a user but no password".into());
    }
    if matches!(info.addr(), ConnectionAddr::Tcp(..) | ConnectionAddr::TcpTls { .. }) && info.redis_settings().db() < 0
    {
        return Err("the URL of the server has a negative database number".into());
    }
    let read_only = match read_only.as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err("the URL's read_only= is neither true nor false".into()),
    };
    Ok(Address { info, namespace, certificate, read_only })
}
