//! What the vendor's webhooks bring. It changes what is shown and may prompt a read; it is never a command.

use super::AccessEvent;

/// What a verified webhook says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Push {
    /// An access event. A poll brings it again under the same id.
    Event(Box<AccessEvent>),
    /// Scenarios changed: their list is to be read. However many of these come, the core decides when.
    ReadScenarios,
    /// Something happened at a door and the delivery does not tell all of it: the list of events is to be read.
    ReadEvents,
}
