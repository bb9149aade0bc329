//! What people install the gateway by says what the program says: keys, ports, paths and versions agree.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what fails here fails the test"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use serde::Deserialize as _;
use serde_json::{Value, json};
use verkada2mqtt::{
    config::{self, Config, Environment, OfferedBroker},
    model::Scheme,
};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The port of `http.listen`, unless a configuration says otherwise.
const PORT: u64 = 9463;
const STATE: &str = "/var/lib/verkada2mqtt";
const CONFIG: &str = "/etc/verkada2mqtt/config.yaml";
/// The user of the image.
const USER: u64 = 65532;

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn documents(path: &str) -> Vec<Value> {
    let text = text(path);
    serde_yaml::Deserializer::from_str(&text).map(|one| Value::deserialize(one).unwrap()).collect()
}

fn document(path: &str) -> Value {
    let mut all = documents(path);
    assert_eq!(all.len(), 1, "{path}");
    all.remove(0)
}

fn app() -> Value {
    document("packaging/home-assistant/verkada2mqtt/config.yaml")
}

/// Loads a configuration whose files are not here, each in place of one that is: a text, or a certificate.
fn load(text: &str, env: &Environment) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "a-secret").unwrap();
    #[cfg(unix)]
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let lines = text.lines().map(|line| match line.split_once("_file: ") {
        // An authority is read as a certificate; that it is named is all that counts here.
        Some((key, _)) if key.trim() == "ca" => String::new(),
        Some((key, _)) => format!("{key}_file: {}", secret.display()),
        None => line.to_owned(),
    });
    let text = lines.collect::<Vec<_>>().join("\n").replace("    tls:\n\n", "");
    config::parse(&text, "config.yaml", env).unwrap_or_else(|report| panic!("{report}\n{text}"))
}

/// The leaves of the app's schema by their paths; a list by what its elements are.
fn leaves(value: &Value, path: &str, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                leaves(value, &format!("{path}/{name}"), found);
            }
        }
        Value::Array(items) => {
            assert_eq!(items.len(), 1, "{path}");
            leaves(&items[0], &format!("{path}/-"), found);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            found.insert(path.to_owned(), value.as_str().unwrap().to_owned());
        }
    }
}

fn options() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    leaves(&app()["schema"], "", &mut found);
    found
}

/// The part of our JSON Schema about a key.
fn ours(schema: &Value, path: &str) -> Value {
    let pointer: String = path.split('/').skip(1).fold(String::new(), |pointer, word| match word {
        "-" => pointer + "/items",
        word => format!("{pointer}/properties/{word}"),
    });
    schema.pointer(&pointer).unwrap_or_else(|| panic!("{path} is no key of the configuration")).clone()
}

