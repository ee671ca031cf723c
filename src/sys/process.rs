//! Child processes that do not outlive their parent.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// Has the kernel kill the child when the thread that starts it ends, however it ends
/// (`PR_SET_PDEATHSIG`, prctl(2)). Start the child from the main thread.
pub fn end_with_parent(command: &mut Command) {
    let parent = std::process::id();
    let arrange = move || {
        // SAFETY: no pointers; the call is async-signal-safe.
        if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // The parent may have ended before the call.
        if std::os::unix::process::parent_id() != parent {
            return Err(io::ErrorKind::Interrupted.into());
        }
        Ok(())
    };
    // SAFETY: between fork and exec, `arrange` only makes two system calls and allocates nothing.
    unsafe { command.pre_exec(arrange) };
}

/// Asks a child to end (SIGTERM); nothing when it has ended already.
///
/// # Errors
/// What waitpid(2) or kill(2) answer; not expected for an own child.
pub fn terminate(child: &mut Child) -> io::Result<()> {
    if child.try_wait()?.is_some() {
        return Ok(());
    }
    let pid = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    // SAFETY: no pointers; the child is not reaped, so the id is still its own.
    if unsafe { libc::kill(pid, libc::SIGTERM) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn a_child_is_asked_to_end() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        terminate(&mut child).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
        terminate(&mut child).unwrap(); // already gone
    }

    #[test]
    fn a_child_ends_with_the_thread_that_started_it() {
        let mut child = std::thread::spawn(|| {
            let mut command = Command::new("sleep");
            end_with_parent(command.arg("60"));
            command.spawn().unwrap()
        })
        .join()
        .unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    }
}
