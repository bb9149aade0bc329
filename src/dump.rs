//! What others may see of our memory, which holds every secret: nothing.

use std::io;

/// Forbids this process to leave core dumps, and on Linux other processes of its user to look into its memory.
///
/// # Errors
/// If the operating system does not let us.
#[cfg(unix)]
pub fn forbid() -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};

    // Where the limit is not asked, because a program takes the dumps, this decides.
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(())
}

/// Core dumps are not known on this system.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn forbid() -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};

    use super::*;

    #[test]
    fn neither_the_limit_nor_the_flag_lets_memory_out() {
        forbid().unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        let limit = getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
    }
}
