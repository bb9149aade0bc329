//! The status page in a real browser, driven over the `WebDriver` protocol (`chromedriver`).

use std::{
    io::{Read as _, Write as _},
    net::SocketAddr,
    process::Command,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    process::{LIMIT, Process},
    rig::{Rig, eventually, free_address, ready},
};

/// A headless Chromium.
struct Browser {
    driver: SocketAddr,
    session: String,
    _process: Process,
}

impl Browser {
    async fn start() -> Self {
        // It prints the free port that it took.
        let process = Process::of(Command::new("chromedriver").arg("--port=0"));
        let line = process.says("started successfully on port").await;
        let port = line.rsplit(' ').next().unwrap().trim_end_matches('.').parse().unwrap();
        let driver = SocketAddr::from(([127, 0, 0, 1], port));
        // Without a sandbox, since root has none; nothing is loaded but the page.
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--window-size=1200,1000",
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        } } });
        let session =
            ask(driver, "POST", "/session", &wanted).await["sessionId"].as_str().unwrap().to_owned();
        Self { driver, session, _process: process }
    }

    async fn command(&self, path: &str, body: &Value) -> Value {
        ask(self.driver, "POST", &format!("/session/{}{path}", self.session), body).await
    }

    /// Runs the body of a function in the page.
    async fn run(&self, script: &str) -> Value {
        self.command("/execute/sync", &json!({ "script": script, "args": [] })).await
    }

    /// Waits until an expression is true in the page.
    async fn until(&self, expression: &str) {
        let script = format!("return Boolean({expression})");
        eventually(expression, async || (self.run(&script).await == true).then_some(())).await;
    }

    /// A command of the protocol of Chromium's developer tools.
    async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.command("/goog/cdp/execute", &json!({ "cmd": command, "params": parameters })).await
    }

    /// Presses a key once.
    async fn press(&self, key: &str) {
        let press = ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key }));
        let actions = json!({ "actions": [{ "type": "key", "id": "keys", "actions": press }] });
        self.command("/actions", &actions).await;
    }

    /// What was written to the console since the last time: errors, and what the policy forbade.
    async fn complaints(&self) -> Vec<String> {
        let log = self.command("/se/log", &json!({ "type": "browser" })).await;
        log.as_array().unwrap().iter().map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    }

    /// The addresses that were asked for since the last time.
    async fn requests(&self) -> Vec<String> {
        let log = self.command("/se/log", &json!({ "type": "performance" })).await;
        let address = |entry: &Value| {
            let message: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let message = &message["message"];
            let asked = message["method"] == "Network.requestWillBeSent";
            asked.then(|| message["params"]["request"]["url"].as_str().map(str::to_owned))?
        };
        log.as_array().unwrap().iter().filter_map(address).collect()
    }
}

impl Drop for Browser {
    /// The browser outlives a driver that is killed, so it is ended before, however the test went.
    fn drop(&mut self) {
        let request = format!("DELETE /session/{} HTTP/1.1\r\nHost: {}\r\n\r\n", self.session, self.driver);
        let ended = std::net::TcpStream::connect(self.driver).and_then(|mut stream| {
            stream.set_read_timeout(Some(LIMIT))?;
            stream.write_all(request.as_bytes())?;
            stream.read(&mut [0; 1024])
        });
        if let Err(error) = ended {
            eprintln!("the browser may still run: {error}");
        }
    }
}

/// Sends a `WebDriver` command and returns the value of its answer.
async fn ask(driver: SocketAddr, method: &str, path: &str, body: &Value) -> Value {
    let exchange = async {
        let mut stream = TcpStream::connect(driver).await.unwrap();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {driver}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // It may keep the connection open: the length tells where the answer ends.
        loop {
            let mut piece = vec![0; 64 * 1024];
            let read = stream.read(&mut piece).await.unwrap();
            answer.extend_from_slice(&piece[..read]);
            let text = String::from_utf8_lossy(&answer);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let head = head.to_ascii_lowercase();
            let length = head.split("content-length:").nth(1).and_then(|rest| rest.lines().next());
            if read == 0 || length.is_some_and(|length| body.len() >= length.trim().parse().unwrap()) {
                return (head, serde_json::from_str::<Value>(body).unwrap());
            }
        }
    };
    let (head, answer) = timeout(LIMIT, exchange).await.expect("an answer of the browser in time");
    assert!(head.starts_with("http/1.1 200"), "{method} {path}: {answer}");
    answer["value"].clone()
}

