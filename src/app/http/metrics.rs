//! `/metrics`: how the gateway fares, for Prometheus. No label names a door, scenario or person.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, NoLabelSet, prometheus_text},
    metrics::{MetricType, counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use super::{super::usage::usage, Desk};
use crate::{
    bridge::{Census, Ending, Figures, Status},
    model::{Action, Reason},
    verkada::{Requests, webhook::WebhookHealth},
};

/// How long a scrape waits for what the event loop counts.
const COUNTED_WITHIN: Duration = Duration::from_secs(1);
/// Upper bounds in seconds, dense around what is promised of a lockdown.
const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

type ByAction = Family<[(&'static str, &'static str); 1], Histogram, fn() -> Histogram>;

/// What the shell measures.
#[derive(Debug, Clone)]
pub struct Meters {
    write: ByAction,
    answer: ByAction,
    confirmed: ByAction,
    published: Counter,
}

impl Default for Meters {
    fn default() -> Self {
        let meters = Self {
            write: by_action(),
            answer: by_action(),
            confirmed: by_action(),
            published: Counter::default(),
        };
        // A series that is there from the start shows the first command too.
        for action in Action::ALL {
            for family in [&meters.write, &meters.answer, &meters.confirmed] {
                drop(family.get_or_create(&label(action)));
            }
        }
        meters
    }
}

impl Meters {
    /// The first request of a command was written, so long after its receipt.
    pub(in crate::app) fn write(&self, action: Action, took: Duration) {
        self.write.get_or_create(&label(action)).observe(took.as_secs_f64());
    }

    /// The vendor took an act, so long after the receipt of its command.
    pub(in crate::app) fn answer(&self, action: Action, took: Duration) {
        self.answer.get_or_create(&label(action)).observe(took.as_secs_f64());
    }

    /// What a command asked for was seen to have come about, so long after its receipt.
    pub(in crate::app) fn confirmed(&self, action: Action, took: Duration) {
        self.confirmed.get_or_create(&label(action)).observe(took.as_secs_f64());
    }

    /// A message was handed to the connection to the broker.
    pub(in crate::app) fn published(&self) {
        self.published.inc();
    }
}

fn by_action() -> ByAction {
    Family::new_with_constructor(|| Histogram::new(BOUNDS))
}

const fn label(action: Action) -> [(&'static str, &'static str); 1] {
    [("action", action.word())]
}

/// What others keep and the server shows.
pub struct Sources {
    /// What the core says of itself.
    pub status: watch::Receiver<Status>,
    /// Counts the requests to the vendor's API.
    pub requests: Box<dyn Fn() -> Vec<Requests> + Send + Sync>,
    /// Whom to ask to count doors and scenarios.
    pub census: mpsc::Sender<oneshot::Sender<Census>>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("status", &self.status).finish_non_exhaustive()
    }
}

/// What a scrape is made from.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    ask: mpsc::Sender<oneshot::Sender<Census>>,
    /// What was counted last, for the scrape that asked.
    census: Arc<Mutex<Option<Census>>>,
}

impl Metrics {
    pub(super) fn new(sources: Sources, desk: Option<Arc<Desk>>, meters: Meters) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Machine));
        let (ask, census) = (sources.census.clone(), Arc::default());
        let ours = registry.sub_registry_with_prefix("verkada2mqtt");
        ours.register_collector(Box::new(Now { sources, desk, census: Arc::clone(&census) }));
        ours.register(
            "command_first_byte_seconds",
            "Time from the receipt of a command until its first request was handed to the connection",
            meters.write,
        );
        ours.register(
            "command_answer_seconds",
            "Time from the receipt of a command until the vendor had taken it",
            meters.answer,
        );
        ours.register(
            "command_confirmed_seconds",
            "Time from the receipt of a command until what it asked for was seen to have come about",
            meters.confirmed,
        );
        ours.register("mqtt_published", "Messages handed to the connection to the broker", meters.published);
        Self { registry, ask, census }
    }

    /// Has doors and scenarios counted. Where nobody answers in time they are left out.
    async fn count(&self) {
        let (sender, counted) = oneshot::channel();
        let census = match self.ask.try_send(sender) {
            Ok(()) => timeout(COUNTED_WITHIN, counted).await.ok().and_then(Result::ok),
            Err(_) => None,
        };
        *self.census.lock().unwrap_or_else(PoisonError::into_inner) = census;
    }
}