#[test]
fn options_of_the_app_are_keys_of_the_configuration() {
    let schema = config::schema();
    let options = options();
    assert!(options.len() > 25, "{options:?}");
    for (path, kind) in options {
        let key = ours(&schema, &path);
        let kind = kind.trim_end_matches('?');
        if let Some(words) = kind.strip_prefix("list(").and_then(|rest| rest.strip_suffix(')')) {
            let theirs: BTreeSet<&str> = words.split('|').collect();
            let ours: BTreeSet<&str> =
                key["enum"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            assert_eq!(theirs, ours, "{path}");
            continue;
        }
        let expected = if kind == "bool" { "boolean" } else { "string" };
        assert_eq!(key["type"], json!(expected), "{path}: {kind}");
        // What nobody may see is masked, and nothing else.
        assert_eq!(kind == "password", key["writeOnly"] == json!(true), "{path}: {kind}");
    }
}

#[test]
fn the_app_starts_with_its_options_and_a_key() {
    let app = app();
    let variables = app["environment"].as_object().unwrap();
    let env: Environment =
        variables.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
    let env = env.offering(OfferedBroker::new(false, "core-mosquitto", 1883, None).unwrap());
    let mut options = app["options"].clone();
    let given: BTreeSet<_> = options.as_object().unwrap().keys().cloned().collect();
    let asked: BTreeSet<_> = app["schema"].as_object().unwrap().keys().cloned().collect();
    // The Supervisor takes no options in which one of these is missing.
    assert_eq!(given, asked);
    options["verkada"]["api_key"] = json!("test-key");
    let config = load(&options.to_string(), &env);
    assert_eq!((config.mqtt.host.as_str(), config.mqtt.offered), ("core-mosquitto", true));
    assert_eq!(u64::from(config.http.listen.port()), PORT);
    assert!(config.http.listen.ip().is_unspecified());
    // The one folder that is kept.
    assert!(config.state_dir.starts_with("/data"), "{}", config.state_dir.display());
    assert_eq!(config.warnings, [""; 0]);
    // Defaults of the options are those of the configuration.
    let least = config::parse(
        "{verkada: {api_key: test-key, region: us}}",
        "",
        &Environment::default().offering(OfferedBroker::unknown()),
    );
    let changes = config::changes(&least.unwrap(), &config);
    let keys: Vec<_> = changes.iter().map(|change| change.key.as_str()).collect();
    assert_eq!(keys, ["mqtt.url", "http.listen", "state_dir"]);
}

#[test]
fn every_option_of_the_app_is_explained() {
    let schema = app()["schema"].clone();
    let told = document("packaging/home-assistant/verkada2mqtt/translations/en.yaml");
    let names = |value: &Value| -> BTreeSet<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(names(&told["configuration"]), names(&schema));
    for (section, keys) in schema.as_object().unwrap() {
        let told = &told["configuration"][section];
        assert_eq!(names(&told["fields"]), names(keys), "{section}");
        for one in told["fields"].as_object().unwrap().values().chain([told]) {
            assert!(one["name"].is_string() && one["description"].is_string(), "{section}: {one}");
        }
    }
    assert_eq!(names(&told["network"]), names(&app()["ports"]));
}

#[test]
fn the_app_is_what_the_supervisor_takes() {
    let app = app();
    assert_eq!(app["version"], json!(VERSION));
    assert_eq!(app["slug"], json!("verkada2mqtt"));
    assert_eq!(app["ports"], json!({ format!("{PORT}/tcp"): null }));
    assert_eq!(app["services"], json!(["mqtt:want"]));
    for right in
        ["host_network", "privileged", "full_access", "docker_api", "hassio_api", "homeassistant_api"]
    {
        assert_eq!(app[right], Value::Null, "{right}");
    }
    assert!(document("packaging/home-assistant/repository.yaml")["name"].is_string());
    let profile = text("packaging/home-assistant/verkada2mqtt/apparmor.txt");
    assert!(profile.contains("\nprofile verkada2mqtt "), "the profile has the name of the slug");
    assert!(
        text("packaging/home-assistant/verkada2mqtt/CHANGELOG.md").contains(&format!("\n## {VERSION}\n"))
    );
    // Supervisors look for this name in the whole repository.
    let others = documents_named("config.yaml", Path::new(env!("CARGO_MANIFEST_DIR")));
    assert_eq!(others, ["packaging/home-assistant/verkada2mqtt/config.yaml"]);
}

/// The files of a name below a folder, but for what is built.
fn documents_named(name: &str, folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let own = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !["target", ".git"].contains(&own) {
            found.extend(documents_named(name, &path));
        } else if own == name {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
    found
}

#[test]
fn the_images_agree_with_the_program() {
    let image = text("Dockerfile");
    for line in [
        &format!("USER {USER}:{USER}\n"),
        &format!("VOLUME {STATE}\n"),
        "ENTRYPOINT [\"/verkada2mqtt\"]\n",
        "CMD [\"run\"]\n",
        "CMD [\"/verkada2mqtt\", \"healthcheck\"]\n",
    ] {
        assert!(image.contains(line), "{line}");
    }
    let app = text("packaging/home-assistant/verkada2mqtt/Dockerfile");
    let line = |text: &str, word: &str| text.lines().find(|line| line.starts_with(word)).map(str::to_owned);
    for word in ["ENTRYPOINT", "CMD", "HEALTHCHECK", "STOPSIGNAL"] {
        assert_eq!(line(&app, word), line(&image, word));
    }
}

#[test]
fn compose_agrees_with_its_configuration() {
    let compose = document("packaging/compose/compose.yaml");
    let gateway = &compose["services"]["verkada2mqtt"];
    assert_eq!(gateway["read_only"], json!(true));
    assert_eq!(gateway["cap_drop"], json!(["ALL"]));
    assert_eq!(gateway["ports"], json!([format!("127.0.0.1:{PORT}:{PORT}")]));
    assert_eq!(
        gateway["volumes"],
        json!([format!("./verkada2mqtt.yaml:{CONFIG}:ro"), format!("state:{STATE}")])
    );
    let file = text("packaging/compose/verkada2mqtt.yaml");
    let config = load(&file, &Environment::default());
    assert_eq!((config.mqtt.scheme, config.mqtt.host.as_str()), (Scheme::Mqtts, "mosquitto"));
    assert_eq!(u64::from(config.http.listen.port()), PORT);
    assert_eq!(config.state_dir, Path::new(STATE));
    assert_eq!(compose["services"]["mosquitto"]["ports"], json!([format!("{0}:{0}", config.mqtt.port)]));
    // Each secret that is named is there, and made by `prepare`.
    let prepare = text("packaging/compose/prepare");
    for (service, reads) in [("verkada2mqtt", file), ("mosquitto", text("packaging/compose/mosquitto.conf"))]
    {
        let named = words_after(&reads, "/run/secrets/");
        let given: BTreeSet<_> = strings(&compose["services"][service]["secrets"]).collect();
        assert_eq!(named, given, "{service}");
        for secret in given {
            let made = compose["secrets"][&secret]["file"].as_str().unwrap();
            let name = made.strip_prefix("./secrets/").unwrap();
            assert!(prepare.contains(name), "{name}");
        }
    }
    let user = config.mqtt.credentials.unwrap().0;
    assert!(prepare.contains(&format!("'{user}:")), "{user}");
    assert!(text("examples/mosquitto/acl").contains(&format!("\nuser {user}\n")));
}

#[test]
fn kubernetes_agrees_with_its_configuration() {
    let all = documents("packaging/kubernetes/verkada2mqtt.yaml");
    let of = |kind: &str| all.iter().find(|one| one["kind"] == json!(kind)).unwrap().clone();
    assert_eq!(all.len(), 3);
    let deployment = of("Deployment");
    assert_eq!(deployment["spec"]["replicas"], json!(1));
    assert_eq!(deployment["spec"]["strategy"], json!({"type": "Recreate"}));
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], json!(false));
    for key in ["runAsUser", "runAsGroup", "fsGroup"] {
        assert_eq!(pod["securityContext"][key], json!(USER));
    }
    let container = &pod["containers"][0];
    assert_eq!(container["image"], json!(format!("verkada2mqtt:{VERSION}")));
    assert_eq!(container["ports"], json!([{"name": "http", "containerPort": PORT}]));
    assert_eq!(container["livenessProbe"]["httpGet"], json!({"path": "/healthz", "port": "http"}));
    assert_eq!(container["readinessProbe"]["httpGet"], json!({"path": "/readyz", "port": "http"}));
    let file = of("ConfigMap")["data"]["config.yaml"].as_str().unwrap().to_owned();
    let config = load(&file, &Environment::default());
    assert_eq!(u64::from(config.http.listen.port()), PORT);
    assert!(config.http.listen.ip().is_unspecified());
    let mounts: BTreeMap<_, _> = container["volumeMounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| (mount["name"].as_str().unwrap(), mount["mountPath"].as_str().unwrap()))
        .collect();
    assert_eq!(Path::new(mounts["config"]).join("config.yaml"), Path::new(CONFIG));
    assert_eq!(Path::new(mounts["state"]), config.state_dir);
    let named = words_after(&file, &format!("{}/", mounts["secrets"]));
    let readme = text("packaging/kubernetes/README.md");
    assert_eq!(named, words_after(&readme, "--from-file="));
}

/// The names that follow these letters.
fn words_after(text: &str, letters: &str) -> BTreeSet<String> {
    let name = |rest: &str| -> String {
        rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect()
    };
    text.split(letters).skip(1).map(name).collect()
}

fn strings(list: &Value) -> impl Iterator<Item = String> {
    list.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned())
}

