//! A real Mosquitto with its own configuration, on a free port of this machine.

use std::{
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{net::TcpStream, time::timeout};

/// A running broker; it is killed when this is dropped.
pub(crate) struct Mosquitto {
    port: u16,
    folder: TempDir,
    process: Option<Child>,
}

impl Mosquitto {
    /// Starts a broker that lets everyone in.
    pub(crate) async fn start() -> Self {
        Self::with("allow_anonymous true\n", &[]).await
    }

    /// Starts a broker with more configuration, in which `FOLDER` stands for where `files` are.
    pub(crate) async fn with(configuration: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The broker gives up its rights where it is started as root, and must still read its files.
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        let port = free_port();
        let own = format!("listener {port} 127.0.0.1\npersistence false\nlog_dest none\n");
        let path = folder.path().to_str().unwrap();
        std::fs::write(folder.path().join("mosquitto.conf"), own + &configuration.replace("FOLDER", path))
            .unwrap();
        let mut broker = Self { port, folder, process: None };
        broker.run().await;
        broker
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Starts the process again after [`Self::kill`].
    pub(crate) async fn run(&mut self) {
        let process = Command::new(program())
            .arg("-c")
            .arg(self.folder.path().join("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Mosquitto starts: put it on the path or name it in $MOSQUITTO");
        self.process = Some(process);
        let accepting = async {
            while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(10), accepting).await.expect("Mosquitto accepts connections");
    }

    /// Kills it the hard way.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

#[expect(clippy::disallowed_methods, reason = "a test may be told where the broker is")]
fn program() -> PathBuf {
    let usual = PathBuf::from("/usr/sbin/mosquitto");
    match std::env::var("MOSQUITTO") {
        Ok(path) => path.into(),
        Err(_) if usual.exists() => usual,
        Err(_) => "mosquitto".into(),
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