/// `GET /metrics`.
pub(super) async fn scrape(State(metrics): State<Arc<Metrics>>) -> Response {
    metrics.count().await;
    let mut text = String::new();
    match prometheus_text::encode(&mut text, &metrics.registry) {
        Ok(()) => ([(CONTENT_TYPE, prometheus_text::CONTENT_TYPE)], text).into_response(),
        Err(fmt::Error) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// How things are at the moment.
#[derive(Debug)]
struct Now {
    sources: Sources,
    desk: Option<Arc<Desk>>,
    census: Arc<Mutex<Option<Census>>>,
}

impl Collector for Now {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let status = self.sources.status.borrow().clone();
        let out = &mut encoder;
        let version: Labels = vec![("version", env!("CARGO_PKG_VERSION"))];
        gauge(out, "build_info", "The version that runs", &[(version, 1)])?;
        commands(out, &status)?;
        journal(out, &status.figures)?;
        broker(out, &status)?;
        vendor(out, &status, &(self.sources.requests)())?;
        if let Some(census) = &*self.census.lock().unwrap_or_else(PoisonError::into_inner) {
            things(out, census)?;
        }
        webhooks(out, &status.figures, self.desk.as_deref().map(Desk::health))
    }
}

fn commands(out: &mut DescriptorEncoder<'_>, Status { books, figures, .. }: &Status) -> fmt::Result {
    count(out, "commands_received", "Commands that came", &one(books.received()))?;
    let endings: Vec<_> = books.endings().map(|(ending, count)| (labels(&ending), count)).collect();
    count(out, "commands_ended", "Commands that ended, each once", &endings)?;
    gauge(out, "commands_pending", "Commands that have not ended", &one(books.pending()))?;

    let text = "Whether a lockdown could be started now; missing while that is not known";
    let ready: Vec<_> = figures.ready.map(|ready| (Labels::new(), u64::from(ready))).into_iter().collect();
    gauge(out, "lockdown_ready", text, &ready)?;
    let text = "Lockdowns that were asked for and are not confirmed";
    gauge(out, "lockdown_alarms", text, &one(size(figures.alarms)))?;
    let text = "Times a lockdown that was asked for was not confirmed";
    count(out, "lockdown_alarms_raised", text, &one(figures.alarms_raised))
}

fn journal(out: &mut DescriptorEncoder<'_>, figures: &Figures) -> fmt::Result {
    let text = "Records of this run that are durable in the journal";
    gauge(out, "journal_durable_records", text, &one(figures.journal_durable))?;
    let text = "Whether the journal cannot be written";
    gauge(out, "journal_broken", text, &one(figures.journal_broken.into()))
}

fn broker(out: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    let figures = &status.figures;
    let links = |main: bool, securing: bool| {
        [(vec![("link", "main")], u64::from(main)), (vec![("link", "securing")], u64::from(securing))]
    };
    let up = links(status.mqtt.is_some(), figures.securing_up);
    gauge(out, "mqtt_link_up", "Whether the connection to the broker has a session", &up)?;
    let proven = links(status.mqtt_proven, status.securing_proven);
    gauge(out, "mqtt_link_proven", "Whether a heartbeat came back in its session", &proven)?;
    let waiting = [
        (vec![("kind", "retained")], size(figures.waiting_topics)),
        (vec![("kind", "once")], size(figures.waiting_messages)),
    ];
    gauge(out, "mqtt_waiting", "Messages that wait to be published", &waiting)?;
    let text = "Results and events that were dropped, because too many waited for the broker";
    count(out, "mqtt_dropped", text, &one(figures.dropped_messages))
}

fn vendor(out: &mut DescriptorEncoder<'_>, status: &Status, requests: &[Requests]) -> fmt::Result {
    gauge(out, "api_up", "Whether the vendor's API answers", &one(status.api.into()))?;
    let text = "Requests to the vendor's API that the present minute still allows";
    gauge(out, "api_budget_left", text, &one(size(status.budget_left)))?;
    let series: Vec<_> = requests
        .iter()
        .map(|ended| (vec![("operation", ended.operation), ("answer", ended.answer)], ended.count))
        .collect();
    let text = "Requests to the vendor's API, by what was asked and by the status or class of the answer";
    count(out, "api_requests", text, &series)?;
    let read_at: Vec<_> = status
        .figures
        .read_at
        .iter()
        .filter_map(|(list, at)| Some((vec![("list", *list)], u64::try_from((*at)?.as_second()).ok()?)))
        .collect();
    gauge(out, "list_read_timestamp_seconds", "When a list was last read whole, in Unix time", &read_at)
}

fn things(out: &mut DescriptorEncoder<'_>, census: &Census) -> fmt::Result {
    let series = |counts: &BTreeMap<&'static str, u64>| -> Vec<(Labels, u64)> {
        counts.iter().map(|(state, count)| (vec![("state", *state)], *count)).collect()
    };
    let text = "Doors by what is known of them; those that are unavailable are unknown";
    gauge(out, "doors", text, &series(&census.doors))?;
    gauge(out, "scenarios", "Scenarios by what is known of them", &series(&census.scenarios))
}

