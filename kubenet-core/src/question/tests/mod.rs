mod resolve;

use alloc::format;
use alloc::string::String;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use self::resolve::example;
use super::suggest::near;
use super::*;

fn check_parse(texts: &[&str], expect: Expect) {
    let mut out = String::new();
    for text in texts {
        out += &match Endpoint::parse(text) {
            Ok(Endpoint { target, port, url, .. }) => {
                let port = port.map(|p| format!(" port {p:?}")).unwrap_or_default();
                let url = url.map(|u| format!(" {} {}", u.scheme.as_str(), u.path)).unwrap_or_default();
                format!("{text}\n    {target:?}{port}{url}\n")
            }
            Err(error) => {
                format!("{text}\n{}{} {error}\n", " ".repeat(error.offset), "^".repeat(error.length.min(40)),)
            }
        };
    }
    expect.assert_eq(&out);
}

#[test]
fn every_form_of_the_grammar_is_read() {
    check_parse(
        &[
            "pod/web-0",
            "po/web-0:http",
            "shop/deploy/cart:7070",
            "shop/Deployment.apps/cart[*]:7070",
            "services/api",
            "no/node-1:10250",
            "shop/cart-0",
            "shop/cart[*]:80",
            "10.244.1.5",
            "10.244.1.5:80",
            "fd00::5",
            "[fd00::5]",
            "[fd00::5]:80",
            "internet",
            "internet:443",
            "internet/8.8.8.8:53",
            "internet/[2001:db8::1]:53",
            "api.shop:http",
            "localhost",
            "http://api.shop",
            "https://api.shop:8443/v1/items?page=2#top",
            "HTTP://[fd00::5]:8080?x",
        ],
        expect![[r#"
            pod/web-0
                Object { namespace: None, kind: Pod, name: "web-0", all: false }
            po/web-0:http
                Object { namespace: None, kind: Pod, name: "web-0", all: false } port Name("http")
            shop/deploy/cart:7070
                Object { namespace: Some("shop"), kind: Deployment, name: "cart", all: false } port Number(7070)
            shop/Deployment.apps/cart[*]:7070
                Object { namespace: Some("shop"), kind: Deployment, name: "cart", all: true } port Number(7070)
            services/api
                Object { namespace: None, kind: Service, name: "api", all: false }
            no/node-1:10250
                Object { namespace: None, kind: Node, name: "node-1", all: false } port Number(10250)
            shop/cart-0
                Named { namespace: "shop", name: "cart-0", all: false }
            shop/cart[*]:80
                Named { namespace: "shop", name: "cart", all: true } port Number(80)
            10.244.1.5
                Address(10.244.1.5)
            10.244.1.5:80
                Address(10.244.1.5) port Number(80)
            fd00::5
                Address(fd00::5)
            [fd00::5]
                Address(fd00::5)
            [fd00::5]:80
                Address(fd00::5) port Number(80)
            internet
                Internet(None)
            internet:443
                Internet(None) port Number(443)
            internet/8.8.8.8:53
                Internet(Some(8.8.8.8)) port Number(53)
            internet/[2001:db8::1]:53
                Internet(Some(2001:db8::1)) port Number(53)
            api.shop:http
                Host("api.shop") port Name("http")
            localhost
                Host("localhost")
            http://api.shop
                Host("api.shop") port Number(80) http /
            https://api.shop:8443/v1/items?page=2#top
                Host("api.shop") port Number(8443) https /v1/items?page=2
            HTTP://[fd00::5]:8080?x
                Address(fd00::5) port Number(8080) http /?x
        "#]],
    );
}

#[test]
fn an_error_points_at_the_character() {
    check_parse(
        &[
            "",
            "deploy/ web",
            "shop/depoy/cart",
            "shop/node/node-1",
            "shop/svc/api[*]",
            "shop/deploy/cart/80",
            "deploy/",
            "deploy/:80",
            "/web",
            "deploy/web:",
            "deploy/web:0",
            "deploy/web:70000",
            "deploy/web:ht_tp",
            "deploy/wéb",
            "10.244.1.300",
            "10.244.1.0/24",
            "fd00::5:80:x",
            "1:2:3",
            "[fd00::5",
            "[10.0.0.1]:80",
            "[fd00::5]80",
            "internet/example",
            "web[*]",
            "ftp://web",
            "http://user@web",
            "http:///path",
            "http://web:x:y/",
        ],
        expect![[r#"

            ^ expected an endpoint: [NS/]KIND/NAME[:PORT], NS/NAME[:PORT], IP[:PORT], internet[/IP], HOST[:PORT] or a URL
            deploy/ web
                   ^ an endpoint is one word, without spaces
            shop/depoy/cart
                 ^^^^^ 'depoy' is not a kind; use pod, deploy, sts, ds, rs, rc, job, cj, svc, node
            shop/node/node-1
            ^^^^ a node has no namespace; write node/NAME
            shop/svc/api[*]
                     ^^^^^^ [*] means all pods of a workload, such as deploy/web[*]
            shop/deploy/cart/80
                             ^^ expected nothing after NS/KIND/NAME, found '80'
            deploy/
                   ^ expected a name, found the end
            deploy/:80
                   ^ expected a name, found ':'
            /web
            ^ expected a namespace or a kind, found '/'
            deploy/web:
                       ^ expected a port number from 1 to 65535 or a port's name, found the end
            deploy/web:0
                       ^ expected a port number from 1 to 65535 or a port's name, found '0'
            deploy/web:70000
                       ^^^^^ expected a port number from 1 to 65535 or a port's name, found '70000'
            deploy/web:ht_tp
                       ^^^^^ expected a port number from 1 to 65535 or a port's name, found 'ht_tp'
            deploy/wéb
                    ^ 'é' cannot stand in a name
            10.244.1.300
            ^^^^^^^^^^^^ '10.244.1.300' is not an IPv4 address
            10.244.1.0/24
            ^^^^^^^^^^^^^ a prefix is not an endpoint; name one address
            fd00::5:80:x
                 ^^^^^^^ expected a port number from 1 to 65535 or a port's name, found ':5:80:x'
            1:2:3
            ^^^^^ '1:2:3' is not an address; an IPv6 address with a port is written in brackets, such as [fd00::5]:80
            [fd00::5
            ^^^^^^^^ expected ']' behind the IPv6 address
            [10.0.0.1]:80
             ^^^^^^^^ '10.0.0.1' is not an IPv6 address
            [fd00::5]80
                     ^^ expected ':PORT', found '80'
            internet/example
                     ^^^^^^^ expected an address of the internet, found 'example'
            web[*]
            ^^^^^^ [*] means all pods of a workload, such as deploy/web[*]
            ftp://web
            ^^^ 'ftp' is not a scheme; use http or https
            http://user@web
                   ^^^^^ a URL with a user name or password is not understood
            http:///path
                   ^ expected a host or an address
            http://web:x:y/
                       ^^^ expected a port number from 1 to 65535 or a port's name, found 'x:y'
        "#]],
    );
}

#[test]
fn kinds_have_the_names_of_kubectl() {
    for (word, kind) in [
        ("po", Kind::Pod),
        ("PODS", Kind::Pod),
        ("deploy", Kind::Deployment),
        ("deployments.apps", Kind::Deployment),
        ("sts", Kind::StatefulSet),
        ("ds", Kind::DaemonSet),
        ("rs", Kind::ReplicaSet),
        ("rc", Kind::ReplicationController),
        ("jobs", Kind::Job),
        ("cj", Kind::CronJob),
        ("svc", Kind::Service),
        ("no", Kind::Node),
        ("nodes", Kind::Node),
    ] {
        assert_eq!(Kind::from_word(word), Some(kind), "{word}");
    }
    for word in ["", "s", "pod s", "depoy", "shop", "svcs", "ns"] {
        assert_eq!(Kind::from_word(word), None, "{word}");
    }
}

#[test]
fn near_names_are_found_and_far_ones_are_not() {
    let names =
        ["frontend-7d4f6c8b9-x2x4z", "cartservice-58b9d7c4f-p7k2m", "redis-cart-0", "adservice", "web"];
    assert_eq!(near("frontnd", names, 3), ["frontend-7d4f6c8b9-x2x4z"]);
    assert_eq!(near("cartservcie", names, 3), ["cartservice-58b9d7c4f-p7k2m"]);
    assert_eq!(near("redis", names, 3), ["redis-cart-0"]);
    assert_eq!(near("WEB", names, 3), ["web"]);
    assert!(near("zzz", names, 3).is_empty());
    assert!(near("", names, 3).is_empty());
    assert_eq!(near("a", ["b", "ab"], 3), ["ab"], "one letter is near only what begins with it");
}

proptest! {
    #[test]
    fn no_text_is_too_strange(text in "\\PC{0,40}", pieces in "(internet/|http://|deploy/|a/b/|\\[|)[a-z0-9:/\\[\\]*.é ]{0,20}") {
        for text in [text, pieces] {
            match Endpoint::parse(&text) {
                Ok(endpoint) => {
                    prop_assert_eq!(&*endpoint.text, &text);
                    if let Err(error) = endpoint.resolve(&example(), "default") {
                        prop_assert!(error.offset + error.length <= text.chars().count() + 1, "{:?}", error);
                    }
                }
                Err(error) => {
                    let chars = text.chars().count();
                    prop_assert!(error.offset <= chars && error.length >= 1);
                    prop_assert!(error.offset + error.length <= chars + 1, "{:?}", error);
                }
            }
        }
    }
}
