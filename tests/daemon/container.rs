//! The gateway as the image of `Dockerfile` holds it, in the conditions that its first lines tell people to give it: alone in
//! a root that cannot be written, without shell, devices and file systems of the kernel, as a numeric user without any right.
//! No container engine is needed, only root to take it away.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    process::{LIMIT, Process},
    rig::{KEY, Rig, eventually, free_address, get, ready},
};

const DOCKERFILE: &str = include_str!("../../Dockerfile");
/// Makes a root of a folder, which the image's user can write in one place alone, and runs a program in it.
const CONTAIN: &str = r#"
root=$1 state=$2 user=$3; shift 3
mount --bind "$root" "$root"
mount --bind "$state" "$root/var/lib/verkada2mqtt"
mount -o remount,bind,ro "$root"
exec setpriv --no-new-privs --inh-caps=-all --bounding-set=-all,+sys_chroot,+setuid,+setgid \
  chroot --userspec="$user" --groups= "$root" "$@"
"#;

/// The image and its volume, as folders.
struct Image {
    root: TempDir,
    state: TempDir,
}

impl Image {
    fn of(program: &Path, config: &Value) -> Self {
        let image = Self { root: tempfile::tempdir().unwrap(), state: tempfile::tempdir().unwrap() };
        fs::set_permissions(image.root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        chown(image.state.path(), Some(user().0), Some(user().1)).unwrap();
        fs::create_dir_all(image.root.path().join("var/lib/verkada2mqtt")).unwrap();
        image.copy(program, "verkada2mqtt");
        for library in libraries(program) {
            image.copy(&library, library.strip_prefix("/").unwrap());
        }
        image.put("etc/verkada2mqtt/config.yaml", &format!("{config:#}"), 0o644);
        image.put("run/secrets/verkada-api-key", KEY, 0o444);
        image
    }

    fn copy(&self, file: &Path, to: impl AsRef<Path>) {
        let to = self.root.path().join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(file, to).unwrap();
    }

    fn put(&self, file: &str, text: &str, mode: u32) {
        let file = self.root.path().join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Runs the image's program, with other words than its own for what to do.
    fn run(&self, words: &[String]) -> Process {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ec", CONTAIN, "sh"]).args([self.root.path(), self.state.path()]);
        Process::of(command.arg(instruction("USER")).args(list("ENTRYPOINT")).args(words))
    }

    /// Every file of the root.
    fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut open = vec![self.root.path().to_owned()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    open.push(entry.path());
                }
                found.push(entry.path());
            }
        }
        found.sort();
        found
    }
}

/// The last value that the Dockerfile has for an instruction.
fn instruction(name: &str) -> &'static str {
    DOCKERFILE.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).next_back().unwrap()
}

/// The words of an instruction that needs no shell.
fn list(name: &str) -> Vec<String> {
    serde_json::from_str(instruction(name)).unwrap()
}

/// User and group of the image.
fn user() -> (u32, u32) {
    let (user, group) = instruction("USER").split_once(':').unwrap();
    (user.parse().unwrap(), group.parse().unwrap())
}

/// A static program that was built for the image.
#[expect(clippy::disallowed_methods, reason = "a test is told from outside which program it is about")]
fn static_program() -> Option<PathBuf> {
    std::env::var("STATIC_PROGRAM").ok().map(PathBuf::from)
}

/// What a program that is not static needs besides itself.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let told = Command::new("ldd").arg(program).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    told.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

#[tokio::test]
#[ignore = "needs root; .ci/run runs it"]
async fn the_image_needs_no_right_no_shell_and_no_writable_root() {
    let rig = Rig::start().await;
    let http = free_address();
    let config = json!({
        "verkada": { "base_url": rig.simulator.base_url().as_str(), "api_key_file": "/run/secrets/verkada-api-key" },
        "mqtt": { "url": format!("mqtt://{}", rig.broker.address()) },
        "poll": { "scenarios": "1s" },
        "http": { "listen": http.to_string() },
    });
    // The program of the image is static; where none was built, the usual one with its libraries has to do.
    let built = static_program();
    let program = built.clone().unwrap_or_else(|| env!("CARGO_BIN_EXE_verkada2mqtt").into());
    assert!(built.is_none() || libraries(&program).is_empty(), "{} is not static", program.display());
    let image = Image::of(&program, &config);
    let files = image.files();
    let mut gateway = image.run(&list("CMD"));
    ready(&gateway).await;

    let status = fs::read_to_string(format!("/proc/{}/status", gateway.id())).unwrap();
    let has = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
    let (user, group) = user();
    assert_eq!(has("Uid:").split_whitespace().collect::<Vec<_>>(), vec![user.to_string(); 4]);
    assert_eq!(has("Gid:").split_whitespace().collect::<Vec<_>>(), vec![group.to_string(); 4]);
    assert_eq!(
        (has("CapPrm:"), has("CapEff:"), has("Groups:")),
        ("0000000000000000", "0000000000000000", "")
    );
    assert_eq!(has("NoNewPrivs:"), "1");

    let seen = PathBuf::from(format!("/proc/{}/root", gateway.id()));
    let refused = fs::write(seen.join("planted"), "").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ReadOnlyFilesystem, "not even root could write there");

    let client = rig.client().await;
    let door = rig.door("Workshop");
    client.publish(&format!("verkada/door/{door}/set"), "UNLOCK").await;
    client.shows(&format!("verkada/door/{door}/state"), "UNLOCKED").await;
    let scenario = format!("verkada/scenario/{}", rig.scenario("Lockdown Tern Yard"));
    client.publish(&format!("{scenario}/set"), "ON").await;
    client.shows(&format!("{scenario}/state"), "ON").await;

    let check = instruction("HEALTHCHECK").split_once("CMD ").unwrap().1;
    let check: Vec<String> = serde_json::from_str(check).unwrap();
    assert_eq!(check[..1], list("ENTRYPOINT"), "it is the program itself that looks");
    let healthy = image.run(&check[1..]).end_within(LIMIT).await;
    assert_eq!(healthy.code(), Some(0), "{}", healthy.log);
    assert_eq!(get(http, "/healthz").await.0, 200);
    let journal = image.state.path().join("journal.sqlite");
    eventually("the state is written", async || journal.exists().then_some(())).await;

    gateway.signal("TERM");
    let ended = gateway.end_within(LIMIT).await;
    assert_eq!(ended.code(), Some(0), "{}", ended.log);
    assert!(!ended.log.contains("ERROR") && !ended.log.contains("WARN"), "{}", ended.log);
    assert_eq!(image.files(), files, "nothing was left in the root");
    let unhealthy = image.run(&check[1..]).end_within(LIMIT).await;
    assert_eq!(unhealthy.code(), Some(1), "{}", unhealthy.log);
}