/// Nothing without a receiver.
fn webhooks(
    out: &mut DescriptorEncoder<'_>,
    figures: &Figures,
    health: Option<WebhookHealth>,
) -> fmt::Result {
    let Some(health) = health else { return Ok(()) };
    let result = |result| -> Labels { vec![("result", result)] };
    let mut ended = vec![
        (result("accepted"), health.accepted),
        (result("ignored"), health.ignored),
        (result("replayed"), health.replayed),
    ];
    ended.extend(health.refused.iter().map(|(cause, count)| (result(cause.word()), *count)));
    count(out, "webhook_deliveries", "Deliveries of webhooks, by what became of them", &ended)?;
    let text = "Events that polls found and that no webhook had brought";
    count(out, "webhook_missed_events", text, &one(figures.webhooks_missed))?;
    let lag: Vec<_> = health.lag.map(|lag| (Labels::new(), lag.as_secs_f64())).into_iter().collect();
    gauge(out, "webhook_lag_seconds", "Time from the newest event that a webhook brought until it came", &lag)
}

/// What the machine spends on the process, by the names that Prometheus libraries share. Nothing where the system does not
/// tell.
#[derive(Debug)]
struct Machine;

impl Collector for Machine {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let out = &mut encoder;
        let Some(usage) = usage() else { return Ok(()) };
        gauge(out, "process_resident_memory_bytes", "Memory in use", &one(usage.resident_bytes))?;
        gauge(out, "process_open_fds", "Open file descriptors", &one(usage.open_files))?;
        let processor = [(Labels::new(), usage.processor.as_secs_f64())];
        count(out, "process_cpu_seconds", "Processor time that was used", &processor)?;
        let started: Vec<_> = usage.started.map(|at| (Labels::new(), at)).into_iter().collect();
        gauge(out, "process_start_time_seconds", "When the process was started, in Unix time", &started)
    }
}

type Labels = Vec<(&'static str, &'static str)>;

/// A series without labels.
const fn one(value: u64) -> [(Labels, u64); 1] {
    [(Labels::new(), value)]
}

fn size(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn labels(ending: &Ending) -> Labels {
    vec![
        ("action", ending.action.unwrap_or("none")),
        ("outcome", ending.outcome.word()),
        ("reason", ending.reason.map_or("none", Reason::word)),
    ]
}

fn gauge<V: EncodeGaugeValue>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    series: &[(Labels, V)],
) -> fmt::Result {
    let mut metric = out.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in series {
        if labels.is_empty() {
            metric.encode_gauge(value)?;
        } else {
            metric.encode_family(labels)?.encode_gauge(value)?;
        }
    }
    Ok(())
}

fn count<V: EncodeCounterValue>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    series: &[(Labels, V)],
) -> fmt::Result {
    let mut metric = out.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in series {
        if labels.is_empty() {
            metric.encode_counter::<NoLabelSet, V, f64>(value, None)?;
        } else {
            metric.encode_family(labels)?.encode_counter::<NoLabelSet, V, f64>(value, None)?;
        }
    }
    Ok(())
}
