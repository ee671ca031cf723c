#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::config::compat::{Effect, SEED_FLAGS};

fn proxy(args: &[&str]) -> ProxyArgs {
    let line = ["twinring", "proxy"].iter().chain(args);
    match parse(line).unwrap().command {
        Command::Proxy(proxy) => *proxy,
        _ => panic!("not the proxy"),
    }
}

fn around() -> Surroundings<'static> {
    Surroundings {
        cores: vec![0, 1, 2, 3],
        resolve: &|host, port| {
            let last = u8::try_from(host.len()).unwrap();
            Ok(vec![std::net::SocketAddr::from(([10, 0, 0, last], port))])
        },
    }
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_seed_option_parses_with_a_value_as_users_write_it() {
    for flag in SEED_FLAGS {
        let long = format!("--{}", flag.name);
        let joined = format!("{long}={}", flag.example);
        let spellings = [vec![long.as_str(), flag.example], vec![joined.as_str()]];
        let short = flag.short.map(|short| vec![short, flag.example]);
        for mut args in spellings.into_iter().chain(short) {
            args.extend(["old", "newer"]);
            let parsed = proxy(&args);
            assert_ne!(
                parsed.settings,
                proxy(&["old", "newer"]).settings,
                "{args:?}"
            );
        }
    }
}

#[test]
fn every_seed_option_works_or_says_what_happens() {
    for flag in SEED_FLAGS {
        let long = format!("--{}", flag.name);
        let mut args = vec!["old", "newer", &long, flag.example];
        if flag.name.starts_with("target-user") {
            args.extend(["--target-password", "word"]);
        } else if flag.name == "target-password" {
            args.extend(["--target-username", "name"]);
        } else if flag.name == "proxy-pem-keyfile" {
            args.extend(["--proxy-pem-certfile", "cert.pem"]);
        }
        let result = proxy(&args).into_config(&around());
        match flag.effect {
            Effect::Works => {
                let _ = result.unwrap();
            }
            Effect::Replaced { by } => {
                let line = format!("--{} {}: {by}", flag.name, flag.example);
                assert!(result.unwrap().notices.contains(&line), "{line}");
            }
        }
    }
}

#[test]
fn a_runbook_line_of_the_seed_works_whole() {
    let line = "10.0.0.5 10.0.0.16 --source-port 9042 --target-port 9042 -p 29042 -mp 28001 \
                -t 2 -W true --disable-source-tls true --disable-target-tls true --uuid true \
                --target-username bob --target-password secret-word --protocol-version 3 \
                --protocol-version 4 --cql-version 3.4.4 --compression-enabled false \
                --tcp-idle-time-out 60 --write-buffer-size 65536 --dest-close false \
                --metrics true --debug false";
    let config = proxy(&line.split_whitespace().collect::<Vec<_>>())
        .into_config(&around())
        .unwrap();
    assert_eq!(config.admin.unwrap().to_string(), "127.0.0.1:28001");
    assert_eq!(config.cores, [0, 1]);
    assert_eq!(config.offer.protocol_versions, [3, 4]);
    assert!(config.offer.no_compression);
    assert_eq!(
        config
            .target_credentials
            .as_ref()
            .unwrap()
            .password
            .reveal(),
        "secret-word"
    );
    assert!(
        config
            .notices
            .iter()
            .any(|line| line.contains("can be read by every user"))
    );
    assert!(
        !format!("{config:?}").contains("secret-word"),
        "passwords are never printed"
    );
}

#[test]
fn errors_show_no_password() {
    let args = proxy(&["old", "newer", "--target-password", "secret-word"]);
    assert!(!format!("{args:?}").contains("secret-word"));
    let error = args.into_config(&around()).unwrap_err();
    assert!(error.to_string().contains("--target-username"));
    assert!(!error.to_string().contains("secret-word"));
}

#[test]
fn flags_win_over_the_file_and_the_file_over_defaults() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("twinring.toml");
    std::fs::write(
        &path,
        "source = \"old\"\ntarget = \"newer\"\nproxy-port = 1234\n",
    )
    .unwrap();
    let file = path.to_str().unwrap();
    let port = |args: &[&str]| {
        proxy(&[&["--config", file], args].concat())
            .into_config(&around())
            .unwrap()
    };
    assert_eq!(port(&[]).listen.port(), 1234);
    assert_eq!(port(&["--proxy-port", "99"]).listen.port(), 99);
    assert_eq!(port(&[]).source.contact_points[0].port(), 9042);
}

#[test]
fn status_watches_every_two_seconds_unless_told() {
    let watch = |args: &[&str]| match parse(args).unwrap().command {
        Command::Status(status) => status.watch,
        _ => panic!("not status"),
    };
    assert_eq!(watch(&["twinring", "status"]), None);
    assert_eq!(watch(&["twinring", "status", "--watch"]), Some(2));
    assert_eq!(watch(&["twinring", "status", "--watch", "5"]), Some(5));
    assert!(parse(["twinring", "status", "--watch", "0"]).is_err());
}