#[test]
fn workflows_have_few_rights_and_run_nothing_that_can_change() {
    for file in ["ci.yml", "release.yml"] {
        let path = format!(".github/workflows/{file}");
        let workflow = document(&path);
        assert_eq!(workflow["permissions"], json!({}), "{file}: each job says what it needs");
        for (name, job) in workflow["jobs"].as_object().unwrap() {
            assert!(job["permissions"].is_object(), "{file}: {name}");
        }
        for used in text(&path).lines().filter_map(|line| line.split_once("uses: ")).map(|(_, used)| used) {
            let commit = used.split_once('@').map(|(_, commit)| commit.split(' ').next().unwrap());
            let pinned = commit
                .is_some_and(|commit| commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit()));
            assert!(pinned || used.starts_with("./"), "{file}: {used}");
        }
    }
    let toolchain =
        format!("rust:{}", text("Dockerfile").split_once("FROM rust:").unwrap().1.split('-').next().unwrap());
    for file in ["ci.yml", "release.yml"] {
        assert!(
            text(&format!(".github/workflows/{file}")).contains(&toolchain),
            "{file}: the compiler of the image"
        );
    }
    assert!(text(".github/workflows/ci.yml").contains("run: bash .ci/run"));
    assert!(text(".github/workflows/release.yml").contains(".ci/release --twice"));
}
