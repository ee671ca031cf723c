//! `--durability machine`: no answer to a write leaves before the write is on the disk; reads never
//! wait.

use std::io;

use twinring::config::Durability;
use twinring::cql::Opcode;

use crate::world::{World, closed_port};

/// A shard whose journal is on a disk, and whose target is not there.
fn world() -> (World, socket2::Socket) {
    let (socket, target) = closed_port();
    (World::new(target, Durability::Machine), socket)
}

#[test]
fn no_answer_to_a_write_leaves_before_its_sync_has_ended() {
    let (mut world, _target) = world();
    world.write(1);
    world.syncs_begun(1);
    world.only_a_read_is_answered(2);
    // this one came after the sync began, so it is not in it
    world.write(3);
    world.only_a_read_is_answered(4);
    assert_eq!(world.net.begun, 1, "one at a time");
    world.net.ended = Some(Ok(()));
    assert_eq!(world.answer(), (1, Opcode::Result));
    world.only_a_read_is_answered(5);
    world.syncs_begun(2);
    world.net.ended = Some(Ok(()));
    assert_eq!(world.answer(), (3, Opcode::Result));
    // one sync for all that has come meanwhile
    world.write(6);
    world.syncs_begun(3);
    for stream in 7..20 {
        world.write(stream);
    }
    world.only_a_read_is_answered(20);
    world.net.ended = Some(Ok(()));
    assert_eq!(world.answer(), (6, Opcode::Result));
    world.syncs_begun(4);
    world.net.ended = Some(Ok(()));
    for stream in 7..20 {
        assert_eq!(world.answer(), (stream, Opcode::Result));
    }
}

#[test]
fn what_must_not_be_repeated_waits_for_its_state() {
    let (mut world, _target) = world();
    world.query(1, "UPDATE ks.t SET l = l + [1] WHERE k = 1");
    world.syncs_begun(1);
    world.only_a_read_is_answered(2);
    world.net.ended = Some(Ok(()));
    // INTENT is on the disk, that the source has it is not
    world.only_a_read_is_answered(3);
    world.syncs_begun(2);
    world.net.ended = Some(Ok(()));
    assert_eq!(world.answer(), (1, Opcode::Result));
}

#[test]
fn after_a_failed_sync_no_write_is_acknowledged() {
    let (mut world, _target) = world();
    world.write(1);
    world.syncs_begun(1);
    world.only_a_read_is_answered(2);
    world.net.ended = Some(Err(io::ErrorKind::StorageFull.into()));
    for _ in 0..200 {
        world.turn();
    }
    assert_eq!(world.client.take(), None, "the write was acknowledged");
    assert_eq!(
        world.net.begun, 1,
        "a sync that succeeds now would say nothing"
    );
}
