//! Simulated people who use the doors, so that a demonstration lives.

use std::time::Duration;

use super::{handle::Handle, world::Verdict};
use crate::{model::DoorId, rng::Rng};

/// In one of so many visits, somebody without access tries.
const DENIED_ONE_IN: u64 = 6;

/// In one of so many visits, the door is kept open until its alarm sounds.
const HELD_ONE_IN: u64 = 15;

/// In one of so many visits, somebody leaves by the exit button.
const EXIT_ONE_IN: u64 = 4;

/// How long a door takes to be opened, and to fall shut again.
const STEP: Duration = Duration::from_secs(2);

/// Lets people visit doors, one after the other, about one visit in `pace`: they badge, walk through and let the door
/// fall shut; now and then one is denied, leaves by the exit button, or keeps the door open for too long. Never
/// ends; drop it to stop. Equal seeds make equal visits.
pub async fn live(world: Handle, seed: u64, pace: Duration) {
    let mut random = Rng::new(seed);
    loop {
        tokio::time::sleep(pace / 2 + pace.mul_f64(fraction(&mut random))).await;
        let doors = world.doors();
        let Some(door) = random.pick(&doors) else { continue };
        visit(&world, &door.id, &mut random).await;
    }
}

/// One visit. Doors change under people's hands (a lockdown, a removed door): an act that has become impossible ends
/// the visit, and the door stays as it is.
async fn visit(world: &Handle, door: &DoorId, random: &mut Rng) {
    if !enters(world, door, random) {
        return;
    }
    tokio::time::sleep(STEP).await;
    if world.open(door).is_err() {
        return;
    }
    let stays = if random.one_in(HELD_ONE_IN) { world.switches().held_open_after() + STEP } else { STEP };
    tokio::time::sleep(stays).await;
    if let Err(error) = world.close(door) {
        tracing::debug!(%error, "simulator: somebody else closed the door");
    }
}

/// Whether somebody may pass.
fn enters(world: &Handle, door: &DoorId, random: &mut Rng) -> bool {
    if random.one_in(EXIT_ONE_IN) {
        return world.exit(door).is_ok();
    }
    let people = world.people();
    let welcome: Vec<_> = people.iter().filter(|person| !person.groups.is_empty()).collect();
    let person = if random.one_in(DENIED_ONE_IN) { None } else { random.pick(&welcome) };
    matches!(world.badge(door, person.map(|person| person.id.as_str())), Ok(Verdict::Accepted))
}

/// A number from 0 to 1.
fn fraction(random: &mut Rng) -> f64 {
    u32::try_from(random.below(1_000)).map_or(0.0, f64::from) / 1_000.0
}
