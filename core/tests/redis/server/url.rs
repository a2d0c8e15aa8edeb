//! What URLs say.

use luacell::{ErrorKind, RedisStore, Sandbox, SandboxConfig};

use super::Server;

#[test]
fn what_a_url_can_not_mean() {
    let server = Server::start(&[]);
    let at = format!("127.0.0.1:{}", server.port);
    for (url, expected) in [
        ("redis://AT?namespac=test", "namespac"),
        ("redis://AT/?Namespace=test", "Namespace"),
        ("redis://AT?namespace=a&timeout=3", "timeout"),
        ("redis://AT?protocol=resp3", "protocol"),
        ("redis://AT?db=3", "db"),
        ("redis://AT?namespace=a&namespace=b", "twice"),
        ("redis://AT?namespace", "empty"),
        ("redis://AT?namespace=", "empty"),
        ("redis://AT?namespace=%7Ba", "braces"),
        ("redis://AT?namespace=%ff", "UTF-8"),
        ("redis://AT?ca=file.pem", "rediss"),
        ("valkey://AT?namespac=test", "namespac"),
        ("redis://AT#insecure", "#"),
        ("rediss://AT#insecure", "#"),
        ("redis://AT/notanumber", "number"),
        ("redis://AT/-1", "number"),
        ("redis://secret@AT", "password"),
        ("redis://:secret#AT", "not valid"),
        ("redis://AT:99999", "not valid"),
        ("redis://:secret%ff@AT", "UTF-8"),
    ] {
        let url = url.replace("AT", &at);
        let errors = [
            RedisStore::open(&url).map(drop),
            Sandbox::with_config(SandboxConfig::new().store(url.as_str())).map(drop),
        ];
        for error in errors {
            let Err(error) = error else { panic!("{url} was opened") };
            assert_eq!(error.kind(), ErrorKind::Store, "{url}: {error}");
            assert!(error.message().contains(expected), "{url}: {error}");
            assert!(!error.to_string().contains("secret"), "{url}: {error}");
        }
    }
    assert_eq!(server.cli(&["keys", "*"]), "");
}

#[test]
fn names_are_decoded() {
    let server = Server::start(&["--user", "a:b/c", "on", ">50% ü?#", "~*", "&*", "+@all"]);
    let user = "a%3Ab%2Fc:50%25%20%c3%bc%3F%23";
    for scheme in ["redis", "valkey"] {
        let url = format!("{scheme}://{user}@127.0.0.1:{}/2?namespace=caf%C3%A9%20%26+1", server.port);
        Sandbox::with_config(SandboxConfig::new().store(url)).unwrap().compute("_home.x = 1").unwrap();
    }
    let keys = server.cli(&["-n", "2", "--no-raw", "exists", "{café &+1}:format"]);
    assert_eq!(keys, "(integer) 1");
}