/// The least contrast of a text with what is behind it, and that text, by the rules of WCAG 2.
const LEAST_CONTRAST: &str = r#"
    const light = (colour) => {
        const [r, g, b] = colour.match(/[\d.]+/g).slice(0, 3).map((value) => value / 255)
            .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (node) => {
        for (; node; node = node.parentElement) {
            const colour = getComputedStyle(node).backgroundColor;
            if (colour !== "rgba(0, 0, 0, 0)") return colour;
        }
        return "rgb(255, 255, 255)";
    };
    let least = [99, "nothing"];
    for (const node of document.body.querySelectorAll("*")) {
        const text = [...node.childNodes].filter((child) => child.nodeType === 3).map((child) => child.data).join("").trim();
        if (text === "" || node.getClientRects().length === 0 || node.closest("noscript, .skip")) continue;
        const [a, b] = [light(getComputedStyle(node).color), light(behind(node))].sort((x, y) => y - x);
        const contrast = (a + 0.05) / (b + 0.05);
        if (contrast < least[0]) least = [contrast, text];
    }
    return least;
"#;

async fn is_readable(browser: &Browser) {
    let least = browser.run(LEAST_CONTRAST).await;
    assert!(least[0].as_f64().unwrap() >= 4.5, "too little contrast: {least}");
}

/// The state that the page shows of a door, as a script.
fn state_of(name: &str) -> String {
    format!(
        "[...document.querySelectorAll('#door-rows li')].find((row) => row.querySelector('.name span').textContent === \
         {})?.querySelector('.badge').textContent",
        json!(name)
    )
}

#[tokio::test]
#[ignore = "needs chromium; .ci/run runs it"]
async fn the_page_is_live_in_a_browser_and_says_so_when_it_is_not() {
    let mut rig = Rig::start().await;
    let listen = free_address();
    rig.config.set("/http/listen", listen.to_string());
    let gateway = rig.run();
    ready(&gateway).await;
    let client = rig.client().await;
    let door = rig.door("Workshop");
    let browser = Browser::start().await;
    browser.command("/url", &json!({ "url": format!("http://{listen}/") })).await;
    browser.until("document.getElementById('live').textContent === 'live'").await;
    browser.run("window.untouched = true").await;
    browser.until("document.querySelectorAll('#door-rows li').length === 6").await;
    browser.until("document.querySelectorAll('#scenarios li').length === 3").await;
    browser.until(&format!("{} === 'unknown'", state_of("Workshop"))).await;
    is_readable(&browser).await;

    client.publish(&format!("verkada/door/{door}/set"), "UNLOCK").await;
    browser.until("document.getElementById('commands').textContent.includes('unlock Workshop')").await;
    browser.until(&format!("{} === 'locked'", state_of("Workshop"))).await;
    let scenario = rig.scenario("Lockdown Tern Yard");
    client.publish(&format!("verkada/scenario/{scenario}/set"), "ON").await;
    browser
        .until("document.getElementById('urgent').textContent.includes('Lockdown Tern Yard is active')")
        .await;
    browser.until("document.title.startsWith('Scenario active')").await;
    is_readable(&browser).await;

    assert_eq!(browser.complaints().await, [""; 0]);
    drop(gateway);
    browser.until("document.body.classList.contains('lost')").await;
    browser
        .until("document.getElementById('urgent').textContent.includes('connection to the gateway is lost')")
        .await;
    let shown = "[...document.querySelectorAll('#door-rows .badge, #scenarios .badge, #health .badge')].map((badge) => badge.textContent)";
    browser.until(&format!("{shown}.every((text) => text === 'unknown')")).await;
    is_readable(&browser).await;

    let gateway = rig.run();
    ready(&gateway).await;
    browser.until("document.getElementById('live').textContent === 'live'").await;
    browser
        .until("document.getElementById('urgent').textContent.includes('Lockdown Tern Yard is active')")
        .await;
    assert_eq!(browser.run("return window.untouched").await, true, "all of this without a reload");
    for address in browser.requests().await {
        assert!(address.starts_with(&format!("http://{listen}/")), "{address}");
    }
}

#[tokio::test]
#[ignore = "needs chromium; .ci/run runs it"]
async fn names_that_mean_harm_are_text_in_a_browser() {
    let rig = Rig::start().await;
    let names = [
        "<img src=x onerror=\"document.title='owned'\">",
        "<script>window.owned = true</script>",
        "\"><svg onload=alert(1)>",
        "{{constructor.constructor('window.owned=1')()}}",
    ];
    for (door, name) in rig.world.doors().iter().zip(names) {
        rig.world.rename_door(&door.id, name).unwrap();
    }
    let gateway = rig.run();
    let server = ready(&gateway).await;
    let browser = Browser::start().await;
    browser.command("/url", &json!({ "url": format!("http://{server}/") })).await;
    for name in names {
        browser.until(&format!("{} === 'unknown'", state_of(name))).await;
    }
    let made = "return [document.images.length, document.scripts.length, document.querySelectorAll('svg').length, \
                document.title, typeof window.owned]";
    assert_eq!(browser.run(made).await, json!([1, 1, 0, "verkada2mqtt", "undefined"]));
    assert_eq!(browser.complaints().await, [""; 0]);
    for address in browser.requests().await {
        assert!(address.starts_with(&format!("http://{server}/")), "{address}");
    }
    // The policy holds, and these measures would show a breach of it.
    for breach in [
        "const image = new Image(); image.src = 'http://127.0.0.1:1/x.png'; document.body.append(image)",
        "fetch('http://127.0.0.1:1/').catch(() => {})",
        "try { document.body.innerHTML = '<b>x</b>' } catch {}",
    ] {
        browser.run(breach).await;
        eventually("the policy stops it", async || {
            let told = browser.complaints().await.join("\n");
            (told.contains("Content Security Policy") || told.contains("TrustedHTML")).then_some(())
        })
        .await;
    }
}

#[tokio::test]
#[ignore = "needs chromium; .ci/run runs it"]
async fn the_page_works_on_a_phone_in_the_dark_and_by_keyboard() {
    let rig = Rig::start().await;
    let doors = rig.world.doors();
    rig.world.rename_door(&doors[0].id, &"Longdoorname".repeat(40)).unwrap();
    let gateway = rig.run();
    let server = ready(&gateway).await;
    let client = rig.client().await;
    client.publish(&format!("verkada/door/{}/set", doors[1].id), "UNLOCK").await;
    client.publish(&format!("verkada/door/{}/set", doors[1].id), "{}").await;
    let browser = Browser::start().await;
    let phone = json!({ "width": 320, "height": 640, "deviceScaleFactor": 2, "mobile": true });
    browser.devtools("Emulation.setDeviceMetricsOverride", phone).await;
    browser.command("/url", &json!({ "url": format!("http://{server}/") })).await;
    browser.until("document.querySelectorAll('#commands li').length === 2").await;
    browser.run("document.getElementById('readiness').open = true").await;
    let width = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]";
    assert_eq!(browser.run(width).await, json!([320, 320]), "it scrolls sideways");
    let background = "return getComputedStyle(document.body).backgroundColor";
    let light = browser.run(background).await;
    is_readable(&browser).await;
    let dark = json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
    browser.devtools("Emulation.setEmulatedMedia", dark).await;
    let in_the_dark = browser.run(background).await;
    assert_ne!(light, in_the_dark);
    is_readable(&browser).await;
    browser.run("document.getElementById('readiness').open = false").await;

    // Tab, and then Enter on the button that shows locked doors alone.
    let active = "const it = document.activeElement; return it.id || it.textContent.trim()";
    let mut reached = vec![];
    for _ in 0..5 {
        browser.press("\u{e004}").await;
        reached.push(browser.run(active).await.as_str().unwrap().to_owned());
    }
    assert_eq!(reached[..3], ["Skip to doors", "What a lockdown needs", "find"]);
    assert!(reached[3].starts_with("All ") && reached[4].starts_with("Locked "), "{reached:?}");
    let outline = "return getComputedStyle(document.activeElement).outlineStyle";
    assert_eq!(browser.run(outline).await, "solid", "where the focus is can be seen");
    browser.press("\u{e007}").await;
    browser.until("document.activeElement.getAttribute('aria-pressed') === 'true'").await;
    browser.until("document.querySelectorAll('#door-rows li').length < 6").await;
    browser.until("document.activeElement.textContent.startsWith('Locked ')").await;
    assert_eq!(browser.complaints().await, [""; 0]);
}
