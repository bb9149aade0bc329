//! `/metrics`: how the gateway fares, for Prometheus. No label names a door, scenario or person.

use std::{fmt, sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet, prometheus_text},
    metrics::{MetricType, family::Family, histogram::Histogram},
    registry::Registry,
};
use tokio::sync::watch;

use crate::{
    bridge::{Ending, Status},
    model::{Action, Reason},
};

/// Upper bounds in seconds, dense around what is promised of a lockdown.
const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

type ByAction = Family<[(&'static str, &'static str); 1], Histogram, fn() -> Histogram>;

/// How long commands take, by action.
#[derive(Debug, Clone)]
pub struct Latencies {
    write: ByAction,
    answer: ByAction,
}

impl Default for Latencies {
    fn default() -> Self {
        let latencies = Self { write: by_action(), answer: by_action() };
        // A series that is there from the start shows the first command too.
        for action in Action::ALL {
            drop(latencies.write.get_or_create(&label(action)));
            drop(latencies.answer.get_or_create(&label(action)));
        }
        latencies
    }
}

impl Latencies {
    /// The first request of a command was written, so long after its receipt.
    pub(in crate::app) fn write(&self, action: Action, took: Duration) {
        self.write.get_or_create(&label(action)).observe(took.as_secs_f64());
    }

    /// The vendor took an act, so long after the receipt of its command.
    pub(in crate::app) fn answer(&self, action: Action, took: Duration) {
        self.answer.get_or_create(&label(action)).observe(took.as_secs_f64());
    }
}

fn by_action() -> ByAction {
    Family::new_with_constructor(|| Histogram::new(BOUNDS))
}

const fn label(action: Action) -> [(&'static str, &'static str); 1] {
    [("action", action.word())]
}

/// What a scrape is made from.
#[derive(Debug)]
pub(super) struct Metrics(Registry);

impl Metrics {
    pub(super) fn new(status: watch::Receiver<Status>, latencies: Latencies) -> Self {
        let mut registry = Registry::with_prefix("verkada2mqtt");
        registry.register_collector(Box::new(Now(status)));
        registry.register(
            "command_first_byte_seconds",
            "Time from the receipt of a command until its first request was handed to the connection",
            latencies.write,
        );
        registry.register(
            "command_answer_seconds",
            "Time from the receipt of a command until the vendor had taken it",
            latencies.answer,
        );
        Self(registry)
    }
}

/// `GET /metrics`.
pub(super) async fn scrape(State(metrics): State<Arc<Metrics>>) -> Response {
    let mut text = String::new();
    match prometheus_text::encode(&mut text, &metrics.0) {
        Ok(()) => ([(CONTENT_TYPE, prometheus_text::CONTENT_TYPE)], text).into_response(),
        Err(fmt::Error) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// What the core says of itself at the moment.
#[derive(Debug)]
struct Now(watch::Receiver<Status>);

impl Collector for Now {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let status = self.0.borrow().clone();
        let (books, figures) = (&status.books, &status.figures);
        let out = &mut encoder;
        let version: Labels = vec![("version", env!("CARGO_PKG_VERSION"))];
        gauge(out, "build_info", "The version that runs", &[(version, 1)])?;

        count(out, "commands_received", "Commands that came", &[(Labels::new(), books.received())])?;
        let endings: Vec<_> = books.endings().map(|(ending, count)| (labels(&ending), count)).collect();
        count(out, "commands_ended", "Commands that ended, each once", &endings)?;
        gauge(out, "commands_pending", "Commands that have not ended", &one(books.pending()))?;

        let text = "Lockdowns that were asked for and are not confirmed";
        gauge(out, "lockdown_alarms", text, &one(size(figures.alarms)))?;
        let text = "Times a lockdown that was asked for was not confirmed";
        count(out, "lockdown_alarms_raised", text, &one(figures.alarms_raised))?;

        let text = "Records of this run that are durable in the journal";
        gauge(out, "journal_durable_records", text, &one(figures.journal_durable))?;
        let text = "Whether the journal cannot be written";
        gauge(out, "journal_broken", text, &one(figures.journal_broken.into()))?;

        let links = |main: bool, securing: bool| {
            [(vec![("link", "main")], main.into()), (vec![("link", "securing")], securing.into())]
        };
        let up = links(status.mqtt.is_some(), figures.securing_up);
        gauge(out, "mqtt_link_up", "Whether the connection to the broker has a session", &up)?;
        let proven = links(status.mqtt_proven, status.securing_proven);
        gauge(out, "mqtt_link_proven", "Whether a heartbeat came back in its session", &proven)?;

        gauge(out, "api_up", "Whether the vendor's API answers", &one(status.api.into()))?;
        let text = "Requests to the vendor's API that the present minute still allows";
        gauge(out, "api_budget_left", text, &one(size(status.budget_left)))
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

fn gauge(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, series: &[(Labels, u64)]) -> fmt::Result {
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

fn count(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, series: &[(Labels, u64)]) -> fmt::Result {
    let mut metric = out.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in series {
        if labels.is_empty() {
            metric.encode_counter::<NoLabelSet, u64, f64>(value, None)?;
        } else {
            metric.encode_family(labels)?.encode_counter::<NoLabelSet, u64, f64>(value, None)?;
        }
    }
    Ok(())
}
