//! What the pure parts cost per request: decoding, classifying, stamping, relaying, the target's
//! form. `cargo bench --bench codec`; figures in `benches/README.md`.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/steady.rs"]
mod steady;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use twinring::cql::Version;
use twinring::cql::decoder::{DecodeLimits, split};
use twinring::cql::request::execute::Execute;
use twinring::cql::stamp::Tail;
use twinring::relay::plan::{MirrorDdl, PlanCache, Rules};
use twinring::relay::wanted::Wanted;
use twinring::statement::classify;
use twinring::statement::rewrite::with_ttl;

use self::steady::{Steady, execute_bytes};

const TEXT: &str = "INSERT INTO shop.orders (id, customer, placed, total) VALUES (?, ?, ?, ?) \
     USING TTL 86400";

fn decoder(c: &mut Criterion) {
    let (one, limits) = (execute_bytes(100), DecodeLimits::requests(1 << 20));
    let many = one.repeat(64);
    let mut group = c.benchmark_group("decoder");
    group.throughput(Throughput::Elements(64));
    group.bench_function("split, 64 envelopes", |b| {
        b.iter(|| {
            let (mut at, mut count) = (0, 0);
            while let Some(envelope) = split(&many[at..], &limits).unwrap() {
                at += envelope.raw.len();
                count += 1;
            }
            black_box(count)
        });
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("parse an EXECUTE", |b| {
        let envelope = split(&one, &limits).unwrap().unwrap();
        b.iter(|| black_box(Execute::parse(black_box(envelope.body)).unwrap()));
    });
    group.finish();
}

fn classifier(c: &mut Criterion) {
    let mut group = c.benchmark_group("classifier");
    group.bench_function("cold", |b| b.iter(|| black_box(classify(black_box(TEXT)))));
    let rules = Rules {
        mirror_ddl: MirrorDdl::All,
        replication: None,
        filter: None,
        wanted: Wanted::default(),
    };
    let mut plans = PlanCache::new(rules, 1 << 20);
    plans.plan(TEXT, None);
    group.bench_function("cached", |b| {
        b.iter(|| black_box(plans.plan(black_box(TEXT), None)));
    });
    group.finish();
}

fn rewrites(c: &mut Criterion) {
    let statement = classify(TEXT);
    let bytes = execute_bytes(100);
    let limits = DecodeLimits::requests(1 << 20);
    let envelope = split(&bytes, &limits).unwrap().unwrap();
    let params = Execute::parse(envelope.body).unwrap().params.raw;
    c.bench_function("stamp a request", |b| {
        let mut out = Vec::with_capacity(bytes.len() + 8);
        b.iter(|| {
            out.clear();
            let tail = Tail::find(black_box(params), Version::V4).unwrap();
            tail.put_stamped(&mut out, 1);
            black_box(out.len())
        });
    });
    c.bench_function("a TTL of another age", |b| {
        b.iter(|| black_box(with_ttl(black_box(TEXT), &statement, 60, |_| None)));
    });
}

fn relay(c: &mut Criterion) {
    let mut group = c.benchmark_group("relay");
    for bytes in [100, 4096] {
        let mut steady = Steady::new(bytes);
        group.bench_function(format!("mirrored write, {bytes} bytes"), |b| {
            b.iter(|| steady.mirrored_write());
        });
    }
    let mut steady = Steady::journaled(100);
    group.bench_function("mirrored write with its journal, 100 bytes", |b| {
        b.iter(|| steady.mirrored_write());
    });
    let mut steady = Steady::routed(100);
    group.bench_function("mirrored write to its owner, 100 bytes", |b| {
        b.iter(|| steady.routed_write());
    });
    let mut steady = Steady::new(100);
    group.bench_function("read", |b| b.iter(|| steady.read()));
    group.finish();
}

criterion_group!(benches, decoder, classifier, rewrites, relay);
criterion_main!(benches);
